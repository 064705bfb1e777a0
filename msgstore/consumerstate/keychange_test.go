package consumerstate

import (
	"reflect"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// However far the change of a consumer's key has come, its files open, with the
// configuration and the state that they had.
func TestKeyChangeInterrupted(t *testing.T) {
	const inf = `{"name":"C"}`
	first := keys.Ring{Key: []byte("first"), Cipher: keys.ChaCha}
	want := State{Delivered: Pair{5, 9}, AckFloor: Pair{2, 4}, Pending: map[uint64]Pending{7: {Sequence: 4, Timestamp: 3e9}}}
	for _, tc := range []struct {
		name          string
		before, after keys.Ring
	}{
		{"encryption turned on", keys.Ring{}, first},
		{"another key", first, keys.Ring{Key: []byte("second"), PrevKey: []byte("first"), Cipher: keys.ChaCha}},
		{"another cipher", first, keys.Ring{Key: []byte("first"), Cipher: keys.AES}},
	} {
		for n := int64(1); ; n++ {
			disk := crashfs.New(uint64(n))
			opts := FilesOptions{FS: disk, Dir: "/obs/C", Account: "A", Stream: "S", Consumer: "C", Ring: tc.before}
			if _, err := CreateFiles(opts, []byte(inf), &want, Checkpoint{}, 4e9); err != nil {
				t.Fatal(err)
			}
			opts.Ring = tc.after
			disk.CutAt(n)
			_, _, _ = OpenFiles(opts)
			cut := disk.IsCut()
			opts.FS = disk.Crash()
			for range 2 { // the second time what the first one has completed
				f, got, err := OpenFiles(opts)
				if err != nil || string(got) != inf {
					t.Errorf("%s, cut at change %d: %q, %v", tc.name, n, got, err)
					break
				}
				if state, _, err := f.ReadState(); err != nil || !reflect.DeepEqual(state, want) {
					t.Errorf("%s, cut at change %d: %+v, %v", tc.name, n, state, err)
				}
			}
			if !cut {
				break
			}
		}
	}
}
