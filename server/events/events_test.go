package events

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"
	"go.uber.org/goleak"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/subjecttree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testHost is a server without connections.
type testHost struct {
	client.Logger
	set *account.Set
	sys *account.Account

	options options.Options

	mu       sync.Mutex
	seq      uint64
	warnings int
	traces   []string
}

func (h *testHost) Options() *options.Options { return &h.options }

func (h *testHost) Tracef(format string, v ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.traces = append(h.traces, fmt.Sprintf(format, v...))
}

func newHost() *testHost {
	h := &testHost{set: account.NewSet()}
	h.sys = h.set.GetOrAdd("SYS", subjecttree.ListOptions{})
	return h
}

func (h *testHost) Describe() ServerInfo { return ServerInfo{Name: "n", ID: "NID", Host: "h"} }

func (h *testHost) Info() ServerInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	i := h.Describe()
	i.Seq = h.seq
	return i
}

func (h *testHost) SystemAccount() *account.Account      { return h.sys }
func (h *testHost) Account(name string) *account.Account { return h.set.Get(name) }
func (h *testHost) Tag(a *account.Account) string        { return a.Name() }
func (h *testHost) Client(uint64) *client.Client         { return nil }
func (h *testHost) Reload() error                        { return nil }
func (h *testHost) Go(f func())                          { go f() }

func (h *testHost) Warnf(string, ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.warnings++
}

// received is what a subscription got.
type received struct {
	mu       sync.Mutex
	subjects []string
	bodies   [][]byte
}

func (r *received) take() (subjects []string, bodies [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	subjects, bodies = r.subjects, r.bodies
	r.subjects, r.bodies = nil, nil
	return subjects, bodies
}

func (h *testHost) listen(t *testing.T, subject string) *received {
	t.Helper()
	type message struct{ subject, body string }
	r := &received{}
	convert := func(_ *account.Producer, _ *account.Sub, m *account.Msg) (message, bool) {
		return message{string(m.Subject), string(m.Payload)}, true
	}
	to := account.NewHandler(account.System, convert, func(_ *account.Producer, ms []message) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, m := range ms {
			r.subjects = append(r.subjects, m.subject)
			r.bodies = append(r.bodies, []byte(m.body))
		}
	})
	if err := h.sys.Subscribe(&account.Sub{Subject: subject, To: to}); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestQueue: jobs keep their order, close waits for them and does the last one, later ones are refused.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done []int
		q := queue{maxJobs: 100, maxBytes: 1000, start: func(f func()) { go f() }, full: func(int) { t.Error("full") }}
		for i := range 10 {
			if !q.add(1, func() { time.Sleep(time.Millisecond); done = append(done, i) }) {
				t.Fatalf("job %d was refused", i)
			}
		}
		if pending, active := q.fill(); pending != 10 || active != 1 {
			t.Errorf("%d pending, %d active", pending, active)
		}
		q.close(func() { done = append(done, 99) })
		if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 99}; !slices.Equal(done, want) {
			t.Errorf("done %v, want %v", done, want)
		}
		if q.add(1, func() { t.Error("a job of a closed queue") }) {
			t.Error("a closed queue took a job")
		}
		q.close(func() { t.Error("closed twice") })
	})
}

// TestFullQueue: what is too much is refused, by number and by size, and reported once a second.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports []int
		hold := make(chan struct{})
		q := queue{maxJobs: 2, maxBytes: 10, start: func(f func()) { go f() }, full: func(n int) { reports = append(reports, n) }}
		q.add(4, func() { <-hold })
		synctest.Wait() // it is under way, and still counts with its size
		add := func(size int, want bool) {
			t.Helper()
			if got := q.add(size, func() {}); got != want {
				t.Errorf("a job of size %d: taken %v, want %v", size, got, want)
			}
		}
		add(7, false)
		add(6, true)
		add(1, false)
		add(0, true)
		add(0, false)
		time.Sleep(time.Second)
		add(0, false)
		close(hold)
		synctest.Wait()
		add(10, true)
		synctest.Wait()
		if want := []int{1, 3}; !slices.Equal(reports, want) {
			t.Errorf("reports %v, want %v", reports, want)
		}
	})
}

// TestOrderedShutdown: what was queued goes out first, SHUTDOWN is the last message, sequence numbers rise.
func TestOrderedShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		got := h.listen(t, "$SYS.>")
		s := New(h, nil)
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		a := h.set.GetOrAdd("A", subjecttree.ListOptions{})
		for range 3 {
			s.Disconnected(client.Snapshot{Account: a, Reason: client.ClientClosed})
		}
		s.Shutdown()
		s.Disconnected(client.Snapshot{Account: a})
		s.ConnectionsChanged(a)
		s.Announce()
		time.Sleep(time.Minute)
		subjects, bodies := got.take()
		d := "$SYS.ACCOUNT.A.DISCONNECT"
		if want := []string{d, d, d, "$SYS.SERVER.NID.SHUTDOWN"}; !slices.Equal(subjects, want) {
			t.Fatalf("messages %q, want %q", subjects, want)
		}
		for i, b := range bodies[:3] {
			var e Disconnect
			if err := json.Unmarshal(b, &e); err != nil || e.Server.Seq != uint64(i+1) || e.Reason != "Client Closed" {
				t.Errorf("event %d: %v, %s", i, err, b)
			}
		}
	})
}

