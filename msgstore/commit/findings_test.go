package commit

import (
	"errors"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

const findingsRoot = "/store"

// openFile registers a new file with a queue of its own.
func openFile(t *testing.T, c *Committer, name string) (*Queue, *File) {
	t.Helper()
	full := path.Join(findingsRoot, name)
	if err := vfs.MkdirAllSynced(c.opts.FS, path.Dir(full), 0o700); err != nil {
		t.Fatal(err)
	}
	raw, err := c.opts.FS.OpenFile(full, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	q := c.NewQueue(func([]*Op) {})
	return q, q.NewFile(name, raw, 0, [8]byte{}, Always)
}

// A file that stands in line for the journal twice, since a background sync came
// between, and whose next op is too large for it, still gets its turn: also if the
// round has waited for company.
func TestLargeBehindStaleEntry(t *testing.T) {
	c, err := Open(findingsRoot, Options{FS: crashfs.New(1)})
	if err != nil {
		t.Fatal(err)
	}
	q, f := openFile(t, c, "a")
	done := make(chan struct{})
	q.completed = func([]*Op) { close(done) }
	q.mu.Lock()
	f.crowd = 8 // so many were waiting the last time
	q.submit(&Op{File: f, Data: make([]byte, 2*journalFileBytes)})
	q.ready = nil
	q.mu.Unlock()
	c.mu.Lock()
	c.workers++ // this goroutine is one
	c.journal.busy = true
	c.journal.taken = []*File{f}
	c.mu.Unlock()
	c.doJournal()
	for c.workJob() {
	}
	<-done
	if err := errors.Join(f.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// When the journal has failed, a Forget makes what it holds of other files durable,
// and is not refused for ever.
func TestForgetBehindFailedJournal(t *testing.T) {
	disk := crashfs.New(1)
	c, err := Open(findingsRoot, Options{FS: disk, JournalFiles: 1, SyncsAlone: 1})
	if err != nil {
		t.Fatal(err)
	}
	qa, a := openFile(t, c, "a/1")
	qb, b := openFile(t, c, "b/1")
	inJournal := func(f *File) bool {
		synced, durable := f.Durable()
		return durable > synced
	}
	for !inJournal(a) || !inJournal(b) {
		if err := errors.Join(qa.Perform(&Op{File: a, Data: []byte("0123456789")}), qb.Perform(&Op{File: b, Data: []byte("0123456789")})); err != nil {
			t.Fatal(err)
		}
	}
	broken := errors.New("broken")
	disk.Inject(func(c crashfs.Call) error {
		if c.Kind == crashfs.Write && strings.Contains(c.Name, "journal-") {
			return broken
		}
		return nil
	})
	if err := qa.Perform(&Op{File: a, Data: []byte("0123456789")}); err != nil {
		t.Fatal(err) // it is synced in its own file
	}
	if err := qa.Perform(&Op{Forget: "a"}); err != nil {
		t.Fatal(err)
	}
	if inJournal(b) {
		t.Error("b is in the journal alone, which is gone")
	}
	if err := errors.Join(a.Close(), b.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	if list, err := disk.ReadDir(path.Join(findingsRoot, journalDir)); err != nil || len(list) > 0 {
		t.Errorf("%d files of the journal, %v", len(list), err)
	}
}
