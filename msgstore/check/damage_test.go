package check

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/independent"
	"github.com/natsd/natsd/msgstore/internal/scheddb"
	"github.com/natsd/natsd/msgstore/internal/sources"
	"github.com/natsd/natsd/msgstore/internal/wheel"
	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs"
)

// A random damage to a random file of a store of several blocks: every message
// whose bytes were not touched is still there, nothing wrong is returned, and
// what is not there is reported.
func TestRandomDamage(t *testing.T) {
	type variant struct {
		name string
		ring Keys
		cfg  string
	}
	for _, v := range []variant{
		{"plain", Keys{}, `{"name":"S","subjects":["foo.>"],"max_bytes":1000000,"compression":"none"}`},
		{"s2", Keys{}, `{"name":"S","subjects":["foo.>"],"max_bytes":1000000,"compression":"s2"}`},
		{"aes", Keys{Key: []byte("k"), Cipher: AES}, `{"name":"S","subjects":["foo.>"],"max_bytes":1000000,"compression":"none"}`},
		{"chacha s2", Keys{Key: []byte("k"), Cipher: ChaCha}, `{"name":"S","subjects":["foo.>"],"max_bytes":1000000,"compression":"s2"}`},
	} {
		t.Run(v.name, func(t *testing.T) {
			source := made(t, v.ring, v.cfg, func(w *streamWriter) {
				w.blockSize = 3000
				some(t, 200)(w)
			})
			truth, err := independent.Read(filepath.Join(source, "jetstream", "A", "streams", "S"), string(v.ring.Key))
			if err != nil || len(truth.Problems) > 0 {
				t.Fatal(truth.Problems, err)
			}
			sidecars(t, filepath.Join(source, "jetstream", "A", "streams", "S"))
			for seed := range seedtest.Seeds(t, 100) {
				damageOnce(t, seed, source, v.ring, truth)
			}
		})
	}
}

