package check

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/vfs"
)

// ErrJournal says that the commit journal has records that may be missing in
// the blocks: after a power cut they are nowhere else.
var ErrJournal = errors.New("the commit journal was not replayed")

// runsName is the file of the journal that holds nothing but consumer runs.
const runsName = "runs"

// pendingJournal returns the files of natsd's commit journal that are not empty:
// a segment, and the file of consumer runs; "" for none.
func pendingJournal(fsys vfs.FS, store string) (segment, runs string) {
	dir := filepath.Join(store, "natsd")
	list, err := fsys.ReadDir(dir)
	if err != nil || store == "" {
		return "", ""
	}
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() || !hasFrames(fsys, path):
		case e.Name() == runsName:
			runs = path
		default:
			segment = path
		}
	}
	return segment, runs
}

// hasFrames says whether a segment of the commit journal has a frame of its
// present use: its header is at the beginning, the first frame at 512, and both
// name the same use.
func hasFrames(fsys vfs.FS, name string) bool {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [544]byte
	if n, _ := f.ReadAt(b[:], 0); n < len(b) || string(b[:8]) != "natsdjnl" {
		return false
	}
	return binary.LittleEndian.Uint32(b[512:]) == 0x4d52464e && string(b[520:528]) == string(b[16:24])
}

// journalFindings reports a commit journal that is not empty.
func (t *tree) journalFindings() (list []Finding) {
	segment, runs := pendingJournal(t.fs, t.store)
	if segment != "" {
		list = append(list, Finding{Severity: Repairable, Kind: KindJournal, File: segment,
			Detail: "records of the last moments may be in the journal only: 'storetool replay', or a start of natsd, puts them into the blocks"})
	}
	if runs != "" {
		list = append(list, Finding{Severity: Info, Kind: KindJournal, File: runs,
			Detail: "the last deliveries and acknowledgements of consumers, which natsd applies when it starts"})
	}
	return list
}

// needReplay refuses a directory whose journal was not replayed, for commands
// whose result would lack what is in it.
func needReplay(opts *Options, path string) error {
	t, err := openTree(vfs.ReadOnly(opts.fs()), path)
	if err != nil {
		return err
	}
	if segment, _ := pendingJournal(t.fs, t.store); segment != "" {
		return fmt.Errorf("%s: %w: it may hold acknowledged messages; run 'storetool replay %s' first", segment, ErrJournal, t.store)
	}
	return nil
}

// Replayed is the result of Replay.
type Replayed struct {
	Segments int   `json:"segments"` // of the journal
	Files    int   `json:"files"`    // blocks that the journal was about
	Applied  int   `json:"applied"`  // records put into them
	Present  int   `json:"present"`  // records that they held already
	Dropped  int   `json:"dropped"`  // records whose block is gone or went on differently
	Runs     int   `json:"runs"`     // of consumers, which stay for natsd
	Bytes    int64 `json:"bytes"`    // written
}

// Replay puts what is only in the commit journal of a store directory into its
// blocks, as natsd does when it starts, and empties the journal.
func Replay(path string, opts Options) (*Replayed, error) {
	t, err := openTree(vfs.ReadOnly(opts.fs()), path)
	if err != nil {
		return nil, err
	}
	if t.store == "" {
		return nil, fmt.Errorf("%s: %w", path, ErrNoStore)
	}
	var res Replayed
	c, err := commit.Open(t.store, commit.Options{FS: opts.fs(), Listener: func(e commit.Event) {
		if r, ok := e.(commit.JournalReplayed); ok {
			res = Replayed{r.Segments, r.Files, r.Applied, r.Present, r.Dropped, r.Runs, r.Bytes}
		}
	}})
	if err != nil {
		return nil, err
	}
	return &res, c.Close()
}
