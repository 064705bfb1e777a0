package server

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A bit that flipped in a sealed block is found by the running server, without
// anybody reading the message: it is in the log, in the stream's info and in the
// health of the server, and every other message is served.
func TestScrub(t *testing.T) {
	dir := t.TempDir()
	conf := `http: "127.0.0.1:-1", jetstream { store_dir: "` + dir + `" }`
	s := startConf(t, conf)
	nc := connect(t, s)
	js, err := nc.JetStream(nats.MaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	// Blocks of 32 kB. The messages of the duplicate window are read at the start:
	// these are older.
	const window = 100 * time.Millisecond
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s"}, MaxBytes: 120_000, Duplicates: window}); err != nil {
		t.Fatal(err)
	}
	const messages = 100
	for range messages {
		if _, err := js.Publish("s", bytes.Repeat([]byte("x"), 1000)); err != nil {
			t.Fatal(err)
		}
	}
	nc.Close()
	s.Shutdown()

	block := filepath.Join(dir, "jetstream", "$G", "streams", "S", "msgs", "2.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	b[500] ^= 1 // in the first message of the block
	if err := os.WriteFile(block, b, 0o600); err != nil {
		t.Fatal(err)
	}

	stored := time.Now()
	waitUntil(t, func() bool { return time.Since(stored) > 2*window })
	s = startConf(t, conf)
	nc = connect(t, s)
	log := s.log.(*testLog)
	waitUntil(t, func() bool { return log.contains("damage in 2.blk") })
	reply, err := nc.Request("$JS.API.STREAM.INFO.S", nil, patience)
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		State struct {
			Messages uint64
			Lost     *struct {
				Msgs  []uint64
				Bytes uint64
			}
		}
	}
	if err := json.Unmarshal(reply.Data, &info); err != nil {
		t.Fatal(err)
	}
	lost := info.State.Lost
	if lost == nil || len(lost.Msgs) != 1 || lost.Bytes == 0 {
		t.Fatalf("the stream's info says %s", reply.Data)
	}
	r, err := http.Get("http://" + s.MonitorAddr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(text, []byte("has lost 1 messages")) {
		t.Errorf("health: %d %s", r.StatusCode, text)
	}
	if js, err = nc.JetStream(nats.MaxWait(patience)); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= messages; seq++ {
		if _, err := js.GetMsg("S", seq); (err != nil) != slices.Contains(lost.Msgs, seq) {
			t.Errorf("message %d: %v", seq, err)
		}
	}
	if list, err := filepath.Glob(filepath.Join(dir, "jetstream", "$G", "streams", "S", "quarantine", "2.blk.*")); err != nil || len(list) == 0 {
		t.Errorf("quarantine: %v, %v", list, err)
	}
}
