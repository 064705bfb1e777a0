package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/natsproto"
)

// endTornBatch ends an atomic batch whose commit was interrupted. What the
// reference server has staged for it (file store format, 2.2) completes it;
// without that it is cut off: nothing of it was acknowledged or visible.
func (st *Stream) endTornBatch() error {
	if st.store.Type() != msgstore.FileStorage {
		return nil
	}
	d := st.engine.disk
	staged := filepath.Join(d.streamDir(st.account.name, st.name), "batches")
	last := st.store.Positions().Visible
	if st.orderly || !st.Config().AllowAtomic {
		// Nothing is torn.
	} else if sm, err := st.store.LoadMsg(last, nil); err == nil {
		if id, n, torn := tornBatch(sm, last); torn && st.endsWith(id, last, n) {
			rest, err := st.stagedRest(filepath.Join(staged, shortHash(id)), n)
			if err != nil {
				st.engine.event(WarningEvent{fmt.Sprintf("JetStream stream '%s > %s': the staged messages of batch %q cannot be used: %v", st.account.name, st.name, id, err)})
			}
			// In the stream's turn: what its consumers ask for may run already.
			st.exclusively(func() { err = st.endBatchAt(last, n, rest) })
			if err != nil {
				return err
			}
		}
	}
	if _, err := d.fs.Stat(staged); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.fs.RemoveAll(staged)
}

// tornBatch reports whether a stream's last message belongs to a batch without
// its end: the batch's id, and the number of its messages so far.
func tornBatch(last *msgstore.StoredMsg, seq uint64) (id string, n uint64, torn bool) {
	value := natsproto.HeaderValue(last.Header, hdrBatchID)
	if len(value) == 0 || natsproto.HeaderValue(last.Header, hdrBatchCommit) != nil {
		return "", 0, false
	}
	n, ok := parseSeq(natsproto.HeaderValue(last.Header, hdrBatchSeq))
	return string(value), n, ok && n >= 1 && n <= seq
}

// endsWith reports whether the last n messages are the first n of a batch, as far as
// they are there. Others may carry its headers: they must not be taken for it.
func (st *Stream) endsWith(id string, last, n uint64) bool {
	var sm msgstore.StoredMsg
	for seq := last - n + 1; seq <= last; seq++ {
		m, _, err := st.store.LoadNextMsg("", seq, &sm)
		if err != nil {
			return false
		}
		seq = m.Seq
		index, ok := parseSeq(natsproto.HeaderValue(m.Header, hdrBatchSeq))
		if !ok || index != n-(last-seq) || string(natsproto.HeaderValue(m.Header, hdrBatchID)) != id {
			return false
		}
	}
	return true
}

// stagedRest reads the messages of a batch behind the first n. There are none if
// the directory does not exist, or does not hold the whole batch.
func (st *Stream) stagedRest(dir string, n uint64) (rest []msgstore.StoredMsg, err error) {
	d := st.engine.disk
	if _, err := d.fs.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	store, err := d.openFileStore(st.account, &jsapi.StreamConfig{Name: filepath.Base(dir), Storage: jsapi.FileStorage}, st.created, dir)
	if err != nil {
		return nil, err
	}
	defer store.Stop()
	end := store.Positions().Visible
	for seq := uint64(1); seq <= end; seq++ {
		var sm msgstore.StoredMsg
		if _, err := store.LoadMsg(seq, &sm); err != nil {
			return nil, err
		}
		if seq > n {
			sm.Header, sm.Data = bytes.Clone(sm.Header), bytes.Clone(sm.Data)
			rest = append(rest, sm)
		}
	}
	if len(rest) == 0 {
		return nil, nil
	}
	tail := &rest[len(rest)-1]
	switch string(natsproto.HeaderValue(tail.Header, hdrBatchCommit)) {
	case "1":
		return rest, nil
	case "eob": // not stored itself
		if rest = rest[:len(rest)-1]; len(rest) == 0 {
			return nil, nil
		}
		tail = &rest[len(rest)-1]
		tail.Header = natsproto.SetHeader(tail.Header, hdrBatchCommit, "1")
		return rest, nil
	}
	return nil, nil // the commit itself is missing
}

// endBatchAt stores the rest of a batch of which the last n messages are stored,
// or cuts those off if there is no rest. In the turn, when nothing is in flight.
func (st *Stream) endBatchAt(last, n uint64, rest []msgstore.StoredMsg) error {
	if len(rest) == 0 {
		if err := st.store.Truncate(last - n); err != nil {
			return err
		}
		st.resync()
		return nil
	}
	cfg := st.Config()
	var s msgstore.State
	st.store.FastState(&s)
	raw := make([]msgstore.RawMsg, 0, len(rest))
	for i := range rest {
		m := publish{header: rest[i].Header, h: new(pubHeader)}
		m.h.parse(m.header)
		r := msgstore.RawMsg{
			Subject: rest[i].Subject, Header: m.header, Data: rest[i].Data, Seq: last + 1 + uint64(i), Time: max(rest[i].Time, s.LastTime),
		}
		if ttl, ok := parseTTL(m.h.ttl); ok && cfg.AllowMsgTTL {
			r.TTL = ttl
		}
		if checkRollup(cfg, &m) == nil {
			r.Rollup = m.rollup
		}
		raw = append(raw, r)
	}
	done := make(chan error, 1)
	st.store.StoreRawMsgs(raw, func(err error) { done <- err })
	if err := <-done; err != nil {
		return err
	}
	st.resync()
	st.recoverLastID()
	for i := range raw {
		if id := natsproto.HeaderValue(raw[i].Header, hdrMsgID); len(id) > 0 {
			st.turn.dedup.add(id, raw[i].Seq, raw[i].Time)
		}
	}
	st.consumers.advanced(last + uint64(len(raw)))
	st.engine.event(NoticeEvent{fmt.Sprintf("JetStream stream '%s > %s': an interrupted batch was completed, %d messages", st.account.name, st.name, len(raw))})
	return nil
}
