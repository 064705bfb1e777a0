package independent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"slices"
	"testing"

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
