package monitor

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"
)

const (
	// turnsAtATime is how many documents over HTTP are made at a time: of those that
	// look at all connections, subscriptions or streams, and of the others. More
	// requests wait. Dashboards ask for one after the other.
	turnsAtATime = 4
	// turnWait is how long a request waits for its turn.
	turnWait = 30 * time.Second

	// maxUnread bounds the bytes of replies that their readers have not taken yet. One
	// reply may be larger.
	maxUnread = 256 << 20
	// A reader has readerGrace and a second for each readerRate bytes.
	readerGrace = 30 * time.Second
	readerRate  = 256 << 10
	// bodyWait is how long the body of a request, which nobody reads, may take to come.
	bodyWait = 5 * time.Second
)

// turns bounds what is under way.
type turns chan struct{}

func newTurns() turns { return make(turns, turnsAtATime) }

// take waits for a turn.
func (t turns) take(ctx context.Context) bool {
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t turns) leave() { <-t }

// unread counts the bytes of replies that are being written.
type unread struct {
	mu    sync.Mutex // guards the rest
	bytes int
	freed chan struct{} // closed when some were written; nil: nobody waits
}

// take waits until n bytes more are not too many.
func (u *unread) take(ctx context.Context, n int) bool {
	for {
		u.mu.Lock()
		if u.bytes == 0 || u.bytes+n <= maxUnread {
			u.bytes += n
			u.mu.Unlock()
			return true
		}
		if u.freed == nil {
			u.freed = make(chan struct{})
		}
		freed := u.freed
		u.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return false
		}
	}
}

func (u *unread) leave(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes -= n
	if u.freed != nil {
		close(u.freed)
		u.freed = nil
	}
}

// held is a reply in memory.
type held struct {
	http.ResponseWriter // for the header
	code                int
	body                bytes.Buffer
}

func (p *held) WriteHeader(code int) { p.code = code }

func (p *held) Write(b []byte) (int, error) { return p.body.Write(b) }

// inTurn serves a page when it has its turn, which ends before the reader's time begins.
func (m *Monitor) inTurn(t turns, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := &held{ResponseWriter: w, code: http.StatusOK}
		if !m.make(t, p, serve, r) {
			http.Error(w, "too many requests are under way", http.StatusServiceUnavailable)
			return
		}
		defer m.unread.leave(p.body.Len())
		giveTime(w, r, p.body.Len())
		w.WriteHeader(p.code)
		w.Write(p.body.Bytes())
	}
}

// make fills p, and counts it as unread.
func (m *Monitor) make(t turns, p *held, serve http.HandlerFunc, r *http.Request) bool {
	ctx, cancel := context.WithTimeout(r.Context(), turnWait)
	defer cancel()
	if !t.take(ctx) {
		return false
	}
	defer t.leave()
	serve(p, r)
	return m.unread.take(ctx, p.body.Len())
}

// giveTime bounds how long the reader may take for a reply of n bytes, and the rest of
// the request for its way.
func giveTime(w http.ResponseWriter, r *http.Request, n int) {
	c := http.NewResponseController(w) // what has no deadlines needs none
	now := time.Now()
	c.SetWriteDeadline(now.Add(readerGrace + time.Duration(n/readerRate)*time.Second))
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		c.SetReadDeadline(now.Add(bodyWait))
	}
}
