package jetstream

import (
	"sort"
	"strings"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/subjecttree"
)

// accountEndpoints are the lines of the API's table about the account.
var accountEndpoints = []*endpoint{
	newEndpoint("INFO", 0, "account_info_response", infoQueue, serveAccountInfo),
}

// streamEndpoints are the lines of the API's table about streams.
var streamEndpoints = []*endpoint{
	newEndpoint("STREAM.CREATE", 1, "stream_create_response", shared, serveStreamCreate),
	newEndpoint("STREAM.UPDATE", 1, "stream_update_response", 0, serveStreamUpdate),
	newEndpoint("STREAM.NAMES", 0, "stream_names_response", infoQueue, serveStreamNames),
	newEndpoint("STREAM.LIST", 0, "stream_list_response", infoQueue, serveStreamList),
	newEndpoint("STREAM.INFO", 1, "stream_info_response", infoQueue, serveStreamInfo),
	newEndpoint("STREAM.DELETE", 1, "stream_delete_response", emptyBody, serveStreamDelete),
	newEndpoint("STREAM.PURGE", 1, "stream_purge_response", 0, serveStreamPurge),
}

// clusterEndpoints are refused by a standalone server.
var clusterEndpoints = []*endpoint{
	newEndpoint("STREAM.LEADER.STEPDOWN", 1, "stream_leader_stepdown_response", clusterOnly, notReached),
	newEndpoint("STREAM.PEER.REMOVE", 1, "stream_remove_peer_response", clusterOnly, notReached),
	newEndpoint("STREAM.PEER.EVACUATE", 1, "stream_remove_peer_response", clusterOnly, notReached),
	newEndpoint("STREAM.CANCEL_MOVE", 1, "stream_update_response", clusterOnly, notReached),
	newEndpoint("CONSUMER.LEADER.STEPDOWN", 2, "consumer_leader_stepdown_response", clusterOnly, notReached),
}

// notReached serves what execute has answered already.
func notReached(*request, *jsapi.SuccessResponse) *jsapi.Error { return jsapi.ErrClusterRequired }

func serveAccountInfo(r *request, reply *jsapi.AccountInfoResponse) *jsapi.Error {
	reply.AccountStats = r.account.Stats()
	return nil
}

// environment is what a configuration is checked against.
func (a *Account) environment(pedantic bool, replicas int) *jsapi.Environment {
	limits, _, _ := a.limitsFor(replicas)
	return &jsapi.Environment{
		Pedantic: pedantic, DuplicateWindow: a.engine.opts.Limits.DuplicateWindow, Limits: limits,
		Stream: func(name string) *jsapi.StreamConfig {
			if st := a.Stream(name); st != nil {
				return st.Config()
			}
			return nil
		},
		CheckTransform: checkTransform,
	}
}

