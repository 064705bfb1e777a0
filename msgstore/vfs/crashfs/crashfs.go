// Package crashfs is a simulated disk in memory whose power can be cut.
//
// It implements [vfs.FS] with the guarantees of POSIX and no more. Content
// written since the last sync of a file is in a "page cache"; so are changes of
// directories since the last SyncDir. [FS.Crash] gives the disk as it is found
// after a power cut:
//
//   - of the unsynced writes of a file any subset of pages survives, each page in
//     any of the versions it had since the last sync; in some files pages are torn,
//     that is every sector of 512 bytes makes its own choice;
//   - the length of a file is any of the lengths it had since the last sync, and
//     what was not written reads as zeros: a file that was never synced may exist
//     with zeros, or not at all;
//   - of the unsynced changes of directories any subset survives that a file system
//     with a journal could leave: changes of one name in their order, a rename as a
//     whole or not at all;
//   - what was synced before the cut is there.
//
// The choice is random and depends on the seed and the calls made so far alone.
//
// Calls can be made to fail ([FS.Inject]), the power can be cut at the n-th call
// ([FS.CutAt]). After a failed sync the unsynced pages count as clean, as on Linux:
// they can be read, but a later sync does not write them.
//
// All methods may be used from several goroutines.
package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/natsd/natsd/msgstore/vfs"
)

// ErrPowerCut is what every call returns from the cut on.
var ErrPowerCut = errors.New("crashfs: power cut")

// Kind says what a call does.
type Kind uint8

// The kinds of calls. Reads (Read, Stat, List) are counted by [FS.Calls] only:
// they are no I/O call that CutAt counts, since a cut there changes nothing.
const (
	Read Kind = iota
	Stat
	List
	Open
	Create // an open that may create the file
	Write
	Truncate
	Sync
	SyncDir
	Rename
	Link
	Remove
	Mkdir
	Preallocate
	Lock
	kinds
)

var kindNames = [kinds]string{"read", "stat", "list", "open", "create", "write", "truncate", "sync", "syncdir", "rename", "link", "remove", "mkdir", "preallocate", "lock"}

func (k Kind) String() string { return kindNames[k] }

// changes says whether a call of this kind can change the disk.
func (k Kind) changes() bool { return k > Open && k != Lock }

// Call describes one call to an injection hook.
type Call struct {
	Kind   Kind
	Name   string // the file or directory; the new name of a rename or link
	Offset int64  // of a write
	Len    int    // of a write
	N      int64  // number of the call among those that change something, from 1; 0 for the others
}

// FS is a simulated disk.
type FS struct {
	seed uint64

	inject atomic.Pointer[func(Call) error]
	counts [kinds]atomic.Int64
	n      atomic.Int64 // calls that change something
	cutAt  atomic.Int64 // 0 = never
	cut    atomic.Bool
	cutCh  chan struct{}

	mu      sync.Mutex // guards everything below and the content of all nodes
	rng     *rand.Rand
	root    *node
	dirOps  []*dirOp // unsynced changes of directories, oldest first
	locks   map[string]bool
	cutOnce sync.Once
	avail   int64
	limit   int64 // on the sum of the sizes of all files; 0 if there is none
	nextIno uint64
}

var _ vfs.FS = (*FS)(nil)

// New returns an empty disk. The directory "/" exists; names without a leading
// slash are taken from there.
func New(seed uint64) *FS {
	f := &FS{
		seed:  seed,
		rng:   rand.New(rand.NewPCG(seed, 0x6e61747364)),
		cutCh: make(chan struct{}),
		locks: map[string]bool{},
		avail: 1 << 40,
	}
	f.root = f.newNode(true)
	return f
}

// CutAt cuts the power at the n-th call from now that changes something: that call
// may or may not take effect, and it and all later calls return ErrPowerCut.
func (f *FS) CutAt(n int64) { f.cutAt.Store(f.n.Load() + n) }

// Cut cuts the power now.
func (f *FS) Cut() {
	f.cut.Store(true)
	f.cutOnce.Do(func() { close(f.cutCh) })
}

