package consumerstate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/meta"
	"github.com/natsd/natsd/msgstore/vfs"
)

// Files are the files of one consumer in the directory obs/<consumer> of its
// stream: meta.inf and meta.sum, meta.key if encrypted, o.dat, scan.db. Not safe
// for concurrent use.
type Files struct {
	fs   vfs.FS
	dir  string
	name string // the checksums' key: "<stream>/<consumer>"
	ring keys.Ring
	obj  keys.Object
	key  *keys.Key // nil: plain

	older *keys.Key // the one before, while a change that was interrupted is completed
}

// FilesOptions say where the files are and how they are encrypted.
type FilesOptions struct {
	FS                        vfs.FS
	Maker                     *vfs.Maker // of FS; nil: a creation shares nothing with others
	Dir                       string     // of the consumer
	Account, Stream, Consumer string
	Ring                      keys.Ring
}

const (
	maxMetaFile  = 1 << 20   // a configuration with the largest metadata is below 512 KiB
	maxStateFile = 256 << 20 // some 20 million pending messages
	filePerm     = fs.FileMode(0o640)
	dirPerm      = fs.FileMode(0o750)
)

var (
	// ErrNoFiles says that the directory holds no consumer: its creation or
	// deletion was interrupted.
	ErrNoFiles = errors.New("no consumer here")
	// ErrMetaSum says that meta.inf does not belong to its checksum.
	ErrMetaSum = errors.New("checksums do not match")
	// ErrEncrypted says that there is a key file and no key is configured.
	ErrEncrypted = errors.New("encryption not enabled")
)

func newFiles(o *FilesOptions) *Files {
	return &Files{
		fs: o.FS, dir: o.Dir, name: meta.ConsumerName(o.Stream, o.Consumer),
		ring: o.Ring, obj: keys.OfConsumer(o.Account, o.Stream, o.Consumer),
	}
}

// CreateFiles makes the directory of a new consumer with its meta files and state,
// durably, and whole or not at all (see [vfs.Maker]).
func CreateFiles(o FilesOptions, metaInf []byte, s *State, c Checkpoint, now int64) (*Files, error) {
	f := newFiles(&o)
	files, err := f.first(metaInf, s, c, now)
	if err != nil {
		return nil, err
	}
	maker := o.Maker
	if maker == nil {
		maker = vfs.NewMaker(o.FS)
	}
	if err := maker.Make(o.Dir, dirPerm, files); err != nil {
		return nil, fmt.Errorf("writing the files of %s: %w", f.name, err)
	}
	return f, nil
}

// first returns the first files of the consumer. A checkpoint that says nothing is
// not among them: without scan.db the same is true.
func (f *Files) first(metaInf []byte, s *State, c Checkpoint, now int64) ([]vfs.NewFile, error) {
	var files []vfs.NewFile
	add := func(name string, data []byte) {
		files = append(files, vfs.NewFile{Name: name, Data: data, Perm: filePerm})
	}
	if f.ring.Enabled() {
		key, file, err := f.ring.New(f.obj)
		if err != nil {
			return nil, err
		}
		f.key = key
		add("meta.key", file)
	}
	inf, err := f.seal(metaInf)
	if err != nil {
		return nil, err
	}
	add("meta.inf", inf)
	add("meta.sum", meta.Sum(f.name, inf))
	plain := s.Append(nil, now)
	state, err := f.seal(plain)
	if err != nil {
		return nil, err
	}
	add("o.dat", state)
	if c.Op > 0 || c.Scanned > c.Delivered {
		c.StateSum = StateSum(plain)
		add("scan.db", c.Append(nil, f.name))
	}
	return files, nil
}

// newKey gives a consumer whose files are plain a key of its own, if encryption is on.
func (f *Files) newKey() error {
	if !f.ring.Enabled() {
		return nil
	}
	key, file, err := f.ring.New(f.obj)
	if err != nil {
		return err
	}
	if err := vfs.ReplaceFile(f.fs, path.Join(f.dir, "meta.key"), file, filePerm); err != nil {
		return fmt.Errorf("writing the key of %s: %w", f.name, err)
	}
	f.key = key
	return nil
}

