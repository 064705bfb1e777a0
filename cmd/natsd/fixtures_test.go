package main_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsd/natsd/msgstore"
	storecheck "github.com/natsd/natsd/msgstore/check"
)

// reference is a store directory that the reference server has left in order,
// and what it showed of it.
type reference struct {
	Config struct {
		JetStream string `json:"jetstream_extra"`
		Accounts  string `json:"accounts"`
	} `json:"server_config"`
	Encryption *struct{ Cipher, Key string } `json:"encryption"`
	Streams    []struct {
		Account  string         `json:"account"`
		Name     string         `json:"name"`
		Created  time.Time      `json:"created"`
		Config   map[string]any `json:"config"`
		State    map[string]any `json:"state"`
		Messages []struct {
			Seq     uint64 `json:"seq"`
			Subject string `json:"subject"`
			Time    int64  `json:"ts"`
			Headers []byte `json:"headers_b64"`
			Len     int    `json:"payload_len"`
			SHA256  string `json:"payload_sha256"`
		} `json:"messages"`
		Consumers []map[string]any `json:"consumers"`
	} `json:"streams"`
}

// fixturesDir is where the reference's directories are: beside the repository,
// or where the environment says.
func fixturesDir() string {
	root := os.Getenv("NATSD_FIXTURES")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "fixtures")
	}
	return filepath.Join(root, "filestore")
}

// Every directory that the reference server left in order is served as the
// reference showed it; and what natsd has added to it is found in order by the
// offline checker.
func TestReferenceDirectories(t *testing.T) {
	entries, err := os.ReadDir(fixturesDir())
	if err != nil {
		t.Logf("no fixtures: nothing is compared with the reference's data: %v", err)
		return
	}
	served := 0
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(fixturesDir(), e.Name(), "expected.json"))
		if err != nil {
			continue
		}
		var ref reference
		if err := json.Unmarshal(b, &ref); err != nil {
			t.Fatal(e.Name(), err)
		}
		if ref.Streams == nil {
			continue // killed or damaged
		}
		served++
		t.Run(e.Name(), func(t *testing.T) { serveReference(t, e.Name(), &ref) })
	}
	if served < 20 {
		t.Errorf("%d directories", served)
	}
}

func serveReference(t *testing.T, name string, ref *reference) {
	dir := unpackFixture(t, filepath.Join(fixturesDir(), name, "store.tar.gz"))
	s := startServer(t, fmt.Sprintf("jetstream { store_dir: %q, %s }\n%s", dir, ref.Config.JetStream, ref.Config.Accounts))
	for round := range 2 {
		clients := map[string]*nats.Conn{}
		for i := range ref.Streams {
			st := &ref.Streams[i]
			nc := clients[st.Account]
			if nc == nil {
				var opts []nats.Option
				if st.Account != "$G" {
					opts = append(opts, nats.UserInfo(strings.ToLower(st.Account), "p"))
				}
				nc = s.connect(opts...)
				clients[st.Account] = nc
			}
			compareStream(t, nc, ref, i, round == 0)
		}
		if round == 0 {
			for i := range ref.Streams {
				addTo(t, clients[ref.Streams[i].Account], ref.Streams[i].Config)
			}
		}
		for _, nc := range clients {
			nc.Close()
		}
		s.stop()
		var opts storecheck.Options
		if e := ref.Encryption; e != nil {
			cipher := must(msgstore.ParseCipher(e.Cipher))(t)
			opts.Keys = storecheck.Keys{Key: []byte(e.Key), Cipher: cipher}
		}
		if report := must(storecheck.Verify(dir, opts))(t); !report.Clean || len(report.Streams) != len(ref.Streams) {
			t.Errorf("after round %d: %d streams, %v", round, len(report.Streams), report.Findings)
		}
		if round == 0 {
			s.start()
		}
	}
}

// unpackFixture extracts an archive into a directory of the test's own.
func unpackFixture(t *testing.T, file string) string {
	t.Helper()
	f := must(os.Open(file))(t)
	defer f.Close()
	dir := t.TempDir()
	for r := tar.NewReader(must(gzip.NewReader(f))(t)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		check(t, err)
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			check(t, os.MkdirAll(name, 0o700))
			continue
		}
		check(t, os.MkdirAll(filepath.Dir(name), 0o700))
		check(t, os.WriteFile(name, must(io.ReadAll(r))(t), 0o600))
	}
}

// api makes a request of the JetStream API.
func api(t *testing.T, nc *nats.Conn, tail string, body any) map[string]any {
	t.Helper()
	var payload []byte
	if body != nil {
		payload = must(json.Marshal(body))(t)
	}
	m := must(nc.Request("$JS.API."+tail, payload, wait))(t)
	var reply map[string]any
	d := json.NewDecoder(bytes.NewReader(m.Data))
	d.UseNumber()
	check(t, d.Decode(&reply))
	return reply
}