// IsCut reports whether the power is off.
func (f *FS) IsCut() bool { return f.cut.Load() }

// Done is closed when the power is cut.
func (f *FS) Done() <-chan struct{} { return f.cutCh }

// Inject sets a hook that is called before every call, without locks: an error
// it returns is the result of the call, and a hook that sleeps is a slow disk.
// A failed write may have written a part. nil removes the hook.
func (f *FS) Inject(hook func(Call) error) {
	if hook == nil {
		f.inject.Store(nil)
		return
	}
	f.inject.Store(&hook)
}

// Calls is the number of calls of a kind so far.
func (f *FS) Calls(k Kind) int64 { return f.counts[k].Load() }

// Changes is the number of calls so far that CutAt counts.
func (f *FS) Changes() int64 { return f.n.Load() }

// SetAvailable sets what Available answers.
func (f *FS) SetAvailable(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.avail = n
}

// SetCapacity bounds the sum of the sizes of all files that have a name: what would
// make a file longer fails with ENOSPC then, and does nothing. 0 takes the bound away.
func (f *FS) SetCapacity(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = n
}

// Used is the sum of the sizes of all files that have a name.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.root.bytes()
}

// room is ENOSPC if the disk has none for a file of that size. Called with f.mu held.
func (f *FS) room(n *node, size int64) error {
	more := size - int64(len(n.file.data))
	if f.limit == 0 || more <= 0 || f.root.bytes()+more <= f.limit {
		return nil
	}
	return syscall.ENOSPC
}

// bytes is the sum of the sizes of the files of a tree.
func (n *node) bytes() int64 {
	if !n.dir {
		return int64(len(n.file.data))
	}
	sum := int64(0)
	for _, c := range n.entries {
		sum += c.bytes()
	}
	return sum
}

// begin counts a call and asks the hook. cut reports that the power goes off with
// this call: what the call has begun may survive.
func (f *FS) begin(c Call) (cut bool, err error) {
	if f.cut.Load() {
		return false, ErrPowerCut
	}
	f.counts[c.Kind].Add(1)
	if c.Kind.changes() {
		c.N = f.n.Add(1)
		if at := f.cutAt.Load(); at > 0 && c.N >= at {
			f.Cut()
			return true, ErrPowerCut
		}
	}
	if hook := f.inject.Load(); hook != nil {
		if err := (*hook)(c); err != nil {
			return false, err
		}
		if f.cut.Load() { // while the hook held the call up
			return false, ErrPowerCut
		}
	}
	return false, nil
}

// node is a file or a directory. A file has content, a directory has entries.
type node struct {
	ino   uint64
	dir   bool
	mtime time.Time

	// A directory: the entries as seen, and those that a power cut leaves for sure.
	entries map[string]*node
	durable map[string]*node

	file content
}

func (f *FS) newNode(dir bool) *node {
	f.nextIno++
	n := &node{ino: f.nextIno, dir: dir, mtime: time.Now()}
	if dir {
		n.entries, n.durable = map[string]*node{}, map[string]*node{}
	}
	return n
}

// dirOp is one unsynced change of directories: each name gets a node, or none.
type dirOp struct {
	sets []entrySet
}

type entrySet struct {
	dir  *node
	name string
	to   *node // nil: removed
}

type entryKey struct {
	dir  *node
	name string
}

// change applies a change of directories to what is seen.
func (f *FS) change(sets ...entrySet) {
	for _, s := range sets {
		if s.to == nil {
			delete(s.dir.entries, s.name)
		} else {
			s.dir.entries[s.name] = s.to
		}
		s.dir.mtime = time.Now()
	}
	f.dirOps = append(f.dirOps, &dirOp{sets})
}

func (o *dirOp) persist() {
	for _, s := range o.sets {
		if s.to == nil {
			delete(s.dir.durable, s.name)
		} else {
			s.dir.durable[s.name] = s.to
		}
	}
}

func clean(name string) string { return path.Clean("/" + name) }

