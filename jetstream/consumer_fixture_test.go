package jetstream

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unpack extracts a store directory that the reference server wrote.
func unpack(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, b, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestConsumersOfReference opens stores that the reference server has left: its
// consumers are where they were, and go on there; also after another restart.
func TestConsumersOfReference(t *testing.T) {
	type state struct {
		store, stream, name                                     string
		cseq, sseq, floorC, floorS, pending, redelivered, ahead int
	}
	for _, w := range []state{
		{"consumers", "CONS", "ackall", 12, 12, 7, 7, 5, 0, 48},
		{"consumers", "CONS", "eph", 3, 3, 1, 1, 2, 0, 57},
		{"consumers", "CONS", "explicit", 20, 20, 3, 3, 14, 0, 40},
		{"consumers", "CONS", "filtered", 6, 26, 1, 13, 4, 0, 11},
		{"consumers", "CONS", "fresh", 0, 0, 0, 0, 0, 0, 60},
		{"consumers", "CONS", "lastnew", 0, 60, 0, 60, 0, 0, 0},
		{"consumers", "CONS", "none", 9, 9, 9, 9, 0, 0, 51},
		{"consumers", "CONS", "redeliv", 12, 8, 0, 0, 7, 3, 52},
		{"workqueue", "INTEREST", "w", 15, 15, 4, 4, 2, 0, 15},
		{"workqueue", "WORKQUEUE", "w", 15, 15, 4, 4, 2, 0, 15},
	} {
		t.Run(w.stream+"."+w.name, func(t *testing.T) {
			dir := unpack(t, w.store)
			was := w.pending
			var fresh []string // ack subjects of what the rounds below deliver
			for range 2 {
				e, err := Open(Options{StoreDir: dir, ServerName: "S1", MaxMemory: -1, MaxStore: -1})
				if err != nil {
					t.Fatal(err)
				}
				bus := &testBus{}
				if _, err := e.AddAccount("$G", bus, &AccountConfig{Limits: unlimited}); err != nil {
					t.Fatal(err)
				}
				c := newClient(t, bus)
				info := c.request("$JS.API.CONSUMER.INFO."+w.stream+"."+w.name, "").data
				for _, part := range []string{
					fmt.Sprintf(`"delivered":{"consumer_seq":%d,"stream_seq":%d}`, w.cseq, w.sseq),
					fmt.Sprintf(`"ack_floor":{"consumer_seq":%d,"stream_seq":%d}`, w.floorC, w.floorS),
					fmt.Sprintf(`"num_ack_pending":%d,"num_redelivered":%d,"num_waiting":0,"num_pending":%d`, w.pending, w.redelivered, w.ahead),
				} {
					if !strings.Contains(info, part) {
						t.Errorf("want %s in %s", part, info)
					}
				}
				if w.ahead > 0 {
					in := c.subscribe("in")
					c.publish("$JS.API.CONSUMER.MSG.NEXT."+w.stream+"."+w.name, "in", "1")
					m := next(t, in)
					if want := fmt.Sprintf("$JS.ACK.%s.%s.1.", w.stream, w.name); !strings.HasPrefix(m.reply, want) || !strings.Contains(m.reply, fmt.Sprintf(".%d.", w.cseq+1)) || !strings.HasSuffix(m.reply, fmt.Sprintf(".%d", w.ahead-1)) {
						t.Errorf("next message is %s", m.reply)
					}
					var n, seq int
					if _, err := fmt.Sscanf(strings.TrimPrefix(m.reply, "$JS.ACK."+w.stream+"."+w.name+"."), "%d.%d.", &n, &seq); err != nil {
						t.Fatal(err)
					}
					w.cseq, w.sseq, w.ahead = w.cseq+1, seq, w.ahead-1
					fresh = append(fresh, m.reply)
					if w.name == "none" {
						w.floorC, w.floorS = w.cseq, w.sseq
					} else {
						w.pending++
					}
				}
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
			}
			continueReference(t, dir, w.stream, w.name, w.sseq, w.ahead, was, fresh)
		})
	}
}

// continueReference has everything delivered that a consumer has left: what is
// ahead, once each and in order, and what was never acknowledged, again. When it
// is acknowledged nothing is left.
func continueReference(t *testing.T, dir, stream, name string, from, ahead, pending int, acks []string) {
	e, err := Open(Options{StoreDir: dir, ServerName: "S1", MaxMemory: -1, MaxStore: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	bus := &testBus{}
	if _, err := e.AddAccount("$G", bus, &AccountConfig{Limits: unlimited}); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, bus)
	in := c.subscribe("in")
	if ahead+pending > 0 {
		c.publish("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+name, "in", fmt.Sprint(ahead+pending))
	}
	last, again := from, 0
	redelivered := map[int]bool{}
	for range ahead + pending {
		m := next(t, in)
		var count, seq, cseq int
		if _, err := fmt.Sscanf(strings.TrimPrefix(m.reply, "$JS.ACK."+stream+"."+name+"."), "%d.%d.%d.", &count, &seq, &cseq); err != nil {
			t.Fatal(m.reply, err)
		}
		switch {
		case count > 1 && (seq > from || redelivered[seq]):
			t.Errorf("redelivered %d, delivery %d", seq, count)
		case count > 1:
			redelivered[seq] = true
			again++
		case seq <= last:
			t.Errorf("delivered %d after %d", seq, last)
		default:
			last = seq
		}
		acks = append(acks, m.reply)
	}
	for _, ack := range acks {
		if name == "none" {
			break
		}
		if r := c.request(ack, "+ACK"); r.data != "" {
			t.Errorf("%s: %v", ack, r)
		}
	}
	if again != pending {
		t.Errorf("%d messages came again, want %d", again, pending)
	}
	info := c.request("$JS.API.CONSUMER.INFO."+stream+"."+name, "").data
	if want := `"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":0`; !strings.Contains(info, want) {
		t.Errorf("want %s in %s", want, info)
	}
}
