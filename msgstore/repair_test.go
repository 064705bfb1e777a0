package msgstore

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// A store whose disk fails refuses writes, repairs itself, and has lost nothing that
// it reported stored, neither then nor after a power cut.
func TestRepair(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.Write, crashfs.Sync} {
		t.Run(kind.String(), func(t *testing.T) {
			disk := crashfs.New(5)
			open := func() (*Host, *FileStore) {
				t.Helper()
				h, err := NewHost("/store", HostOptions{FS: disk, Manual: true})
				if err != nil {
					t.Fatal(err)
				}
				s, err := OpenFileStore(h, Config{Name: "S", Storage: FileStorage, Subjects: []string{">"}}, FileOptions{Account: "A"})
				if err != nil {
					t.Fatal(err)
				}
				return h, s
			}
			h, s := open()
			store := func(want uint64) {
				t.Helper()
				if seq, _, err := s.StoreMsg("a", nil, []byte("x"), 0); seq != want || err != nil {
					t.Fatalf("stored as %d, want %d: %v", seq, want, err)
				}
			}
			store(1)
			store(2)
			disk.Inject(func(c crashfs.Call) error {
				if c.Kind == kind && strings.HasSuffix(c.Name, ".blk") {
					return syscall.EIO
				}
				return nil
			})
			if _, _, err := s.StoreMsg("a", nil, []byte("x"), 0); !errors.Is(err, syscall.EIO) {
				t.Fatalf("a failed %v gives %v", kind, err)
			}
			h.Maintain(1) // the new file is written, or not, while the disk fails
			disk.Inject(nil)
			h.Maintain(1)
			store(3)
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			disk = disk.Crash()
			h, s = open()
			if st := s.State(); st.Msgs != 3 || st.LastSeq != 3 || st.Lost != nil {
				t.Errorf("after the cut: %+v", st)
			}
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A sync that fails when the tail's file is closed, for an erasure or a truncation,
// counts as one of an append: what it was to cover is not reported durable later.
func TestFailedClose(t *testing.T) {
	for name, act := range map[string]func(*FileStore) error{
		"erase":    func(s *FileStore) error { _, err := s.EraseMsg(1); return err },
		"truncate": func(s *FileStore) error { return s.Truncate(2) },
	} {
		t.Run(name, func(t *testing.T) {
			disk := crashfs.New(5)
			cfg, opts := Config{Name: "S", Subjects: []string{">"}}, FileOptions{Durability: External}
			s := openOn(t, disk, cfg, opts)
			for seq := range 3 {
				put(t, s, "a", int64(seq+1), "")
			}
			disk.Inject(func(c crashfs.Call) error {
				if c.Kind == crashfs.Sync && strings.HasSuffix(c.Name, ".blk") {
					return syscall.EIO
				}
				return nil
			})
			if err := act(s); !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			disk.Inject(nil)
			if seq, err := s.FlushAllPending(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("durable up to %d, %v", seq, err)
			}
			s.disk.host.Maintain(1)
			if seq, err := s.FlushAllPending(); seq != 3 || err != nil {
				t.Fatalf("durable up to %d, %v", seq, err)
			}
			s.disk.host.Close()
			again := openOn(t, disk.Crash(), cfg, opts)
			if st := again.State(); st.LastSeq != 3 || st.Lost != nil {
				t.Fatalf("%+v", st)
			}
		})
	}
}
