package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// shown is what a consumer's info tells of its state: all that a restart and a
// snapshot must keep.
func shown(t *testing.T, nc *nats.Conn, stream, name string) string {
	t.Helper()
	info := api(t, nc, "CONSUMER.INFO."+stream+"."+name, nil)
	if info["error"] != nil {
		t.Fatalf("%s > %s: %v", stream, name, info["error"])
	}
	for _, position := range []string{"delivered", "ack_floor"} {
		delete(info[position].(map[string]any), "last_active")
	}
	delete(info, "ts")
	delete(info, "created") // a restored consumer is a new one
	return string(must(json.Marshal(info))(t))
}

// work has a consumer deliver messages: the first is not acknowledged, the second
// is refused and comes again, the others are acknowledged.
func work(t *testing.T, c jetstream.Consumer, n int) {
	t.Helper()
	i := 0
	for m := range must(c.Fetch(n, jetstream.FetchMaxWait(wait)))(t).Messages() {
		switch i {
		case 0:
		case 1:
			check(t, m.NakWithDelay(time.Hour))
		default:
			check(t, m.DoubleAck(t.Context()))
		}
		i++
	}
	if i != n {
		t.Fatalf("%d messages, want %d", i, n)
	}
}

// next is the stream sequence of the next message, which it acknowledges.
func next(t *testing.T, c jetstream.Consumer) uint64 {
	t.Helper()
	m := must(c.Next(jetstream.FetchMaxWait(wait)))(t)
	check(t, m.DoubleAck(t.Context()))
	return must(m.Metadata())(t).Sequence.Stream
}

// Consumers of encrypted directories: their state survives restarts, a kill and
// a change of the key, and nothing of it is readable on the disk.
func TestConsumersOnEncryptedDirectory(t *testing.T) {
	for _, cipher := range []string{"chacha", "aes"} {
		t.Run(cipher, func(t *testing.T) {
			dir := t.TempDir()
			conf := func(keys string) string {
				return fmt.Sprintf("jetstream { store_dir: %q, cipher: %s, %s }", dir, cipher, keys)
			}
			s := startServer(t, conf(`key: "first"`))
			nc := s.connect()
			js := must(jetstream.New(nc))(t)
			must(js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}))(t)
			for i := range 40 {
				must(js.Publish(t.Context(), fmt.Sprintf("s.%d", i%2), []byte("message")))(t)
			}
			names := map[string]string{"all": "", "odd": "s.1"}
			for name, filter := range names {
				c := must(js.CreateConsumer(t.Context(), "S", jetstream.ConsumerConfig{
					Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour, FilterSubject: filter, Description: "in plain sight",
				}))(t)
				work(t, c, 7)
			}
			restart := func(kill bool, keys string) {
				t.Helper()
				before := map[string]string{}
				for name := range names {
					before[name] = shown(t, nc, "S", name)
				}
				nc.Close()
				if kill {
					s.kill()
				} else {
					s.stop()
				}
				notReadable(t, dir, "in plain sight")
				s.configure(conf(keys))
				s.start()
				nc = s.connect()
				js = must(jetstream.New(nc))(t)
				for name := range names {
					if after := shown(t, nc, "S", name); after != before[name] {
						t.Errorf("%s: got %s, want %s", keys, after, before[name])
					}
				}
			}
			expect := func(all, odd uint64) {
				t.Helper()
				for name, want := range map[string]uint64{"all": all, "odd": odd} {
					c := must(js.Consumer(t.Context(), "S", name))(t)
					if got := next(t, c); got != want {
						t.Errorf("%s: message %d, want %d", name, got, want)
					}
				}
			}
			restart(false, `key: "first"`)
			expect(8, 16)
			restart(true, `key: "first"`)
			expect(9, 18)
			restart(false, `key: "second", prev_key: "first"`)
			expect(10, 20)
			restart(true, `key: "second", prev_key: "first"`)
			expect(11, 22)
			restart(false, `key: "second"`)
			expect(12, 24)
			check(t, js.DeleteConsumer(t.Context(), "S", "odd"))
			delete(names, "odd")
			restart(true, `key: "second"`)
			if info := api(t, nc, "CONSUMER.INFO.S.odd", nil); info["error"] == nil {
				t.Errorf("a deleted consumer is back: %v", info)
			}
		})
	}
}