// TestTraceVerbose: what the service publishes is in the protocol trace if that is to be verbose.
func TestTraceVerbose(t *testing.T) {
	h := newHost()
	s := New(h, nil)
	h.listen(t, "x")
	for _, c := range []struct {
		options options.Options
		want    []string
	}{
		{options.Options{Trace: true}, nil},
		{options.Options{Trace: true, TraceVerbose: true}, []string{"SYSTEM - <<- [PUB x  2]", `SYSTEM - <<- MSG_PAYLOAD: ["{}"]`}},
		{options.Options{Trace: true, TraceVerbose: true, TraceHeaders: true}, []string{"SYSTEM - <<- [PUB x  2]"}},
		{options.Options{Trace: true, TraceVerbose: true, MaxTracedMsgLen: 1}, []string{"SYSTEM - <<- [PUB x  2]", `SYSTEM - <<- MSG_PAYLOAD: ["{..."]`}},
	} {
		h.options, h.traces = c.options, nil
		s.send("x", func(ServerInfo) any { return struct{}{} })
		if !slices.Equal(h.traces, c.want) {
			t.Errorf("%+v: %q, want %q", c.options, h.traces, c.want)
		}
	}
}

// TestNobodyListens: without interest no message is made, so that none takes a sequence number.
func TestNobodyListens(t *testing.T) {
	h := newHost()
	s := New(h, nil)
	s.Disconnected(client.Snapshot{Account: h.set.GetOrAdd("A", subjecttree.ListOptions{})})
	s.LameDuck()
	s.Shutdown()
	if h.seq != 0 {
		t.Errorf("%d messages were made", h.seq)
	}
}

func TestFilter(t *testing.T) {
	info := ServerInfo{Name: "east-1", Host: "10.0.0.1", Cluster: "east", Domain: "hub", Tags: []string{"az:1", "ssd"}}
	for body, want := range map[string]bool{
		`{}`:                     true,
		`{"server_name":"east"}`: true,
		`{"server_name":"east","exact_match":true}`:   false,
		`{"server_name":"east-1","exact_match":true}`: true,
		`{"SERVER_NAME":"west"}`:                      false,
		`{"cluster":"ea"}`:                            true,
		`{"cluster":"west"}`:                          false,
		`{"host":"10.0."}`:                            true,
		`{"host":"10.0.","exact_match":true}`:         false,
		`{"tags":["SSD"]}`:                            true,
		`{"tags":["ssd","az:2"]}`:                     false,
		`{"domain":"hub"}`:                            true,
		`{"domain":"hu"}`:                             false,
		`{"server_name":"east","cluster":"west"}`:     false,
	} {
		var f Filter
		if err := json.Unmarshal([]byte(body), &f); err != nil {
			t.Fatal(err)
		}
		if got := f.matches(&info); got != want {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
}

func TestEncodings(t *testing.T) {
	for accept, want := range map[string]string{
		"": "", "gzip": Gzip, "GZIP": Gzip, "snappy": Snappy, "gzip, s2": Snappy, "br": Identity,
	} {
		if got := Encoding(accept); got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
	text := []byte(strings.Repeat("system ", 1000))
	for encoding, open := range map[string]func(io.Reader) (io.Reader, error){
		Gzip:     func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		Snappy:   func(r io.Reader) (io.Reader, error) { return s2.NewReader(r), nil },
		Identity: func(r io.Reader) (io.Reader, error) { return r, nil },
	} {
		b, err := Compress(encoding, text)
		if err != nil {
			t.Fatal(err)
		}
		if encoding == Snappy && !bytes.HasPrefix(b, []byte("\xff\x06\x00\x00sNaPpY")) {
			t.Errorf("not snappy's framing: % x", b[:10])
		}
		r, err := open(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: %v, %d bytes", encoding, err, len(got))
		}
	}
}

// FuzzFilter: any body is a filter or an error.
func FuzzFilter(f *testing.F) {
	f.Add([]byte(`{"server_name":"a","tags":["x"],"exact_match":true}`))
	f.Add([]byte(`{"cid":`))
	f.Fuzz(func(t *testing.T, body []byte) {
		h := newHost()
		s := &Service{host: h}
		meant, err := s.meant(&request{body: body})
		if err != nil && meant {
			t.Fatal("a request that cannot be read is not meant for anybody")
		}
	})
}