// sidecars writes the files that say what is due, and how far sources are.
func sidecars(t *testing.T, dir string) {
	t.Helper()
	var ttl wheel.Wheel
	ttl.Add(wheel.Entry{At: 1 << 60, Seq: 3})
	var sched scheddb.Table
	sched.Set(scheddb.Entry{At: 1 << 60, Seq: 4, Subject: "foo.4"})
	for name, content := range map[string][]byte{
		"msgs/thw.db":   ttl.AppendTo(nil, 201),
		"msgs/sched.db": sched.AppendTo(nil, 201),
		"sources.db":    sources.Append(nil, []sources.Progress{{Name: "O > >", Seq: 7}}, 201),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func damageOnce(t *testing.T, seed uint64, source string, ring Keys, truth *independent.Stream) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	dir := t.TempDir()
	if err := copyTree(&stopFS{vfs.OS, -1}, source, dir); err != nil {
		t.Fatal(err)
	}
	indexed := seed%2 == 0
	if !indexed {
		if err := os.Remove(filepath.Join(dir, "jetstream", "A", "streams", "S", "msgs", "index.db")); err != nil {
			t.Fatal(err)
		}
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	file := files[rng.IntN(len(files))]
	was, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	is := bytes.Clone(was)
	from, to := 0, len(is)
	what := ""
	switch rng.IntN(4) {
	case 0: // a bit
		from = rng.IntN(len(is))
		to = from + 1
		is[from] ^= 1 << rng.IntN(8)
		what = fmt.Sprintf("a bit at %d", from)
	case 1: // a range of garbage
		from = rng.IntN(len(is))
		to = min(len(is), from+1+rng.IntN(300))
		for i := from; i < to; i++ {
			is[i] = byte(rng.Uint32())
		}
		what = fmt.Sprintf("garbage in %d..%d", from, to)
	case 2: // cut
		from = rng.IntN(len(is))
		is = is[:from]
		what = fmt.Sprintf("cut at %d of %d", from, len(was))
		if !indexed && between(truth, filepath.Base(file), from) {
			return // all records are whole, and a gap between two blocks proves nothing
		}
	case 3:
		what = "removed"
	}
	if what == "removed" {
		if !indexed {
			return // without index.db a missing block at the front is what limits leave
		}
		err = os.Remove(file)
	} else {
		err = os.WriteFile(file, is, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, _ := filepath.Rel(dir, file)
	what = fmt.Sprintf("seed %d: %s: %s", seed, name, what)

	opts := Options{Keys: ring}
	rep, err := Verify(dir, opts)
	if errors.Is(err, ErrWrongKey) || errors.Is(err, ErrNoStore) {
		return // the damage looks like it, and is an error of its own
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	switch filepath.Base(file) {
	case "thw.db", "sched.db", "sources.db", "index.db":
		if !rep.Clean { // servers make them anew
			t.Errorf("%s: %v", what, rep.Findings)
		}
	}
	rec, err := Recover(dir, filepath.Join(t.TempDir(), "new"), Options{Keys: ring, FS: &stopFS{vfs.OS, -1}})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	lost := map[uint64]bool{}
	for _, s := range rec.Streams {
		for _, l := range s.Lost {
			for seq := l.FirstSeq; seq <= min(l.LastSeq, l.FirstSeq+1000); seq++ {
				lost[seq] = true
			}
		}
	}
	got := map[uint64]bool{}
	byteOf := blockRanges(truth)
	err = Messages(dir, opts, func(m *Message) error {
		w := truth.Messages[m.Seq-1]
		if m.Subject != w.Subject && !bytes.Equal(is, was) {
			// The one damage that a record cannot show: the border between subject
			// and payload. index.db would, but there is none here.
			if m.Subject+string(m.Data) == w.Subject+string(w.Data) || len(m.Subject) > len(w.Subject) {
				got[m.Seq] = true
				return nil
			}
		}
		if m.Time != w.Time || m.Subject != w.Subject || !bytes.Equal(m.Data, w.Data) || !bytes.Equal(m.Header, w.Header) {
			t.Errorf("%s: message %d is %q %q, want %q %q", what, m.Seq, m.Subject, m.Data, w.Subject, w.Data)
		}
		got[m.Seq] = true
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for _, m := range truth.Messages {
		inFile := filepath.Base(file) == fmt.Sprintf("%d.blk", m.Block) || filepath.Base(file) == fmt.Sprintf("%d.key", m.Block)
		r := byteOf[m.Seq]
		touched := inFile && (filepath.Ext(file) == ".key" || what[len(what)-7:] == "removed" || bytes.HasPrefix(was, []byte("cmp")) || len(ring.Key) > 0 && r[1] == 0 || r[0] < to && r[1] > from || compressedBlock(truth, m.Block))
		switch {
		case !touched && !got[m.Seq]:
			t.Errorf("%s: message %d was not touched and is gone", what, m.Seq)
		case !got[m.Seq] && !lost[m.Seq] && !tailOf(truth, m) && !explained(rep):
			t.Errorf("%s: message %d is gone without a report: %v", what, m.Seq, rep.Findings)
		case got[m.Seq] && lost[m.Seq]:
			t.Errorf("%s: message %d is there and said to be lost", what, m.Seq)
		}
	}
}

// blockRanges are the places of the records in their (decompressed) blocks.
func blockRanges(s *independent.Stream) map[uint64][2]int {
	at := map[int]int{}
	ranges := map[uint64][2]int{}
	for _, m := range s.Messages {
		ranges[m.Seq] = [2]int{at[m.Block], at[m.Block] + m.Size}
		at[m.Block] += m.Size
	}
	return ranges
}

// between says whether an offset in a block file is between two records.
func between(s *independent.Stream, file string, offset int) bool {
	ranges := blockRanges(s)
	for _, m := range s.Messages {
		if fmt.Sprintf("%d.blk", m.Block) == file && ranges[m.Seq][1] == offset {
			return true
		}
	}
	return false
}

// compressedBlock says that offsets in the file are not those of the records.
func compressedBlock(s *independent.Stream, number int) bool {
	return bytes.Contains(s.Config, []byte(`"s2"`)) && number != s.Messages[len(s.Messages)-1].Block
}

// tailOf says whether a message is in the last block, whose torn end may have
// held it without anybody having been told that it is safe.
func tailOf(s *independent.Stream, m independent.Message) bool {
	return m.Block == s.Messages[len(s.Messages)-1].Block
}

// explained says whether a finding speaks for all that is not there: a whole
// block at either end of the stream can vanish without leaving a gap.
func explained(rep *Report) bool {
	for _, f := range rep.Findings {
		if f.Severity == Damage {
			return true
		}
	}
	return false
}
