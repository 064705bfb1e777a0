package msgstore

import (
	"errors"
	"fmt"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// However far the change of a stream's key has come, the stream opens, and its
// configuration can be read.
func TestKeyChangeInterrupted(t *testing.T) {
	cfg := Config{Name: "S", Subjects: []string{">"}}
	first := KeyRing{Key: []byte("first"), Cipher: ChaCha}
	for _, tc := range []struct {
		name   string
		before KeyRing
		after  KeyRing
	}{
		{"encryption turned on", KeyRing{}, first},
		{"another key", first, KeyRing{Key: []byte("second"), PrevKey: []byte("first"), Cipher: ChaCha}},
		{"another cipher", first, KeyRing{Key: []byte("first"), Cipher: AES}},
	} {
		for n := int64(1); ; n++ {
			disk := crashfs.New(uint64(n))
			s := openOn(t, disk, cfg, FileOptions{Keys: tc.before})
			for i := range 5 {
				put(t, s, fmt.Sprintf("a.%d", i), 1, "")
			}
			if err := errors.Join(s.Stop(), s.disk.host.Close()); err != nil {
				t.Fatal(err)
			}
			disk.CutAt(n)
			h, err := NewHost("/store", HostOptions{FS: disk, Manual: true})
			if err == nil {
				if s, err := OpenFileStore(h, cfg, FileOptions{Account: "$G", Keys: tc.after}); err == nil {
					s.Stop()
				}
				h.Close()
			}
			cut := disk.IsCut()
			disk = disk.Crash()
			h, err = NewHost("/store", HostOptions{FS: disk, Manual: true})
			if err != nil {
				t.Fatal(err)
			}
			list, err := h.Streams(tc.after)
			if err != nil || len(list) != 1 || list[0].Err != nil {
				t.Errorf("%s, cut at change %d: %v, %+v", tc.name, n, err, list)
			}
			if s, err := OpenFileStore(h, cfg, FileOptions{Account: "$G", Keys: tc.after}); err != nil {
				t.Errorf("%s, cut at change %d: %v", tc.name, n, err)
			} else if st := s.State(); st.Msgs != 5 || st.Lost != nil {
				t.Errorf("%s, cut at change %d: %+v", tc.name, n, st)
			} else if list, _ = h.Streams(tc.after); len(list) != 1 || list[0].Err != nil {
				t.Errorf("%s, cut at change %d: after the start: %+v", tc.name, n, list)
			} else {
				s.Stop()
			}
			h.Close()
			if !cut {
				break
			}
		}
	}
}