// compareStream compares what the API tells with what the reference told. Later
// rounds, in which messages were added, look at what was there before only.
func compareStream(t *testing.T, nc *nats.Conn, ref *reference, i int, first bool) {
	t.Helper()
	st := &ref.Streams[i]
	info := api(t, nc, "STREAM.INFO."+st.Name, map[string]any{"deleted_details": true, "subjects_filter": ">"})
	if got, _ := time.Parse(time.RFC3339Nano, fmt.Sprint(info["created"])); !got.Equal(st.Created) {
		t.Errorf("%s: created %v, want %v", st.Name, got, st.Created)
	}
	if first {
		want := maps.Clone(st.State)
		if st.Name == "EMPTY" { // the reference counts sequence 0 as deleted
			delete(want, "num_deleted")
			delete(want, "deleted")
		}
		contains(t, st.Name+": state", info["state"], want)
		config := maps.Clone(st.Config)
		delete(config, "metadata") // names the version
		contains(t, st.Name+": config", info["config"], config)
	}
	for _, m := range st.Messages {
		reply := api(t, nc, "STREAM.MSG.GET."+st.Name, map[string]any{"seq": m.Seq})
		if !first && reply["error"] != nil {
			continue // limits have removed it
		}
		got, _ := reply["message"].(map[string]any)
		if got == nil {
			t.Errorf("%s: message %d: %v", st.Name, m.Seq, reply)
			continue
		}
		var msg struct {
			Subject string
			Seq     uint64
			Hdrs    []byte
			Data    []byte
			Time    time.Time
		}
		check(t, json.Unmarshal(must(json.Marshal(got))(t), &msg))
		sum := sha256.Sum256(msg.Data)
		if msg.Seq != m.Seq || msg.Subject != m.Subject || !bytes.Equal(msg.Hdrs, m.Headers) || len(msg.Data) != m.Len ||
			hex.EncodeToString(sum[:]) != m.SHA256 || msg.Time.UnixNano() != m.Time {
			t.Errorf("%s: message %d: %+v, want %+v", st.Name, m.Seq, msg, m)
		}
		if direct, _ := st.Config["allow_direct"].(bool); direct && first {
			d := must(nc.Request("$JS.API.DIRECT.GET."+st.Name, fmt.Appendf(nil, `{"seq":%d}`, m.Seq), wait))(t)
			if !bytes.Equal(d.Data, msg.Data) || d.Header.Get("Nats-Subject") != m.Subject {
				t.Errorf("%s: direct get of %d: %v %q", st.Name, m.Seq, d.Header, d.Data)
			}
		}
	}
	for _, want := range st.Consumers {
		want = maps.Clone(want)
		name := fmt.Sprint(want["name"])
		info := api(t, nc, "CONSUMER.INFO."+st.Name+"."+name, nil)
		for _, other := range []string{"stored_state", "ts", "cluster", "push_bound"} {
			delete(want, other)
		}
		config := maps.Clone(want["config"].(map[string]any))
		delete(config, "metadata")
		delete(want, "config")
		contains(t, st.Name+" > "+name+": config", info["config"], config)
		if !first {
			delete(want, "num_pending")
		}
		// When a delivery was last active is kept in seconds only.
		for _, position := range []string{"delivered", "ack_floor"} {
			p := maps.Clone(want[position].(map[string]any))
			delete(p, "last_active")
			want[position] = p
		}
		contains(t, st.Name+" > "+name, info, want)
	}
}

// contains checks that got has all members of want.
func contains(t *testing.T, what string, got any, want map[string]any) {
	t.Helper()
	have, _ := got.(map[string]any)
	for key, w := range want {
		g := normal(have[key])
		if m, ok := w.(map[string]any); ok {
			if _, ok := have[key].(map[string]any); ok {
				contains(t, what+"."+key, have[key], m)
				continue
			}
		}
		if w = normal(w); !reflect.DeepEqual(g, w) {
			t.Errorf("%s.%s: %v, want %v", what, key, g, w)
		}
	}
}

// normal makes numbers comparable and treats an absent list or object as empty.
func normal(v any) any {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		if err == nil {
			return f
		}
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = normal(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = normal(v[k])
		}
		return out
	}
	return v
}

// addTo publishes to a stream where it takes messages, and removes one.
func addTo(t *testing.T, nc *nats.Conn, config map[string]any) {
	t.Helper()
	name := fmt.Sprint(config["name"])
	subjects, _ := config["subjects"].([]any)
	counter, _ := config["allow_msg_counter"].(bool)
	for _, s := range subjects {
		subject := strings.NewReplacer("*", "added", ">", "added").Replace(fmt.Sprint(s))
		for i := range 20 {
			m := nats.NewMsg(subject)
			if counter {
				m.Header.Set("Nats-Incr", "1")
			} else {
				m.Data = fmt.Appendf(nil, "added %d", i)
			}
			r := must(nc.RequestMsg(m, wait))(t)
			var ack struct {
				Stream string
				Seq    uint64
				Error  any
			}
			check(t, json.Unmarshal(r.Data, &ack))
			if ack.Stream != name || ack.Error != nil {
				t.Fatalf("%s: %s", subject, r.Data)
			}
			if i == 7 && !counter {
				reply := api(t, nc, "STREAM.MSG.DELETE."+name, map[string]any{"seq": ack.Seq})
				if deny, _ := config["deny_delete"].(bool); reply["success"] != true && !deny && !slices.Contains([]any{"interest"}, config["retention"]) {
					t.Errorf("deleting %d of %s: %v", ack.Seq, name, reply)
				}
			}
		}
	}
}
