package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
)

// maxRecovering bounds the streams that are opened at a time: enough to keep a
// disk and all processors busy, few enough to bound the memory of scans.
const maxRecovering = 16

// recover opens the streams of the account that are on disk, several at a time.
// One that cannot be opened keeps none of the others from starting.
func (a *Account) recover() {
	streams, err := a.engine.streamsOnDisk(a.name)
	if err != nil {
		a.engine.event(ErrorEvent{"JetStream account '" + a.name + "': " + err.Error()})
	}
	var wg sync.WaitGroup
	for _, m := range streams {
		a.engine.recovering <- struct{}{}
		wg.Go(func() {
			defer func() { <-a.engine.recovering }()
			began := time.Now()
			st, err := a.recoverStream(&m)
			switch {
			case err != nil:
				a.mu.Lock()
				a.offline[m.Name] = &offlineStream{"could not be recovered", err}
				a.mu.Unlock()
				a.engine.event(StreamFailedEvent{a.name, m.Name, fmt.Errorf("recovering the stream: %w", err)})
			case st != nil:
				var s msgstore.State
				st.store.FastState(&s)
				a.engine.event(StreamRecoveredEvent{a.name, m.Name, s.Msgs, s.Bytes, time.Since(began)})
			}
		})
	}
	wg.Wait()
	for _, st := range a.Streams() {
		st.serve()
	}
}

// Stores reports whether streams of an account were found in the store directory at
// the start.
func (e *Engine) Stores(account string) bool { return len(e.disk.found[account]) > 0 }

// streamsOnDisk returns the streams of an account: as they were found at the start, or, if the account was there before,
// as they are now.
func (e *Engine) streamsOnDisk(account string) ([]msgstore.StreamMeta, error) {
	e.mu.RLock()
	again := e.removed[account]
	e.mu.RUnlock()
	if !again || e.disk.host == nil {
		return e.disk.found[account], nil
	}
	all, err := e.disk.host.Streams(e.disk.keys)
	if err != nil {
		return nil, fmt.Errorf("looking for streams: %w", err)
	}
	return slices.DeleteFunc(all, func(m msgstore.StreamMeta) bool { return m.Account != account }), nil
}

// recoverStream opens one stream, or keeps it aside if this server lacks what
// it needs; then st is nil.
func (a *Account) recoverStream(m *msgstore.StreamMeta) (st *Stream, err error) {
	if m.Err != nil {
		return nil, m.Err
	}
	var stored struct {
		Created time.Time
		jsapi.StreamConfig
	}
	_, strict := jsapi.Decode(m.Meta, &stored, true)
	if strict != nil {
		stored.StreamConfig = jsapi.StreamConfig{}
		if err := json.Unmarshal(m.Meta, &stored); err != nil {
			return nil, fmt.Errorf("reading meta.inf: %w", err)
		}
	}
	cfg := &stored.StreamConfig
	if cfg.Name != m.Name {
		return nil, errors.New("stream name in meta.inf does not match its directory")
	}
	if why := unsupported(cfg.Metadata, strict); why != "" {
		a.mu.Lock()
		a.offline[m.Name] = &offlineStream{reason: why}
		a.mu.Unlock()
		a.engine.event(WarningEvent{"JetStream stream '" + a.name + " > " + m.Name + "' is offline: " + why})
		return nil, nil
	}
	a.repair(cfg)
	st, err = a.openStream(cfg, stored.Created.UTC())
	if err != nil {
		return nil, err
	}
	if err := st.endTornBatch(); err != nil {
		st.stop()
		return nil, fmt.Errorf("ending an incomplete batch: %w", err)
	}
	a.engine.reserve(cfg.Storage, growth(cfg, nil))
	a.add(st)
	return st, nil
}

// repair makes a configuration that an older server has written like one that
// was checked by this server.
func (a *Account) repair(cfg *jsapi.StreamConfig) {
	if cfg.Mirror != nil {
		cfg.DuplicateWindow, cfg.Subjects = 0, nil
	}
	for i, s := range cfg.Subjects {
		cfg.Subjects[i] = strings.TrimSpace(s)
	}
	checked := *cfg
	env := &jsapi.Environment{CheckTransform: checkTransform, Limits: jsapi.Unlimited}
	if jsapi.CheckStream(&checked, env) == nil {
		*cfg = checked
	}
}

// deleteOffline removes the files of a stream that is offline.
func (a *Account) deleteOffline(name string) *jsapi.Error {
	if err := a.engine.disk.host.RemoveStream(a.name, name); err != nil {
		return jsapi.ErrStreamDelete.Wrap(err)
	}
	a.mu.Lock()
	delete(a.offline, name)
	a.mu.Unlock()
	return nil
}

// purgeAccount deletes everything that an account stores, whether it is served
// or not.
func (e *Engine) purgeAccount(bus Bus, name string, reply []byte) {
	resp := jsapi.AccountPurgeResponse{Response: jsapi.Response{Type: jsapi.TypePrefix + "account_purge_response"}}
	if strings.ContainsAny(name, `/\`) || name == "." || name == ".." {
		resp.Error = jsapi.ErrStreamGeneral.With("account name can not contain path separators")
	} else {
		resp.Initiated = true
		defer e.deleteAccount(name)
	}
	publishJSON(bus, string(reply), &resp)
}

func (e *Engine) deleteAccount(name string) {
	if a := e.Account(name); a != nil {
		for _, stream := range a.streamNames("") {
			if err := a.deleteStream(stream); err != nil {
				e.event(ErrorEvent{"purging account " + name + ": deleting stream " + stream + ": " + err.Description})
			}
		}
		a.mu.Lock() // nothing is made meanwhile
		defer a.mu.Unlock()
		if len(a.streams)+len(a.pending) > 0 { // made since, or being restored: they stay
			return
		}
		defer clear(a.offline) // their files are gone as well
	}
	if e.disk.host == nil {
		return
	}
	if err := e.disk.fs.RemoveAll(filepath.Join(e.disk.dir, name)); err != nil {
		e.event(ErrorEvent{"purging account " + name + ": " + err.Error()})
	}
}
