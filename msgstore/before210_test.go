package msgstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/vfs"
)

// Directories of nats-server 2.9.10, as Debian ships it, where only N.idx tells what
// was removed: ten messages each in DEL (3 and 7 deleted, 8 erased), LIM (max_msgs
// 4), PER (three subjects, one message each), PUR (purged), PU2 (purged, then one
// more), WQ (a work queue, 1, 2, 4, 5, 6 acknowledged), and five in ALL (all deleted).
var before210 = map[string]string{
	"ALL": "5: []",
	"DEL": "10: [1 2 4 5 6 9 10]",
	"LIM": "10: [7 8 9 10]",
	"PER": "10: [8 9 10]",
	"PUR": "10: []",
	"PU2": "11: [11]",
	"WQ":  "10: [3 7 8 9 10]",
}

func TestBefore210(t *testing.T) {
	dir := t.TempDir()
	fixture.UnpackFile(t, "testdata/before210.tar.gz", dir)
	for _, kind := range []string{"plain", "aes", "chacha"} {
		var ring msgstore.KeyRing
		var opts check.Options
		if kind != "plain" {
			opts.Keys.Key = []byte("s3cr3t")
			ring.Key = opts.Keys.Key
			var err error
			if ring.Cipher, err = msgstore.ParseCipher(kind); err != nil {
				t.Fatal(err)
			}
		}
		root := filepath.Join(dir, kind)
		// storetool sees what a store does, before one has opened it and behind.
		verify := func(when string) {
			rep, err := check.Verify(root, opts)
			if err != nil {
				t.Fatal(err)
			}
			if !rep.Clean || len(rep.Streams) != len(before210) {
				t.Errorf("%s, %s: %+v", kind, when, rep)
			}
			for _, st := range rep.Streams {
				last, live, _ := strings.Cut(before210[st.Stream], ": ")
				if fmt.Sprint(st.LastSeq) != last || int(st.Messages) != len(strings.Fields(strings.Trim(live, "[]"))) {
					t.Errorf("%s, %s: %+v", kind, when, st)
				}
			}
		}
		verify("before")
		for round := range rounds {
			h, err := msgstore.NewHost(root, msgstore.HostOptions{Manual: true})
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range before210 {
				sdir := filepath.Join(root, "jetstream", "$G", "streams", name)
				meta, err := msgstore.ReadStreamMeta(vfs.OS, sdir, "$G", ring)
				if err != nil {
					t.Fatal(err)
				}
				s, err := msgstore.OpenFileStore(h, fixtureConfig(t, meta), msgstore.FileOptions{Account: "$G", Keys: ring})
				if err != nil {
					t.Fatal(err)
				}
				live := []uint64{}
				for seq := range s.State().LastSeq {
					if _, err := s.LoadMsg(seq+1, nil); err == nil {
						live = append(live, seq+1)
					}
				}
				st := s.State()
				if got := fmt.Sprintf("%d: %v", st.LastSeq, live); got != want || st.Lost != nil || st.FirstSeq == 0 {
					t.Errorf("%s, %s, round %d: %s, want %s (%+v)", kind, name, round, got, want, st)
				}
				if round == 0 {
					// Index.db is there before the block changes, of which N.idx speaks.
					if _, err := os.Stat(filepath.Join(sdir, "msgs", "index.db")); err != nil {
						t.Error(err)
					}
				}
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
				// What the older server has left goes when index.db has taken its place.
				old, err := filepath.Glob(filepath.Join(sdir, "msgs", "*.idx"))
				if err != nil || (len(old) == 0) != (round > 0) {
					t.Errorf("%s, %s, round %d: %v %v", kind, name, round, old, err)
				}
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		}
		verify("behind")
	}
}
