package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
	"github.com/natsd/natsd/server/options"
)

// slowDisk is a disk on which the blocks of stream SLOW are written at slowRate, and
// not at all while stand is locked.
type slowDisk struct {
	vfs.FS
	stand *sync.RWMutex
}

const slowRate = 16 << 20 // bytes a second

func (d slowDisk) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := d.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.Contains(name, "/SLOW/") {
		return file, err
	}
	return slowFile{file, d.stand}, nil
}

type slowFile struct {
	vfs.File
	stand *sync.RWMutex
}

func (f slowFile) WriteAt(p []byte, off int64) (int, error) {
	f.stand.RLock()
	defer f.stand.RUnlock()
	<-time.After(time.Duration(len(p)) * time.Second / slowRate) // what the disk takes
	return f.File.WriteAt(p, off)
}

// storm is a publisher that waits for nothing, and what became of its messages.
// Its reader keeps none of the answers.
type storm struct {
	conn net.Conn
	full func() // called with the first refusal

	mu      sync.Mutex
	stored  map[uint64]bool
	refused int
	other   []string // answers that should not come
	err     error    // the connection's
}

const tooMany = `{"error":{"code":429,"err_code":10167,"description":"too many requests"},"stream":"SLOW","seq":0}`

func startStorm(t *testing.T, s *Server, full func()) *storm {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB answers 1\r\n")); err != nil {
		t.Fatal(err)
	}
	st := &storm{conn: conn, full: full, stored: make(map[uint64]bool)}
	go st.read()
	return st
}

// publish sends n messages at once.
func (s *storm) publish(n int, payload []byte) error {
	one := fmt.Appendf(nil, "PUB slow answers %d\r\n%s\r\n", len(payload), payload)
	many := bytes.Repeat(one, 64)
	for ; n > 0; n -= 64 {
		if _, err := s.conn.Write(many[:min(n, 64)*len(one)]); err != nil {
			return err
		}
	}
	return nil
}

func (s *storm) read() {
	r := bufio.NewReaderSize(s.conn, 64<<10)
	for {
		line, err := r.ReadString('\n')
		if err == nil && strings.Contains(line, "MSG answers") {
			fields := strings.Fields(line)
			n, _ := strconv.Atoi(fields[len(fields)-1])
			body := make([]byte, n+2)
			if _, err = io.ReadFull(r, body); err == nil {
				s.answer(string(body[:n]))
			}
		}
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			return
		}
	}
}

func (s *storm) answer(body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var seq uint64
	switch n, _ := fmt.Sscanf(body, `{"stream":"SLOW","seq":%d}`, &seq); {
	case n == 1 && !s.stored[seq]:
		s.stored[seq] = true
	case body == "NATS/1.0 429 Too Many Requests\r\n\r\n"+tooMany:
		if s.refused++; s.refused == 1 {
			s.full()
		}
	default:
		s.other = append(s.other, body)
	}
}

// answered is the number of answers so far.
func (s *storm) answered() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.stored) + s.refused + len(s.other), s.err
}

// A publisher that waits for nothing meets a disk that cannot follow: what the
// server keeps in memory stays within its limits, every message is answered,
// either with an ack that is true or with 429, and a stream whose disk is fast
// does not notice.
func TestSlowDisk(t *testing.T) {
	const (
		inbox   = 8 << 20      // max_buffered_size
		flight  = 3 * 16 << 20 // what is being stored: as it came, encoded, and in the store's tail
		payload = 1 << 10
		msgs    = 256 << 10    // together far more than both limits
		slack   = 96 << 20     // what the simulated disk and the test hold
		journal = 4 * 32 << 20 // two segments, on the simulated disk as written and as synced
	)
	o := options.Default()
	o.Host, o.Port = "127.0.0.1", -1
	o.JetStream.Enabled, o.JetStream.StoreDir, o.JetStream.SyncAlways = true, "/store", true
	o.JetStream.MaxMemory, o.JetStream.MaxStore = 1<<30, 1<<40
	o.JetStream.MaxBufferedSize = inbox
	s, err := New(o, &testLog{})
	if err != nil {
		t.Fatal(err)
	}
	var stand sync.RWMutex
	s.disk = slowDisk{crashfs.New(1), &stand}
	t.Cleanup(s.Shutdown)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	nc := connect(t, s)
	js, err := nc.JetStream(nats.MaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*nats.StreamConfig{{Name: "SLOW", Subjects: []string{"slow"}, MaxBytes: 4 << 20}, {Name: "FAST", Subjects: []string{"fast"}}} {
		if _, err := js.AddStream(c); err != nil {
			t.Fatal(err)
		}
	}
	quiet := publishLatencies(t, js, 500)

	// However slowly the publisher runs, the disk is slower: it stands until the stream's buffers are full.
	stand.Lock()
	result := startStorm(t, s, stand.Unlock)
	runtime.GC()
	before := liveHeap()
	sent := make(chan error, 1)
	go func() { sent <- result.publish(msgs, make([]byte, payload)) }()
	var peak uint64
	var busy []time.Duration
	for n := 0; n < msgs; {
		busy = append(busy, publishLatencies(t, js, 50)...)
		runtime.GC()
		peak = max(peak, liveHeap())
		var err error
		if n, err = result.answered(); err != nil || len(busy) > 50_000 {
			t.Fatalf("%d of %d messages were answered: %v", n, msgs, err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	info, err := js.StreamInfo("SLOW")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d stored, %d refused; live heap %d MiB before, %d MiB at most; p99 quiet %v, meanwhile %v", len(result.stored), result.refused,
		before>>20, peak>>20, quantile(quiet, 99), quantile(busy, 99))
	if len(result.other) > 0 {
		t.Errorf("%d other answers, the first %q", len(result.other), result.other[0])
	}
	if result.refused == 0 {
		t.Error("nothing was refused: the disk is not slow enough")
	}
	if last := info.State.LastSeq; last != uint64(len(result.stored)) {
		t.Errorf("%d messages were acknowledged, the last sequence is %d", len(result.stored), last)
	}
	if peak > before+inbox+flight+slack+journal {
		t.Errorf("%d MiB of live heap, %d MiB before", peak>>20, before>>20)
	}
	// What waited behind the slow disk would take as long as a batch takes there.
	const batch = time.Second * (1 << 20) / slowRate
	if m := quantile(busy, 50); m > batch/2+20*quantile(quiet, 50) {
		t.Errorf("the other stream takes %v, %v without the slow one; a batch on the slow disk takes %v", m, quantile(quiet, 50), batch)
	}
}

// publishLatencies publishes to FAST, one after the other.
func publishLatencies(t *testing.T, js nats.JetStreamContext, n int) []time.Duration {
	t.Helper()
	var list []time.Duration
	for range n {
		began := time.Now()
		if _, err := js.Publish("fast", []byte("x")); err != nil {
			t.Fatal(err)
		}
		list = append(list, time.Since(began))
	}
	return list
}

func quantile(list []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)*percent/100]
}

// liveHeap is what the last collection found in use.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
