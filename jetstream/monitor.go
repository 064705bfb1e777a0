package jetstream

import (
	"sort"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
)

// Usage is what all accounts of a server together use. Sizes are bytes.
type Usage struct {
	Memory, Store                 uint64
	ReservedMemory, ReservedStore uint64

	APIInflight                 uint64 // requests queued and being served
	QueuedRequests, QueuedInfos int    // of them, those waiting for a worker
}

// Usage tells the present use of the server.
func (e *Engine) Usage() Usage {
	u := Usage{
		Memory:         uint64(max(e.usage.memory.Load(), 0)),
		Store:          uint64(max(e.usage.store.Load(), 0)),
		ReservedMemory: uint64(max(e.reserved(jsapi.MemoryStorage), 0)),
		ReservedStore:  uint64(max(e.reserved(jsapi.FileStorage), 0)),
		APIInflight:    uint64(max(e.api.inflight.Load(), 0)),
	}
	e.api.mu.Lock()
	defer e.api.mu.Unlock()
	u.QueuedRequests, u.QueuedInfos = len(e.api.queues[reqQueue].list), len(e.api.queues[infQueue].list)
	return u
}

// DiskWaits tells how long reads of the disk had to wait for others.
func (e *Engine) DiskWaits() msgstore.DiskWaits {
	if e.disk.host == nil {
		return msgstore.DiskWaits{}
	}
	return e.disk.host.DiskWaits()
}

// Options are those that the engine was opened with, defaults filled in.
func (e *Engine) Options() Options {
	o := e.opts
	o.MaxMemory, o.MaxStore = e.maxMemory.Load(), e.maxStore.Load()
	return o
}

// APIStats counts the account's API requests.
func (a *Account) APIStats() jsapi.APIStats {
	return jsapi.APIStats{Level: jsapi.Level, Total: a.apiTotal.Load(), Errors: a.apiErrors.Load()}
}

// Info describes the stream as INFO does, without the details of deleted messages and subjects.
func (st *Stream) Info() *jsapi.StreamInfo { return st.info(false) }

// Duplicates is the number of messages that were answered or skipped as duplicates since start.
func (st *Stream) Duplicates() uint64 { return st.duplicates.Load() }

// Duplicates is that of all streams, those that were deleted included.
func (e *Engine) Duplicates() uint64 { return e.duplicates.Load() }

// DedupIDs is how many message ids the duplicate windows of all streams hold.
func (e *Engine) DedupIDs() int64 { return e.dedupIDs.Load() }

func (st *Stream) countDuplicate() {
	st.duplicates.Add(1)
	st.engine.duplicates.Add(1)
}

// Failure is what is wrong with a stream.
type Failure struct {
	Stream string
	// Err is why the store refuses writes, or the stream could not be opened.
	Err        error
	Recovering bool // it could not be opened
	// Lost is what damage has taken from a stream that is served for the rest. Err
	// is nil then.
	Lost *msgstore.LostData
}

// Failures are the streams of the account that cannot be used, or have lost
// something, sorted by name.
func (a *Account) Failures() []Failure {
	var list []Failure
	for _, st := range a.Streams() {
		if err := st.failure.Load(); err != nil {
			list = append(list, Failure{Stream: st.name, Err: *err})
		}
		var s msgstore.State
		if st.store.FastState(&s); s.Lost != nil {
			list = append(list, Failure{Stream: st.name, Lost: s.Lost})
		}
	}
	a.mu.RLock()
	for name, o := range a.offline {
		if o.err != nil {
			list = append(list, Failure{Stream: name, Err: o.err, Recovering: true})
		}
	}
	a.mu.RUnlock()
	sort.SliceStable(list, func(i, j int) bool { return list[i].Stream < list[j].Stream })
	return list
}
