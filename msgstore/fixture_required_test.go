package msgstore_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/vfs"
)

// What expected.json requires beyond states, messages and consumers.

// kept checks that the original bytes of every damaged block are there still: where
// they were, or in the quarantine, with the key without which they are nothing.
func (c *fixtureCase) kept(t *testing.T, before map[string][]byte, damaged []msgstore.Damaged) {
	t.Helper()
	lines := map[string]bool{}
	for _, d := range damaged {
		msgs := path.Join("jetstream", d.Account, "streams", d.Stream, "msgs")
		block := strconv.Itoa(int(d.Block))
		original := before[path.Join(msgs, block+".blk")]
		if original == nil {
			continue // there was none
		}
		now := contents(t, c.dir)
		key, hasKey := before[path.Join(msgs, block+".key")]
		where := ""
		switch copied, err := filepath.Rel(c.dir, d.Quarantine); {
		case err == nil && bytes.Equal(now[copied], original):
			where = "quarantine"
			if hasKey && !bytes.Equal(now[copied+".key"], key) {
				t.Errorf("%s: the key of the copy of block %s is another one", d.Stream, block)
			}
			if !strings.HasPrefix(copied, path.Join("jetstream", d.Account, "streams", d.Stream, "quarantine")+"/") {
				t.Errorf("%s: the copy is %s", d.Stream, copied)
			}
		case bytes.Equal(now[path.Join(msgs, block+".blk")], original) && bytes.Equal(now[path.Join(msgs, block+".key")], key):
			where = "its place"
		default:
			t.Errorf("%s: the bytes of damaged block %s are gone: %+v", d.Stream, block, d)
		}
		lines[fmt.Sprintf("kept: the bytes of %s.blk, in %s", block, where)] = true
	}
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		c.printf("     %s", line)
	}
}

// contents are the files below a directory.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err == nil {
			files[rel], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// configured checks the configuration of a stream and of its consumers.
func (c *fixtureCase) configured(t *testing.T, dir string, truth *fixture.Stream) {
	t.Helper()
	inf, err := msgstore.ReadStreamMeta(vfs.OS, dir, truth.Account, c.ring(t))
	if err != nil {
		t.Errorf("%s: %v", truth.Name, err)
		return
	}
	got, want := members(t, inf), members(t, truth.Config)
	want["Created"] = truth.Created.Format(time.RFC3339Nano)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: the configuration is\n%v\nwant\n%v", truth.Name, got, want)
	}
}

// members are those of a configuration. What begins with an underscore in the metadata
// is the server's, which shows more of it than it stores.
func members(t *testing.T, object []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(object, &m); err != nil {
		t.Fatal(err)
	}
	if metadata, ok := m["metadata"].(map[string]any); ok {
		maps.DeleteFunc(metadata, func(name string, _ any) bool { return strings.HasPrefix(name, "_nats.") })
	}
	return m
}

// expiries checks that every time to live is in force: the message is due then, and not
// before.
func (c *fixtureCase) expiries(t *testing.T, s *msgstore.FileStore, cfg msgstore.Config, truth *fixture.Stream) {
	t.Helper()
	if !cfg.AllowMsgTTL {
		return
	}
	live := map[uint64]bool{}
	for _, m := range truth.Messages {
		if _, err := s.LoadMsg(m.Seq, nil); err == nil {
			live[m.Seq] = true
		}
	}
	want := map[uint64]int64{}
	for _, m := range truth.Messages {
		ttl, ok := ttlOf(t, m.Headers)
		switch at := m.Time + int64(cfg.MaxAge); {
		case !live[m.Seq] || ttl < 0:
		case ok:
			want[m.Seq] = m.Time + int64(ttl)
		case cfg.MaxAge > 0:
			want[m.Seq] = at
		}
	}
	const all = 1000
	got := map[uint64]int64{}
	for _, d := range s.Due(math.MaxInt64, all, nil) {
		if d.Kind != msgstore.DueSchedule {
			got[d.Seq] = want[d.Seq]
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: due are %v, want %v", truth.Name, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	if next := s.NextDue(); len(want) > 0 {
		first := slices.Min(slices.Collect(maps.Values(want)))
		if wait := first - next; wait < 0 || wait > int64(2*time.Second) {
			t.Errorf("%s: next due at %v, want %v", truth.Name, at(next), at(first))
		}
	}
}

// ttlOf is the time to live of a message: -1 is for ever.
func ttlOf(t *testing.T, header []byte) (ttl time.Duration, ok bool) {
	t.Helper()
	_, rest, ok := bytes.Cut(header, []byte("\r\nNats-TTL: "))
	if !ok {
		return 0, false
	}
	text, _, _ := strings.Cut(string(rest), "\r\n")
	if text == "never" {
		return -1, true
	}
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(n) * time.Second, true
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d, true
}
