package independent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/internal/fixture"
)

// The judge is judged first: it reads every undamaged fixture to what the
// reference says, without a complaint.
func TestUndamagedFixtures(t *testing.T) {
	read := 0
	for _, name := range fixture.Names(t) {
		dir, c := fixture.Unpack(t, name)
		key := ""
		if c.Encryption != nil {
			key = c.Encryption.Key
		}
		if c.Streams != nil {
			problems, contents, err := Judge(dir, key)
			if err != nil || len(problems) > 0 || len(contents) != len(c.Streams) {
				t.Errorf("%s: %q, %d streams, %v", name, problems, len(contents), err)
			}
		}
		for _, want := range c.Streams {
			s, err := Read(filepath.Join(dir, "jetstream", want.Account, "streams", want.Name), key)
			if err != nil {
				t.Errorf("%s/%s: %v", name, want.Name, err)
				continue
			}
			read++
			for _, p := range s.Problems {
				t.Errorf("%s/%s: %s", name, want.Name, p)
			}
			st := want.State
			deleted := st.Deleted
			if st.NumDeleted == 1 && len(deleted) == 1 && deleted[0] == 0 {
				deleted = nil // the reference's answer for a new stream
			}
			if uint64(len(s.Messages)) != st.Messages || s.First != st.FirstSeq || s.Last != st.LastSeq || s.Bytes != st.Bytes || !slices.Equal(s.Deleted, deleted) {
				t.Errorf("%s/%s: %d messages, %d..%d, %d bytes, deleted %v, want %+v", name, want.Name, len(s.Messages), s.First, s.Last, s.Bytes, s.Deleted, st)
			}
			compare(t, name+"/"+want.Name, s, want.Messages)
			for _, con := range want.Consumers {
				if con.Stored == nil {
					continue
				}
				got := s.Consumers[con.Name]
				if got == nil || got.Delivered != con.Stored.Delivered.Stream || got.Floor != con.Stored.AckFloor.Stream || len(got.Pending) != len(con.Stored.Pending) {
					t.Errorf("%s/%s/%s: %+v", name, want.Name, con.Name, got)
				}
			}
		}
	}
	if read < 25 {
		t.Errorf("%d streams read", read)
	}
}

// compare checks messages against a fixture's list.
func compare(t *testing.T, name string, s *Stream, want []fixture.Message) {
	t.Helper()
	if len(s.Messages) != len(want) {
		t.Errorf("%s: %d messages, want %d", name, len(s.Messages), len(want))
		return
	}
	for i, m := range s.Messages {
		w := want[i]
		sum := sha256.Sum256(m.Data)
		if m.Seq != w.Seq || m.Subject != w.Subject || m.Time != w.Time || !bytes.Equal(m.Header, w.Headers) || len(m.Data) != w.Len || hex.EncodeToString(sum[:]) != w.SHA256 {
			t.Errorf("%s: message %+v, want %+v", name, m, w)
		}
	}
}

// The tables of the fixtures, as the format's section 19.5 shows them.
func TestTables(t *testing.T) {
	read := func(name, stream string) *Stream {
		t.Helper()
		dir, _ := fixture.Unpack(t, name)
		problems, contents, err := Judge(dir, "")
		if err != nil || len(problems) > 0 || contents["$G/"+stream] == nil {
			t.Fatalf("%s: %q, %v", name, problems, err)
		}
		return contents["$G/"+stream]
	}
	if got := read("msg-ttl", "TTL").Tables.TTLs; len(got) != 12 || got[24] == 0 {
		t.Errorf("TTLs %v", got)
	}
	if got := read("schedules", "SCHED").Tables.Schedule; len(got) != 8 || got["s.at.0"] != (Schedule{time.Date(2070, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano(), 1}) {
		t.Errorf("schedules %v", got)
	}
	if got := read("sources", "AGG").Tables.Sources; len(got) != 2 || got["O1 > >"] != (Source{20, "2tng9kow"}) || got["O2 o2.a >"] != (Source{19, "syz7FunY"}) {
		t.Errorf("sources %v", got)
	}
}

// The judge sees what is wrong: each change of a directory is a problem.
func TestJudgeSees(t *testing.T) {
	for what, tc := range map[string]struct {
		fixture, file string
		edit          func([]byte) []byte
	}{
		"an expiry":         {"msg-ttl", "TTL/msgs/thw.db", func(b []byte) []byte { b[18] ^= 2; return b }},
		"a stamp":           {"msg-ttl", "TTL/msgs/thw.db", func(b []byte) []byte { b[9] += 2; return b }},
		"a missing TTL":     {"msg-ttl", "TTL/msgs/thw.db", func([]byte) []byte { return append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 31}, make([]byte, 7)...) }},
		"a schedule":        {"schedules", "SCHED/msgs/sched.db", func(b []byte) []byte { b[19] ^= 1; return b }},
		"a source":          {"sources", "AGG/sources.db", func(b []byte) []byte { return b[:len(b)-1] }},
		"a payload":         {"plain", "PLAIN/msgs/1.blk", func(b []byte) []byte { b[40] ^= 1; return b }},
		"a block":           {"plain", "PLAIN/msgs/1.blk", func(b []byte) []byte { return b[:len(b)-1] }},
		"a number in index": {"plain", "PLAIN/msgs/index.db", func(b []byte) []byte { b[2]++; return b }},
		"a checksum":        {"plain", "PLAIN/meta.sum", func(b []byte) []byte { b[0] ^= 1; return b }},
		"a consumer":        {"consumers", "CONS/obs/ackall/o.dat", func(b []byte) []byte { b[2] = 100; return b }},
	} {
		dir, _ := fixture.Unpack(t, tc.fixture)
		file := filepath.Join(dir, "jetstream", "$G", "streams", tc.file)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, tc.edit(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if problems, _, err := Judge(dir, ""); len(problems) == 0 || err != nil {
			t.Errorf("%s: no problem, %v", what, err)
		}
	}
}
