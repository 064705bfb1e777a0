package jetstream

import (
	"errors"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/nanos"
)

// messageEndpoints are the lines of the API's table about messages.
var messageEndpoints = []*endpoint{
	newEndpoint("STREAM.MSG.GET", 1, "stream_msg_get_response", 0, serveMsgGet),
	newEndpoint("STREAM.MSG.DELETE", 1, "stream_msg_delete_response", 0, serveMsgDelete),
	newEndpoint("STREAM.SNAPSHOT", 1, "stream_snapshot_response", 0, serveSnapshot),
	newEndpoint("STREAM.RESTORE", 1, "stream_restore_response", 0, serveRestore),
}

func serveMsgGet(r *request, reply *jsapi.MsgGetResponse) *jsapi.Error {
	if jsapi.IsEmpty(r.body) {
		return jsapi.ErrBadRequest
	}
	var req jsapi.MsgGetRequest
	if err := r.decode(&req); err != nil {
		return err
	}
	if req.Batch > 0 || req.MaxBytes > 0 || !selectsOne(&req) || conflicting(&req) {
		return jsapi.ErrBadRequest
	}
	st, err := r.stream()
	if err != nil {
		r.silent = r.delayed // a stream that this server cannot open stays silent here
		return err
	}
	sm, lerr := st.find(&req)
	if lerr != nil {
		return getError(lerr)
	}
	reply.Message = &jsapi.StoredMsg{
		Subject: sm.Subject, Sequence: sm.Seq, Header: sm.Header, Data: sm.Data, Time: apiTime(sm.Time),
	}
	if req.NoHeaders {
		reply.Message.Header = nil
	}
	r.unaudited = true
	return nil
}

// selectsOne reports whether a request says which message it wants.
func selectsOne(req *jsapi.MsgGetRequest) bool {
	return req.Seq > 0 || req.LastFor != "" || req.NextFor != "" || req.StartTime != nil
}

// conflicting reports whether the selectors of a request contradict each other.
func conflicting(req *jsapi.MsgGetRequest) bool {
	return req.Seq > 0 && req.LastFor != "" || req.Seq > 0 && req.StartTime != nil ||
		req.StartTime != nil && req.LastFor != "" || req.LastFor != "" && req.NextFor != ""
}

// find loads the message that a request selects.
func (st *Stream) find(req *jsapi.MsgGetRequest) (*msgstore.StoredMsg, error) {
	var sm msgstore.StoredMsg
	switch {
	case req.LastFor != "":
		return st.store.LoadLastMsg(req.LastFor, &sm)
	case req.NextFor != "" || req.StartTime != nil:
		m, _, err := st.store.LoadNextMsg(req.NextFor, st.startSeq(req), &sm)
		return m, err
	}
	return st.store.LoadMsg(req.Seq, &sm)
}

// startSeq is where a request begins to look.
func (st *Stream) startSeq(req *jsapi.MsgGetRequest) uint64 {
	if req.StartTime != nil {
		return st.store.GetSeqFromTime(nanos.Of(*req.StartTime))
	}
	return max(req.Seq, 1)
}

// getError is a failed load in API terms: damage is not absence.
func getError(err error) *jsapi.Error {
	var bad *msgstore.BadRecordError
	if errors.As(err, &bad) {
		return jsapi.ErrStreamStoreFailed.With(bad)
	}
	return jsapi.ErrNoMessageFound
}

func serveMsgDelete(r *request, reply *jsapi.SuccessResponse) *jsapi.Error {
	if jsapi.IsEmpty(r.body) {
		return jsapi.ErrBadRequest
	}
	var req jsapi.MsgDeleteRequest
	if err := r.decode(&req); err != nil {
		return err
	}
	st, err := r.stream()
	if err != nil {
		return err
	}
	var removed bool
	var derr error
	if !st.exclusively(func() {
		switch cfg := st.Config(); { // as for a purge
		case cfg.Sealed:
			derr = jsapi.ErrStreamSealed
		case cfg.DenyDelete:
			derr = jsapi.ErrStreamMsgDeleteFailed.With("message delete not permitted")
		case req.NoErase:
			removed, derr = st.store.RemoveMsg(req.Seq)
		default:
			removed, derr = st.store.EraseMsg(req.Seq)
		}
	}) {
		return jsapi.ErrStreamNotFound
	}
	if derr != nil && (st.Config().Storage == jsapi.FileStorage || !errors.Is(derr, msgstore.ErrStoreMsgNotFound) && !errors.Is(derr, msgstore.ErrStoreEOF)) {
		return jsapi.ErrStreamMsgDeleteFailed.Wrap(derr)
	}
	if !removed {
		return jsapi.ErrSequenceNotFound.With(req.Seq)
	}
	reply.Success = true
	return nil
}