// notReadable checks that no file below a directory contains a text.
func notReadable(t *testing.T, dir, text string) {
	t.Helper()
	files := 0
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			t.Errorf("%s is readable", path)
		}
		return err
	}))
	if files == 0 {
		t.Error("no files")
	}
}

// A snapshot of a stream holds its consumers: they go on where they were when it
// is restored, on an encrypted directory as well.
func TestConsumersInSnapshot(t *testing.T) {
	for _, keys := range []string{"", `cipher: aes, key: "k"`} {
		t.Run(keys, func(t *testing.T) {
			s := startServer(t, fmt.Sprintf("jetstream { store_dir: %q, %s }", t.TempDir(), keys))
			nc := s.connect()
			js := must(jetstream.New(nc))(t)
			must(js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}))(t)
			for i := range 40 {
				must(js.Publish(t.Context(), fmt.Sprintf("s.%d", i%2), []byte("message")))(t)
			}
			names := []string{"all", "odd", "new"}
			for i, cfg := range []jetstream.ConsumerConfig{{}, {FilterSubject: "s.1"}, {DeliverPolicy: jetstream.DeliverNewPolicy}} {
				cfg.Durable, cfg.AckPolicy, cfg.AckWait = names[i], jetstream.AckExplicitPolicy, time.Hour
				c := must(js.CreateConsumer(t.Context(), "S", cfg))(t)
				if i < 2 {
					work(t, c, 7)
				}
			}
			before := map[string]string{}
			for _, name := range names {
				before[name] = shown(t, nc, "S", name)
			}
			archive, about := takeSnapshot(t, nc, "S")
			check(t, js.DeleteStream(t.Context(), "S"))
			restoreSnapshot(t, nc, "S", archive, about)
			for round := range 2 {
				for _, name := range names {
					if after := shown(t, nc, "S", name); after != before[name] {
						t.Errorf("round %d: got %s, want %s", round, after, before[name])
					}
				}
				if round == 0 { // and what was restored is on the disk
					nc.Close()
					s.kill()
					s.start()
					nc = s.connect()
					js = must(jetstream.New(nc))(t)
				}
			}
			for name, want := range map[string]uint64{"all": 8, "odd": 16} {
				if got := next(t, must(js.Consumer(t.Context(), "S", name))(t)); got != want {
					t.Errorf("%s: message %d, want %d", name, got, want)
				}
			}
			must(js.Publish(t.Context(), "s.0", nil))(t)
			if got := next(t, must(js.Consumer(t.Context(), "S", "new"))(t)); got != 41 {
				t.Errorf("new: message %d", got)
			}
		})
	}
}

// takeSnapshot returns the archive of a stream, and what the API said about it.
func takeSnapshot(t *testing.T, nc *nats.Conn, stream string) (archive []byte, about map[string]any) {
	t.Helper()
	sub := must(nc.SubscribeSync(nats.NewInbox()))(t)
	about = api(t, nc, "STREAM.SNAPSHOT."+stream, map[string]any{"deliver_subject": sub.Subject})
	if about["error"] != nil {
		t.Fatal(about)
	}
	for {
		m := must(sub.NextMsg(wait))(t)
		if len(m.Data) == 0 {
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				t.Fatal(m.Header)
			}
			return archive, about
		}
		archive = append(archive, m.Data...)
		if m.Reply != "" {
			check(t, m.Respond(nil))
		}
	}
}

func restoreSnapshot(t *testing.T, nc *nats.Conn, stream string, archive []byte, about map[string]any) {
	t.Helper()
	reply := api(t, nc, "STREAM.RESTORE."+stream, map[string]any{"config": about["config"], "state": about["state"]})
	to, _ := reply["deliver_subject"].(string)
	if to == "" {
		t.Fatal(reply)
	}
	for chunk := range slices.Chunk(archive, 64<<10) {
		must(nc.Request(to, chunk, wait))(t)
	}
	m := must(nc.Request(to, nil, wait))(t)
	if bytes.Contains(m.Data, []byte(`"error"`)) {
		t.Fatalf("%s", m.Data)
	}
}