// OpenFiles opens the directory of a consumer and returns the content of its
// meta.inf. Errors: ErrNoFiles, ErrMetaSum, ErrEncrypted, keys.ErrNotRecovered,
// and those of the file system. A consumer that the configured key does not fit
// is converted.
func OpenFiles(o FilesOptions) (*Files, []byte, error) {
	f := newFiles(&o)
	got := meta.Files{}
	for name, to := range map[string]*[]byte{"meta.inf": &got.Inf, "meta.sum": &got.Sum, "meta.inf.tmp": &got.InfTmp, "meta.sum.tmp": &got.SumTmp} {
		b, err := vfs.ReadFile(f.fs, path.Join(f.dir, name), maxMetaFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		*to = b
	}
	inf := got.Inf
	switch meta.Judge(f.name, got) {
	case meta.Absent:
		return nil, nil, ErrNoFiles
	case meta.Mismatch:
		return nil, nil, ErrMetaSum
	case meta.TakeSum:
		if err := f.fs.Rename(path.Join(f.dir, "meta.sum.tmp"), path.Join(f.dir, "meta.sum")); err != nil {
			return nil, nil, err
		}
	case meta.TakeInf:
		inf = got.InfTmp
		if err := f.fs.Rename(path.Join(f.dir, "meta.inf.tmp"), path.Join(f.dir, "meta.inf")); err != nil {
			return nil, nil, err
		}
	}
	keyFile, err := vfs.ReadFile(f.fs, path.Join(f.dir, "meta.key"), maxMetaFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !f.ring.Enabled() {
			return f, inf, nil
		}
		return f, inf, f.changeKey(inf, nil) // plain until now
	case err != nil:
		return nil, nil, err
	case !f.ring.Enabled():
		return nil, nil, ErrEncrypted
	}
	key, opened, err := f.ring.Open(f.obj, keyFile)
	if err != nil {
		return nil, nil, err
	}
	f.key = key
	if old, err := vfs.ReadFile(f.fs, path.Join(f.dir, oldKey), maxMetaFile); err == nil {
		f.older, _, _ = f.ring.Open(f.obj, old)
	}
	plain, current, err := f.unseal(inf, json.Valid)
	if err != nil {
		return nil, nil, fmt.Errorf("meta.inf of %s: %w", f.name, err)
	}
	if !current || f.older != nil {
		if err := f.complete(plain); err != nil {
			return nil, nil, err
		}
	}
	if !opened.Current(f.ring) {
		return f, plain, f.changeKey(plain, keyFile)
	}
	return f, plain, nil
}

// oldKey is the key before a change, kept until that is complete.
const oldKey = "meta.key.old"

// changeKey gives the files a new key. keyFile is the one so far, nil without one: it
// stays until all of them are written.
func (f *Files) changeKey(inf, keyFile []byte) error {
	state, c, err := f.ReadState()
	if err != nil {
		return err
	}
	if keyFile != nil {
		if err := vfs.ReplaceFile(f.fs, path.Join(f.dir, oldKey), keyFile, filePerm); err != nil {
			return err
		}
	}
	if err := f.newKey(); err != nil {
		return err
	}
	return f.sealAll(inf, &state, c)
}

// complete does what is left of a change of the key that was interrupted.
func (f *Files) complete(inf []byte) error {
	state, c, err := f.ReadState()
	if err != nil {
		return err
	}
	return f.sealAll(inf, &state, c)
}

// sealAll seals the files with the key, and forgets the one before.
func (f *Files) sealAll(inf []byte, s *State, c Checkpoint) error {
	if err := f.WriteMeta(inf); err != nil {
		return err
	}
	if err := f.WriteState(s, c, time.Now().UnixNano()); err != nil {
		return err
	}
	f.older = nil
	if err := f.fs.Remove(path.Join(f.dir, oldKey)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unseal returns the plain content of a file, and whether it is sealed with the key.
// While the key is being changed it may still be plain, which valid tells, or sealed
// with the key before.
func (f *Files) unseal(b []byte, valid func([]byte) bool) (plain []byte, current bool, err error) {
	if f.key == nil {
		return b, true, nil
	}
	if plain, err = f.key.Unseal(b); err == nil {
		return plain, true, nil
	}
	if valid(b) {
		return b, false, nil
	}
	if f.older != nil {
		if plain, oerr := f.older.Unseal(b); oerr == nil {
			return plain, false, nil
		}
	}
	return nil, false, err
}

// WriteMeta replaces meta.inf and meta.sum, durably.
func (f *Files) WriteMeta(metaInf []byte) error {
	stored, err := f.seal(metaInf)
	if err != nil {
		return err
	}
	inf, sum := path.Join(f.dir, "meta.inf"), path.Join(f.dir, "meta.sum")
	if err := vfs.WriteSynced(f.fs, inf+".tmp", stored, filePerm); err != nil {
		return fmt.Errorf("writing meta.inf of %s: %w", f.name, err)
	}
	if err := vfs.WriteSynced(f.fs, sum+".tmp", meta.Sum(f.name, stored), filePerm); err != nil {
		return fmt.Errorf("writing meta.sum of %s: %w", f.name, err)
	}
	if err := f.fs.SyncDir(f.dir); err != nil {
		return err
	}
	for _, name := range [...]string{inf, sum} {
		if err := f.fs.Rename(name+".tmp", name); err != nil {
			return err
		}
	}
	return f.fs.SyncDir(f.dir)
}

func (f *Files) seal(plain []byte) ([]byte, error) {
	if f.key == nil {
		return plain, nil
	}
	return f.key.Seal(plain)
}

// ReadState reads o.dat and scan.db. Without an o.dat it returns the zero
// values. A scan.db that does not belong to the o.dat is ignored: then the
// runs of the journal are applied from their first on. Errors wrap ErrCorrupt
// or are the file system's.
func (f *Files) ReadState() (s State, c Checkpoint, err error) {
	b, err := vfs.ReadFile(f.fs, path.Join(f.dir, "o.dat"), maxStateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, Checkpoint{}, nil
	}
	if err != nil {
		return State{}, Checkpoint{}, err
	}
	if len(b) > 0 {
		decodes := func(b []byte) bool { _, err := Decode(b); return err == nil }
		if b, _, err = f.unseal(b, decodes); err != nil {
			return State{}, Checkpoint{}, fmt.Errorf("%w: o.dat of %s: %w", ErrCorrupt, f.name, err)
		}
	}
	if s, err = Decode(b); err != nil {
		return State{}, Checkpoint{}, fmt.Errorf("o.dat of %s: %w", f.name, err)
	}
	cb, err := vfs.ReadFile(f.fs, path.Join(f.dir, "scan.db"), maxMetaFile)
	if err != nil {
		return s, Checkpoint{}, nil // it only saves time
	}
	if c, err = DecodeCheckpoint(cb, f.name); err != nil {
		return s, Checkpoint{}, nil // as above
	}
	if c.StateSum != StateSum(b) {
		c.Epoch, c.Op = 0, 0
	}
	return s, c, nil
}

// WriteState replaces o.dat and scan.db, durably. It sets c.StateSum.
func (f *Files) WriteState(s *State, c Checkpoint, now int64) error {
	plain := s.Append(nil, now)
	c.StateSum = StateSum(plain)
	stored, err := f.seal(plain)
	if err != nil {
		return err
	}
	if err := vfs.ReplaceFile(f.fs, path.Join(f.dir, "o.dat"), stored, filePerm); err != nil {
		return fmt.Errorf("writing o.dat of %s: %w", f.name, err)
	}
	if err := vfs.ReplaceFile(f.fs, path.Join(f.dir, "scan.db"), c.Append(nil, f.name), filePerm); err != nil {
		return fmt.Errorf("writing scan.db of %s: %w", f.name, err)
	}
	return nil
}

// Remove deletes the directory, durably.
func (f *Files) Remove() error { return Remove(f.fs, f.dir) }

// Remove deletes the directory of a consumer, durably. The rename deletes it, at once
// or not at all: what has a dot is not opened, and [Clear] removes it.
func Remove(fsys vfs.FS, dir string) error {
	parent := path.Dir(dir)
	gone := vfs.Hidden(dir, ".old.")
	if err := fsys.RemoveAll(gone); err != nil {
		return err
	}
	if err := fsys.Rename(dir, gone); err != nil {
		return err
	}
	if err := fsys.SyncDir(parent); err != nil {
		return err
	}
	// A server that does not know about the dot opens nothing without it.
	if err := fsys.Remove(path.Join(gone, "meta.inf")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fsys.RemoveAll(gone)
}

// Clear removes what an interrupted creation or deletion has left of a consumer in
// its directory, and reports whether that was so.
func Clear(fsys vfs.FS, dir string) (bool, error) {
	if path.Base(dir)[0] != '.' {
		for _, name := range []string{"meta.inf", "meta.sum"} {
			if _, err := fsys.Stat(path.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
				return false, err
			}
		}
	}
	return true, fsys.RemoveAll(dir)
}
