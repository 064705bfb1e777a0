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
	"net/http"
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
	Before     []struct {
		Account string `json:"account"`
		Name    string `json:"name"`
	} `json:"before"` // of killed and damaged directories
	Streams []struct {
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

// Directories that were damaged, or left by a killed server, do not keep anything
// else from working: the server starts, other streams are made and used, and what
// was lost is logged once, with numbers, and shown in the stream's info and by the
// health check.
func TestDamagedDirectories(t *testing.T) {
	entries, err := os.ReadDir(fixturesDir())
	if err != nil {
		t.Logf("no fixtures: nothing is compared with the reference's data: %v", err)
		return
	}
	health := map[string]string{}
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
		if ref.Before == nil {
			continue
		}
		served++
		t.Run(e.Name(), func(t *testing.T) { health[e.Name()] = serveDamaged(t, e.Name(), &ref) })
	}
	if served < 20 {
		t.Errorf("%d directories", served)
	}
	for name, want := range map[string]string{
		"dmg-bitflip-last-block":   "unavailable JetStream stream '$G > DMGBL' has lost 1 messages, 590 bytes",
		"dmg-meta-sum":             "unavailable JetStream stream '$G > METABAD' could not be recovered",
		"dmg-missing-middle-block": "unavailable JetStream stream '$G > DMGMM' has lost 71 messages, 31843 bytes",
		"dmg-missing-index":        "ok ",
		"kill9-stale-index":        "ok ",
	} {
		if health[name] != want {
			t.Errorf("%s: %s, want %s", name, health[name], want)
		}
	}
}

func serveDamaged(t *testing.T, name string, ref *reference) string {
	dir := unpackFixture(t, filepath.Join(fixturesDir(), name, "store.tar.gz"))
	s := startServer(t, fmt.Sprintf("http: \"127.0.0.1:-1\"\njetstream { store_dir: %q, %s }\n%s", dir, ref.Config.JetStream, ref.Config.Accounts))
	health := func() string {
		r := must(http.Get(s.http + "/healthz"))(t)
		defer r.Body.Close()
		var doc struct{ Status, Error string }
		check(t, json.NewDecoder(r.Body).Decode(&doc))
		return doc.Status + " " + doc.Error
	}
	var first string
	for round := range 2 {
		nc := s.connect()
		if r := api(t, nc, "STREAM.CREATE.OTHER", map[string]any{"name": "OTHER"}); r["error"] != nil {
			t.Fatalf("another stream: %v", r)
		}
		if m := must(nc.Request("OTHER", nil, wait))(t); !strings.HasPrefix(string(m.Data), `{"stream":"OTHER","seq":`) {
			t.Errorf("publishing to another stream: %s", m.Data)
		}
		st := ref.Before[0]
		info := api(t, nc, "STREAM.INFO."+st.Name, nil)
		state, _ := info["state"].(map[string]any)
		text, log := health(), s.log.String()
		damages := strings.Count(log, " damage in ")
		switch {
		case info["error"] != nil: // could not be opened: it is told why
			if want := "'$G > " + st.Name + "' could not be recovered"; !strings.Contains(text, want) || !strings.Contains(log, "'$G > "+st.Name+"': recovering the stream: ") {
				t.Errorf("not recovered, and not told: %s\n%s", text, log)
			}
		case state["lost"] != nil:
			gone := state["lost"].(map[string]any)
			msgs, _ := gone["msgs"].([]any)
			if want := fmt.Sprintf("JetStream stream '$G > %s' has lost %d messages, %v bytes", st.Name, len(msgs), gone["bytes"]); !strings.Contains(text, want) {
				t.Errorf("health check: %s, want %s", text, want)
			}
			if round == 0 && damages == 0 && !strings.Contains(log, ": no blocks ") && !strings.Contains(log, "missing") {
				t.Errorf("the loss was not logged:\n%s", log)
			}
		case text != "ok ":
			t.Errorf("nothing is lost, but the health check says %s", text)
		}
		if round == 0 {
			first = text
		} else if first != "ok " && (text != first || damages > 0) { // what the first start did not read may be found later
			t.Errorf("after another start: %s, before %s; %d damages were logged again", text, first, damages)
		}
		nc.Close()
		s.stop()
		if round == 0 {
			s.start()
		}
	}
	return first
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
