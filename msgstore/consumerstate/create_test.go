package consumerstate

import (
	"path"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// A creation that the power cuts short, at any call, leaves all of a consumer or
// nothing that a start would open; one that was reported is there. The name is as
// long as a name can be.
func TestCreateIsWhole(t *testing.T) {
	name := strings.Repeat("c", 255)
	o := FilesOptions{Dir: path.Join("/obs", name), Account: "A", Stream: "S", Consumer: name}
	state := State{Delivered: Pair{3, 7}, AckFloor: Pair{3, 7}}
	const meta = `{"durable_name":"c"}`
	for n, whole := int64(1), false; !whole; n++ {
		disk := crashfs.New(uint64(n))
		if err := vfs.MkdirAllSynced(disk, "/obs", 0o750); err != nil {
			t.Fatal(err)
		}
		disk.CutAt(n)
		o.FS = disk
		_, err := CreateFiles(o, []byte(meta), &state, Checkpoint{}, 1)
		whole = err == nil
		disk = disk.Crash()
		o.FS = disk
		entries, err := disk.ReadDir("/obs")
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, e := range entries {
			if cleared, err := Clear(disk, path.Join("/obs", e.Name())); err != nil {
				t.Fatal(err)
			} else if cleared {
				continue
			}
			if found = true; e.Name() != name {
				t.Errorf("cut at %d: found %s", n, e.Name())
			}
			files, inf, err := OpenFiles(o)
			if err != nil {
				t.Fatalf("cut at %d: %v", n, err)
			}
			got, _, err := files.ReadState()
			if err != nil || string(inf) != meta || got.Delivered != state.Delivered || got.AckFloor != state.AckFloor {
				t.Errorf("cut at %d: found %s, %+v, %v", n, inf, got, err)
			}
			if err := files.Remove(); err != nil {
				t.Errorf("removing a consumer with a long name: %v", err)
			}
		}
		if whole && !found {
			t.Error("a consumer that was created is gone")
		}
	}
}
