package check_test

import (
	"bytes"
	"testing"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// A truncation that a power cut interrupts, at each of its I/O calls: what is
// found is what a server has after its start, nothing counts as damage, and a
// conversion waits.
func TestInterruptedTruncation(t *testing.T) {
	const file = "/store/jetstream/A/streams/S/msgs/truncate.db"
	for _, v := range []struct {
		name   string
		opts   check.Options
		ring   msgstore.KeyRing
		comp   msgstore.Compression
		to     uint64
		remove []uint64
	}{
		{name: "in a sealed block", to: 9},
		{name: "in the last block", to: 39},
		{name: "to a removed message", to: 9, remove: []uint64{9, 3}},
		{name: "to nothing", to: 0},
		{name: "compressed", to: 9, remove: []uint64{3}, comp: msgstore.S2Compression},
		{name: "encrypted", to: 9, remove: []uint64{9, 3}, ring: msgstore.KeyRing{Key: []byte("k"), Cipher: msgstore.AES}, opts: check.Options{Keys: check.Keys{Key: []byte("k"), Cipher: check.AES}}},
	} {
		t.Run(v.name, func(t *testing.T) {
			found := 0
			for calls := int64(1); ; calls++ {
				disk := crashfs.New(uint64(calls))
				cfg := msgstore.Config{Name: "S", Subjects: []string{"s"}, Compression: v.comp}
				open := func() (*msgstore.Host, *msgstore.FileStore) {
					h, err := msgstore.NewHost("/store", msgstore.HostOptions{FS: disk, Manual: true})
					if err != nil {
						t.Fatal(err)
					}
					s, err := msgstore.OpenFileStore(h, cfg, msgstore.FileOptions{Account: "A", BlockSize: 1000, Keys: v.ring})
					if err != nil {
						t.Fatal(err)
					}
					return h, s
				}
				h, s := open()
				for seq := uint64(1); seq <= 40; seq++ {
					if err := s.StoreRawMsg("s", nil, bytes.Repeat([]byte{'x'}, 100), seq, int64(seq), 0, false); err != nil {
						t.Fatal(err)
					}
				}
				for _, seq := range v.remove {
					if _, err := s.RemoveMsg(seq); err != nil {
						t.Fatal(err)
					}
				}
				disk.CutAt(calls)
				err := s.Truncate(v.to)
				disk.Cut()
				s.Stop()
				h.Close()
				disk = disk.Crash()
				opts := v.opts
				opts.FS = disk
				if _, missing := disk.Stat(file); missing == nil {
					found++
					rep, err := check.Verify("/store", opts)
					if err != nil {
						t.Fatal(err)
					}
					kinds := map[string]int{}
					for _, f := range rep.Findings {
						kinds[f.Kind]++
					}
					if !rep.Clean || kinds[check.KindTruncation] != 1 {
						t.Fatalf("%d calls: %+v", calls, rep.Findings)
					}
					if _, err := check.ConvertCompression("/store", true, opts); err == nil {
						t.Fatal("converted")
					}
					h, s := open()
					st, is := s.State(), rep.Streams[0]
					if is.Messages != st.Msgs || is.LastSeq != st.LastSeq || st.LastSeq != v.to || st.Msgs > 0 && is.FirstSeq != st.FirstSeq {
						t.Fatalf("%d calls: %+v, a server has %+v", calls, is, st)
					}
					s.Stop()
					h.Close()
				}
				if err == nil {
					break
				}
			}
			if found == 0 {
				t.Error("never interrupted")
			}
		})
	}
}
