package crashfs

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"time"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// content is what a file holds: as seen, as certain to survive, and the unsynced
// changes that lead from the one to the other.
type content struct {
	data    []byte
	durable []byte
	ops     []fileOp
	first   uint64 // number of ops[0]; numbers rise by one
}

// fileOp is one unsynced change: a write, or a change of the length (data nil).
type fileOp struct {
	off  int64
	data []byte
	size int64 // length of the file after the change
}

func newContent(data []byte) content {
	return content{data: data, durable: append([]byte(nil), data...)}
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size] // growing again must not bring old bytes back
	}
	if size <= int64(cap(b)) {
		old := len(b)
		b = b[:size]
		clear(b[old:])
		return b
	}
	grown := make([]byte, size, size+size/4)
	copy(grown, b)
	return grown
}

func (o *fileOp) apply(b []byte) []byte {
	if o.data == nil {
		return resize(b, o.size)
	}
	if end := o.off + int64(len(o.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[o.off:], o.data)
	return b
}

func (c *content) add(o fileOp) {
	c.data = o.apply(c.data)
	o.size = int64(len(c.data))
	c.ops = append(c.ops, o)
}

func (c *content) write(p []byte, off int64) {
	if len(p) > 0 {
		c.add(fileOp{off: off, data: append([]byte(nil), p...)})
	}
}

func (c *content) truncate(size int64) {
	if size != int64(len(c.data)) {
		c.add(fileOp{size: size})
	}
}

// mark is the number behind the last change so far; persist(mark) makes the
// changes before it durable.
func (c *content) mark() uint64 { return c.first + uint64(len(c.ops)) }

func (c *content) persist(mark uint64) {
	for len(c.ops) > 0 && c.first < mark {
		c.durable = c.ops[0].apply(c.durable)
		c.ops[0] = fileOp{}
		c.ops = c.ops[1:]
		c.first++
	}
	if len(c.ops) == 0 {
		c.ops = nil
	}
}

// fail makes the changes so far clean without making them durable: the disk holds
// some of them.
func (c *content) fail(rng *rand.Rand) {
	c.durable = c.survivor(rng)
	c.first += uint64(len(c.ops))
	c.ops = nil
}

// survivor returns what a power cut leaves of the file.
func (c *content) survivor(rng *rand.Rand) []byte {
	out := append([]byte(nil), c.durable...)
	if len(c.ops) == 0 {
		return out
	}
	// The length is that after the first m changes. A page holds the result of any
	// number of changes, but not of fewer than the last shortening among the m:
	// the file system frees the pages behind the end together with the length.
	p := rng.Float64()
	pick := func(from int) int { // how many changes survive, at least from
		n := len(c.ops) - from
		switch x := rng.Float64(); {
		case x < p/2:
			return len(c.ops)
		case x < p:
			return from
		default:
			return from + rng.IntN(n+1)
		}
	}
	m := pick(0)
	low := 0
	size := int64(len(out))
	clip := make([]int64, len(c.ops)) // what later shortenings leave of a write
	least := int64(1<<63 - 1)
	for i := len(c.ops) - 1; i >= 0; i-- {
		clip[i] = least
		if i < m {
			least = min(least, c.ops[i].size)
		}
	}
	for i := range c.ops[:m] {
		if c.ops[i].size < size {
			low = i + 1
			out = resize(out, c.ops[i].size)
		}
		size = c.ops[i].size
	}
	out = resize(out, size)
	unit := int64(pageSize)
	if rng.IntN(3) == 0 {
		unit = sectorSize
	}
	chosen := map[int64]int{}
	for i := range c.ops {
		o := &c.ops[i]
		for at := o.off; at < o.off+int64(len(o.data)); {
			u := at / unit
			end := min((u+1)*unit, o.off+int64(len(o.data)), size, clip[i])
			if end <= at {
				break
			}
			n, ok := chosen[u]
			if !ok {
				n = pick(low)
				chosen[u] = n
			}
			if i < n {
				copy(out[at:end], o.data[at-o.off:])
			}
			at = end
		}
	}
	return out
}

// file is an open file.
type file struct {
	fs       *FS
	n        *node
	name     string
	writable bool
	closed   bool // guarded by fs.mu
}

// use checks that the file can be used. Called with fs.mu held.
func (f *file) use(op string) error {
	if f.closed {
		return pathErr(op, f.name, fs.ErrClosed)
	}
	return nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.fs.begin(Call{Kind: Read, Name: f.name, Offset: off, Len: len(p)}); err != nil {
		return 0, pathErr("read", f.name, err)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.use("read"); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathErr("read", f.name, fs.ErrInvalid)
	}
	if off >= int64(len(f.n.file.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.file.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n := len(p)
	err := f.change(Call{Kind: Write, Name: f.name, Offset: off, Len: len(p)}, func(part bool) error {
		if off < 0 {
			return fs.ErrInvalid
		}
		if err := f.fs.room(f.n, off+int64(n)); err != nil {
			return err
		}
		if part {
			n = f.fs.rng.IntN(len(p) + 1)
		}
		f.n.file.write(p[:n], off)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (f *file) Truncate(size int64) error {
	return f.change(Call{Kind: Truncate, Name: f.name}, func(bool) error {
		if size < 0 {
			return fs.ErrInvalid
		}
		f.n.file.truncate(size)
		return nil
	})
}

func (f *file) Preallocate(size int64) error {
	return f.change(Call{Kind: Preallocate, Name: f.name}, func(bool) error {
		if err := f.fs.room(f.n, size); err != nil {
			return err
		}
		if size > int64(len(f.n.file.data)) {
			f.n.file.truncate(size)
		}
		return nil
	})
}

// change runs a change of the content. A call that fails, or at which the power is
// cut, may do a part of its work.
func (f *file) change(c Call, do func(part bool) error) error {
	cut, err := f.fs.begin(c)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.cut.Load() && !cut {
		return pathErr(c.Kind.String(), f.name, ErrPowerCut)
	}
	if useErr := f.use(c.Kind.String()); useErr != nil {
		return useErr
	}
	if !f.writable {
		return pathErr(c.Kind.String(), f.name, fs.ErrPermission)
	}
	if err == nil || cut || c.Kind == Write {
		if doErr := do(err != nil); err == nil {
			err = doErr
		}
		f.n.mtime = time.Now()
	}
	if err != nil {
		return pathErr(c.Kind.String(), f.name, err)
	}
	return nil
}

func (f *file) Sync() error     { return f.sync() }
func (f *file) SyncData() error { return f.sync() }

// sync covers what was written before the call, not what is written while it runs.
func (f *file) sync() error {
	f.fs.mu.Lock()
	if err := f.use("sync"); err != nil {
		f.fs.mu.Unlock()
		return err
	}
	mark := f.n.file.mark()
	f.fs.mu.Unlock()

	_, err := f.fs.begin(Call{Kind: Sync, Name: f.name})
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	switch {
	case f.fs.cut.Load():
		return pathErr("sync", f.name, ErrPowerCut)
	case err != nil:
		f.n.file.fail(f.fs.rng)
		return pathErr("sync", f.name, err)
	}
	f.n.file.persist(mark)
	return nil
}

func (f *file) Size() (int64, error) {
	if _, err := f.fs.begin(Call{Kind: Stat, Name: f.name}); err != nil {
		return 0, pathErr("stat", f.name, err)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.use("stat"); err != nil {
		return 0, err
	}
	return int64(len(f.n.file.data)), nil
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return pathErr("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}
