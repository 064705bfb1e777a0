package msgstore

import (
	"os"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// A directory without meta files is removed if it holds no record: its creation
// was cut off. One with records is reported and kept.
func TestUnfinishedCreation(t *testing.T) {
	for _, content := range []string{"", "record"} {
		disk := crashfs.New(1)
		msgs := "/store/jetstream/$G/streams/S/msgs"
		if err := disk.MkdirAll(msgs, 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := disk.OpenFile(msgs+"/1.blk", os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte(content), 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
		h, err := NewHost("/store", HostOptions{FS: disk, Manual: true})
		if err != nil {
			t.Fatal(err)
		}
		list, err := h.Streams(KeyRing{})
		if err != nil {
			t.Fatal(err)
		}
		_, gone := disk.Stat(msgs)
		if content == "" && (len(list) != 0 || gone == nil) || content != "" && (len(list) != 1 || list[0].Err == nil || gone != nil) {
			t.Errorf("with content %q: %v, %v", content, list, gone)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