func serveStreamCreate(r *request, reply *jsapi.StreamCreateResponse) *jsapi.Error {
	var req jsapi.StreamConfigRequest
	if len(r.body) > 0 {
		if err := r.decode(&req); err != nil {
			return err
		}
	}
	cfg := &req.StreamConfig
	if cfg.Name != r.args[0] {
		return jsapi.ErrStreamMismatch
	}
	if strings.ContainsAny(cfg.Name, `/\`) {
		return jsapi.ErrStreamNameContainsPathSeparators
	}
	if cfg.Sealed {
		return jsapi.ErrStreamInvalidConfig.With("stream configuration for create can not be sealed")
	}
	if cfg.MirrorDirect && cfg.Mirror == nil {
		return jsapi.ErrStreamInvalidConfig.With("stream has no mirror but does have mirror direct")
	}
	a := r.account
	if err := a.checkNewLimits(cfg); err != nil {
		return err
	}
	if err := jsapi.CheckStream(cfg, a.environment(req.Pedantic, cfg.Replicas)); err != nil {
		return err
	}
	if cfg.Replicas > 1 {
		return jsapi.ErrStreamReplicasNotSupported
	}
	if m := cfg.Mirror; m != nil && m.External == nil {
		if origin := a.Stream(m.Name); origin != nil {
			cfg.MirrorDirect = origin.Config().AllowDirect
		}
	}
	st, _, err := a.createStream(cfg)
	if err != nil {
		return err
	}
	reply.StreamInfo = st.info(false)
	reply.StreamInfo.Domain = ""
	reply.DidCreate = true
	return nil
}

// checkNewLimits is the account's limits before the configuration is looked at
// more closely. What has a name already is compared instead.
func (a *Account) checkNewLimits(cfg *jsapi.StreamConfig) *jsapi.Error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.streams[cfg.Name] != nil {
		return nil
	}
	return a.checkLimits(cfg, nil)
}

func serveStreamUpdate(r *request, reply *jsapi.StreamUpdateResponse) *jsapi.Error {
	var req jsapi.StreamConfigRequest
	if len(r.body) > 0 {
		if err := r.decode(&req); err != nil {
			return err
		}
	}
	cfg := &req.StreamConfig
	a := r.account
	if err := jsapi.CheckStream(cfg, a.environment(req.Pedantic, cfg.Replicas)); err != nil {
		return err
	}
	if cfg.Name != r.args[0] {
		return jsapi.ErrStreamMismatch
	}
	st, err := a.updateStream(cfg)
	if err != nil {
		r.delayed = err.ErrCode == jsapi.ErrStreamOfflineReason.ErrCode
		return err
	}
	reply.StreamInfo = st.info(false)
	return nil
}

func serveStreamNames(r *request, reply *jsapi.StreamNamesResponse) *jsapi.Error {
	var req jsapi.StreamNamesRequest
	if err := r.decodeOptional(&req); err != nil {
		return err
	}
	names := r.account.streamNames(req.Subject)
	from, to := page(&reply.Paging, len(names), req.Offset, jsapi.NamesLimit)
	if from < to {
		reply.Streams = names[from:to]
	}
	return nil
}

func serveStreamList(r *request, reply *jsapi.StreamListResponse) *jsapi.Error {
	var req jsapi.StreamNamesRequest
	if err := r.decodeOptional(&req); err != nil {
		return err
	}
	a := r.account
	names := a.streamNames(req.Subject)
	from, to := page(&reply.Paging, len(names), req.Offset, jsapi.ListLimit)
	reply.Streams = make([]*jsapi.StreamInfo, 0, to-from)
	for _, name := range names[from:to] {
		if st := a.Stream(name); st != nil {
			info := st.info(false)
			info.Config.Metadata = st.Config().Metadata
			reply.Streams = append(reply.Streams, info)
		}
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	for name, o := range a.offline {
		reply.Missing = append(reply.Missing, name)
		if reply.Offline == nil {
			reply.Offline = make(map[string]string)
		}
		reply.Offline[name] = o.reason
	}
	sort.Strings(reply.Missing)
	return nil
}

// streamNames are the names of the streams, sorted, that could hold a message
// on the subject filter; "" is all.
func (a *Account) streamNames(filter string) []string {
	var names []string
	for _, st := range a.Streams() {
		if filter == "" || overlapsAny(st.Config().Subjects, filter) {
			names = append(names, st.name)
		}
	}
	if filter == "" {
		a.mu.RLock()
		for name := range a.offline {
			names = append(names, name)
		}
		a.mu.RUnlock()
		sort.Strings(names)
	}
	return names
}

func overlapsAny(subjects []string, filter string) bool {
	for _, s := range subjects {
		if subjecttree.Collide(s, filter) {
			return true
		}
	}
	return false
}

// page clamps an offset and fills in what the reply says about it. The page is
// [from, to).
func page(p *jsapi.Paging, total, offset, limit int) (from, to int) {
	offset = min(max(offset, 0), total)
	*p = jsapi.Paging{Total: total, Offset: offset, Limit: limit}
	return offset, min(offset+limit, total)
}

// stream finds the stream that the request is about.
func (r *request) stream() (*Stream, *jsapi.Error) {
	if st := r.account.Stream(r.args[0]); st != nil {
		return st, nil
	}
	r.account.mu.RLock()
	defer r.account.mu.RUnlock()
	if o := r.account.offline[r.args[0]]; o != nil {
		r.delayed = true
		return nil, jsapi.ErrStreamOfflineReason.With(o.reason)
	}
	return nil, jsapi.ErrStreamNotFound
}

func serveStreamInfo(r *request, reply *jsapi.StreamInfoResponse) *jsapi.Error {
	var req jsapi.StreamInfoRequest
	if err := r.decodeOptional(&req); err != nil {
		return err
	}
	st, err := r.stream()
	if err != nil {
		return err
	}
	info := st.info(req.DeletedDetails)
	info.Cluster = &jsapi.ClusterInfo{Leader: r.account.engine.opts.ServerName}
	if req.SubjectsFilter != "" {
		st.subjectsPage(req.SubjectsFilter, req.Offset, info, &reply.Paging)
	}
	reply.StreamInfo = info
	return nil
}

// subjectsPage fills in the number of messages of each subject that matches.
func (st *Stream) subjectsPage(filter string, offset int, info *jsapi.StreamInfo, p *jsapi.Paging) {
	totals := st.store.SubjectsTotals(filter)
	if len(totals) == 0 {
		return
	}
	*p = jsapi.Paging{Total: len(totals), Offset: offset, Limit: jsapi.SubjectsLimit}
	if offset <= 0 && len(totals) <= jsapi.SubjectsLimit {
		info.State.Subjects = totals
		return
	}
	subjects := make([]string, 0, len(totals))
	for s := range totals {
		subjects = append(subjects, s)
	}
	sort.Strings(subjects)
	from, to := page(p, len(subjects), offset, jsapi.SubjectsLimit)
	info.State.Subjects = make(map[string]uint64, to-from)
	for _, s := range subjects[from:to] {
		info.State.Subjects[s] = totals[s]
	}
}

func serveStreamDelete(r *request, reply *jsapi.SuccessResponse) *jsapi.Error {
	if err := r.account.deleteStream(r.args[0]); err != nil {
		return err
	}
	reply.Success = true
	return nil
}

func serveStreamPurge(r *request, reply *jsapi.StreamPurgeResponse) *jsapi.Error {
	var req jsapi.StreamPurgeRequest
	if err := r.decodeOptional(&req); err != nil {
		return err
	}
	if req.Seq > 0 && req.Keep > 0 {
		return jsapi.ErrBadRequest
	}
	st, err := r.stream()
	if err != nil {
		return err
	}
	purged, perr := st.purge(req.Subject, req.Seq, req.Keep)
	if perr != nil {
		return jsapi.ErrStreamPurgeFailed.Wrap(perr)
	}
	reply.Success, reply.Purged = true, purged
	return nil
}

// purge removes messages as a purge request says, and waits until that is
// durable.
func (st *Stream) purge(filter string, seq, keep uint64) (purged uint64, err error) {
	if !st.exclusively(func() {
		switch cfg := st.Config(); { // of this moment: it may have been sealed a moment ago
		case cfg.Sealed:
			err = jsapi.ErrStreamSealed
		case cfg.DenyPurge:
			err = jsapi.ErrStreamPurgeFailed.With("stream purge not permitted")
		default:
			purged, err = st.store.PurgeEx(filter, seq, keep)
		}
		if err != nil {
			return
		}
		st.consumers.purged()
		st.armExpiry()
	}) {
		return 0, jsapi.ErrStreamNotFound
	}
	return purged, err
}

// info is what replies tell about the stream.
func (st *Stream) info(details bool) *jsapi.StreamInfo {
	cfg := *st.Config()
	cfg.Metadata = jsapi.ReplyMetadata(cfg.Metadata, st.engine.opts.Version)
	info := &jsapi.StreamInfo{
		Config: cfg, Created: st.created, State: st.state(details), Domain: st.engine.opts.Domain,
		Time: time.Now().UTC(),
	}
	info.Mirror, info.Sources = st.originInfo()
	return info
}

// state is the stream's state in API terms.
func (st *Stream) state(details bool) jsapi.StreamState {
	s := st.store.State
	var state msgstore.State
	if details {
		state = s()
	} else {
		st.store.FastState(&state)
	}
	return st.stateInfo(&state)
}

func (st *Stream) stateInfo(state *msgstore.State) jsapi.StreamState {
	return jsapi.StreamState{
		Msgs: state.Msgs, Bytes: state.Bytes, FirstSeq: state.FirstSeq, FirstTime: apiTime(state.FirstTime),
		LastSeq: state.LastSeq, LastTime: apiTime(state.LastTime), NumSubjects: state.NumSubjects,
		NumDeleted: int(state.NumDeleted), Deleted: state.Deleted, Lost: lostData(state.Lost),
		Consumers: st.consumers.count(false),
	}
}

func lostData(l *msgstore.LostData) *jsapi.LostData {
	if l == nil {
		return nil
	}
	return &jsapi.LostData{Msgs: l.Msgs, Bytes: l.Bytes}
}

// apiTime is a store's time; 0 is the unset time.
func apiTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