func pathErr(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// lookup finds a name. Called with mu held.
func (f *FS) lookup(name string) (*node, error) {
	n := f.root
	rest := clean(name)[1:]
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if !n.dir {
			return nil, fs.ErrNotExist
		}
		if n = n.entries[part]; n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

// parent finds the directory of a name. Called with mu held.
func (f *FS) parent(name string) (*node, string, error) {
	dir, base := path.Split(clean(name))
	if base == "" {
		return nil, "", fs.ErrInvalid
	}
	n, err := f.lookup(dir)
	if err != nil {
		return nil, "", err
	}
	if !n.dir {
		return nil, "", fs.ErrNotExist
	}
	return n, base, nil
}

// OpenFile implements [vfs.FS].
func (f *FS) OpenFile(name string, flag int, _ fs.FileMode) (vfs.File, error) {
	if flag&os.O_APPEND != 0 {
		return nil, pathErr("open", name, errors.ErrUnsupported)
	}
	kind := Open
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		kind = Create
	}
	cut, cutErr := f.begin(Call{Kind: kind, Name: name})
	if cutErr != nil && !cut {
		return nil, pathErr("open", name, cutErr)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut.Load() && !cut {
		return nil, pathErr("open", name, ErrPowerCut)
	}
	dir, base, err := f.parent(name)
	if err != nil {
		return nil, pathErr("open", name, err)
	}
	n := dir.entries[base]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, pathErr("open", name, fs.ErrNotExist)
	case n == nil:
		n = f.newNode(false)
		f.change(entrySet{dir, base, n})
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, pathErr("open", name, fs.ErrExist)
	case n.dir:
		return nil, pathErr("open", name, errIsDir)
	case flag&os.O_TRUNC != 0:
		n.file.truncate(0)
	}
	if cut {
		return nil, pathErr("open", name, ErrPowerCut)
	}
	return &file{fs: f, n: n, name: name, writable: flag&(os.O_WRONLY|os.O_RDWR) != 0}, nil
}

var (
	errIsDir    = errors.New("is a directory")
	errNotDir   = errors.New("not a directory")
	errNotEmpty = errors.New("directory not empty")
)

// Rename implements [vfs.FS].
func (f *FS) Rename(oldname, newname string) error {
	return f.changeNames(Rename, newname, func() error {
		from, fromBase, err := f.parent(oldname)
		if err != nil {
			return err
		}
		to, toBase, err := f.parent(newname)
		if err != nil {
			return err
		}
		n := from.entries[fromBase]
		if n == nil {
			return fs.ErrNotExist
		}
		old := to.entries[toBase]
		if old == n {
			return nil
		}
		if old != nil {
			switch {
			case old.dir && !n.dir:
				return errIsDir
			case !old.dir && n.dir:
				return errNotDir
			case old.dir && len(old.entries) > 0:
				return errNotEmpty
			}
		}
		f.change(entrySet{to, toBase, n}, entrySet{from, fromBase, nil})
		return nil
	})
}

// Link implements [vfs.FS].
func (f *FS) Link(oldname, newname string) error {
	return f.changeNames(Link, newname, func() error {
		n, err := f.lookup(oldname)
		if err != nil {
			return err
		}
		to, base, err := f.parent(newname)
		if err != nil {
			return err
		}
		if n.dir {
			return fs.ErrPermission
		}
		if to.entries[base] != nil {
			return fs.ErrExist
		}
		f.change(entrySet{to, base, n})
		return nil
	})
}

// Remove implements [vfs.FS].
func (f *FS) Remove(name string) error {
	return f.changeNames(Remove, name, func() error {
		dir, base, err := f.parent(name)
		if err != nil {
			return err
		}
		n := dir.entries[base]
		if n == nil {
			return fs.ErrNotExist
		}
		if n.dir && len(n.entries) > 0 {
			return errNotEmpty
		}
		f.change(entrySet{dir, base, nil})
		return nil
	})
}

// RemoveAll implements [vfs.FS]. A cut leaves any part of the tree.
func (f *FS) RemoveAll(name string) error {
	return f.changeNames(Remove, name, func() error {
		dir, base, err := f.parent(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if n := dir.entries[base]; n != nil {
			f.removeTree(n)
			f.change(entrySet{dir, base, nil})
		}
		return nil
	})
}

func (f *FS) removeTree(n *node) {
	for _, name := range sortedNames(n.entries) {
		f.removeTree(n.entries[name])
		f.change(entrySet{n, name, nil})
	}
}

// MkdirAll implements [vfs.FS].
func (f *FS) MkdirAll(dir string, _ fs.FileMode) error {
	return f.changeNames(Mkdir, dir, func() error {
		n := f.root
		for part := range strings.SplitSeq(strings.TrimPrefix(clean(dir), "/"), "/") {
			if part == "" {
				continue
			}
			next := n.entries[part]
			if next == nil {
				next = f.newNode(true)
				f.change(entrySet{n, part, next})
			}
			if !next.dir {
				return errNotDir
			}
			n = next
		}
		return nil
	})
}

// changeNames runs a change of directories. At the call of the power cut the
// change is begun, and may survive.
func (f *FS) changeNames(k Kind, name string, do func() error) error {
	cut, err := f.begin(Call{Kind: k, Name: name})
	if err != nil && !cut {
		return pathErr(k.String(), name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut.Load() && !cut {
		return pathErr(k.String(), name, ErrPowerCut)
	}
	if doErr := do(); doErr != nil && err == nil {
		err = doErr
	}
	if err != nil {
		return pathErr(k.String(), name, err)
	}
	return nil
}

// SyncDir implements [vfs.FS]. It makes the changes of the directory's entries
// durable, and earlier changes of the same names elsewhere that they rest on.
func (f *FS) SyncDir(dir string) error {
	if _, err := f.begin(Call{Kind: SyncDir, Name: dir}); err != nil {
		if !errors.Is(err, ErrPowerCut) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if d, lerr := f.lookup(dir); lerr == nil {
				f.settle(d) // as for files: what was dirty is lost, or not, but no longer dirty
			}
		}
		return pathErr("sync", dir, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut.Load() {
		return pathErr("sync", dir, ErrPowerCut)
	}
	d, err := f.lookup(dir)
	if err != nil {
		return pathErr("sync", dir, err)
	}
	if !d.dir {
		return pathErr("sync", dir, errNotDir)
	}
	f.resolve(f.concerning(d), func(*dirOp) bool { return true })
	return nil
}

// concerning marks the unsynced changes of a directory's entries, and the earlier
// changes of the same names elsewhere that they rest on. All changes if d is nil.
func (f *FS) concerning(d *node) []bool {
	need := map[entryKey]bool{}
	take := make([]bool, len(f.dirOps))
	for i := len(f.dirOps) - 1; i >= 0; i-- {
		for _, s := range f.dirOps[i].sets {
			if d == nil || s.dir == d || need[entryKey{s.dir, s.name}] {
				take[i] = true
			}
		}
		if take[i] {
			for _, s := range f.dirOps[i].sets {
				need[entryKey{s.dir, s.name}] = true
			}
		}
	}
	return take
}

// resolve makes the marked changes durable that keep wants, and forgets the others
// of them.
func (f *FS) resolve(marked []bool, keep func(*dirOp) bool) {
	rest := f.dirOps[:0]
	for i, op := range f.dirOps {
		if !marked[i] {
			rest = append(rest, op)
		} else if keep(op) {
			op.persist()
		}
	}
	clear(f.dirOps[len(rest):])
	f.dirOps = rest
}

// settle decides which unsynced changes of a directory, or of all if d is nil, reach
// the disk.
func (f *FS) settle(d *node) {
	lost := map[entryKey]bool{}
	p := f.rng.Float64() // so that runs with nearly all and with nearly none occur
	f.resolve(f.concerning(d), func(op *dirOp) bool {
		keep := f.rng.Float64() < p
		for _, s := range op.sets {
			keep = keep && !lost[entryKey{s.dir, s.name}]
		}
		if !keep {
			for _, s := range op.sets {
				lost[entryKey{s.dir, s.name}] = true
			}
		}
		return keep
	})
}

// Kill gives the disk as it is found after the process was killed: everything that
// was written is there, in the page cache, and what was not synced can still be
// lost by a later [FS.Crash] of the result. f is of no use afterwards.
func (f *FS) Kill() *FS {
	f.Cut()
	f.mu.Lock()
	defer f.mu.Unlock()
	next := New(f.seed*0x9e3779b97f4a7c15 + 2)
	next.avail, next.root, next.dirOps, next.nextIno = f.avail, f.root, f.dirOps, f.nextIno
	f.root, f.dirOps = f.newNode(true), nil
	return next
}

// Crash cuts the power, if that has not happened, and returns the disk as it is
// found afterwards: all of it durable, nothing locked, nothing injected. It has a
// seed of its own, derived from this one's. It must be called at most once.
func (f *FS) Crash() *FS {
	f.Cut()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settle(nil)
	next := New(f.seed*0x9e3779b97f4a7c15 + 1)
	next.avail = f.avail
	done := map[*node]*node{}
	var copyNode func(n *node) *node
	copyNode = func(n *node) *node {
		if c := done[n]; c != nil {
			return c
		}
		c := next.newNode(n.dir)
		done[n] = c
		c.mtime = n.mtime
		if n.dir {
			for _, name := range sortedNames(n.durable) {
				e := copyNode(n.durable[name])
				c.entries[name], c.durable[name] = e, e
			}
			return c
		}
		c.file = newContent(n.file.survivor(f.rng))
		return c
	}
	next.root = copyNode(f.root)
	return next
}

// Stat implements [vfs.FS].
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	if _, err := f.begin(Call{Kind: Stat, Name: name}); err != nil {
		return nil, pathErr("stat", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.lookup(name)
	if err != nil {
		return nil, pathErr("stat", name, err)
	}
	return n.info(path.Base(clean(name))), nil
}

// ReadDir implements [vfs.FS].
func (f *FS) ReadDir(dir string) ([]fs.DirEntry, error) {
	if _, err := f.begin(Call{Kind: List, Name: dir}); err != nil {
		return nil, pathErr("readdir", dir, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.lookup(dir)
	if err == nil && !n.dir {
		err = errNotDir
	}
	if err != nil {
		return nil, pathErr("readdir", dir, err)
	}
	list := make([]fs.DirEntry, 0, len(n.entries))
	for _, name := range sortedNames(n.entries) {
		list = append(list, fs.FileInfoToDirEntry(n.entries[name].info(name)))
	}
	return list, nil
}

// Lock implements [vfs.FS].
func (f *FS) Lock(name string) (io.Closer, error) {
	file, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.begin(Call{Kind: Lock, Name: name}); err != nil {
		return nil, pathErr("lock", name, err)
	}
	f.mu.Lock()
	taken := f.locks[clean(name)]
	f.locks[clean(name)] = true
	f.mu.Unlock()
	if taken {
		return nil, &vfs.LockedError{Name: name, PID: os.Getpid()}
	}
	l := &lock{fs: f, name: clean(name)}
	if _, err := file.WriteAt(fmt.Append(nil, os.Getpid()), 0); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

type lock struct {
	fs   *FS
	name string
	once sync.Once
}

func (l *lock) Close() error {
	l.once.Do(func() {
		l.fs.mu.Lock()
		defer l.fs.mu.Unlock()
		delete(l.fs.locks, l.name)
	})
	return nil
}

// Available implements [vfs.FS].
func (f *FS) Available(string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.avail, nil
}

func sortedNames(m map[string]*node) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

type info struct {
	name  string
	size  int64
	dir   bool
	mtime time.Time
}

func (n *node) info(name string) info {
	return info{name, int64(len(n.file.data)), n.dir, n.mtime}
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.mtime }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
