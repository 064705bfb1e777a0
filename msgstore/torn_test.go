package msgstore

import (
	"errors"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// A torn block of which nothing lives is cut before a later one gets records, also
// if its file cannot be deleted yet: the next start must not take it for damaged.
func TestTornBlockOfNothing(t *testing.T) {
	disk := crashfs.New(1)
	cfg, opts := Config{Name: "S"}, FileOptions{BlockSize: 200}
	s := openOn(t, disk, cfg, opts)
	for range 6 {
		if _, _, err := s.StoreMsg("s", nil, []byte(strings.Repeat("x", 60)), 0); err != nil {
			t.Fatal(err)
		}
	}
	removes := func(call crashfs.Call) error {
		if call.Kind == crashfs.Remove && strings.HasSuffix(call.Name, ".blk") {
			return errors.New("injected")
		}
		return nil
	}
	disk.Inject(removes)
	s.Purge()
	disk = disk.Kill()
	msgs := "/store/jetstream/$G/streams/S/msgs"
	for name, size := range map[string]int{"5.blk": 100, "6.blk": 0} {
		f, err := disk.OpenFile(path.Join(msgs, name), os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			_, err = f.WriteAt(make([]byte, size), 0)
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if err := disk.SyncDir(msgs); err != nil {
		t.Fatal(err)
	}
	disk.Inject(removes)
	openOn(t, disk, cfg, opts)
	later, err := disk.Stat(path.Join(msgs, "6.blk"))
	if err != nil || later.Size() == 0 {
		t.Fatalf("nothing was written behind the torn block: %v\n%s", err, dump(disk, msgs, "S"))
	}
	if torn, err := disk.Stat(path.Join(msgs, "5.blk")); err == nil && torn.Size() > 0 {
		t.Errorf("the torn block is as it was:\n%s", dump(disk, msgs, "S"))
	}
}
