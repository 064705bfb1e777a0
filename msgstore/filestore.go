package msgstore

import (
	"errors"
	"io/fs"
	"path"
	"time"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
)

// FileStore keeps a stream in the files of a stream directory.
type FileStore struct{ store }

var _ Store = (*FileStore)(nil)

// FileOptions are what a file store needs beside the stream's configuration.
type FileOptions struct {
	// Account is the account's name, as in the path and in the keys.
	Account string
	// Dir is the stream's directory relative to the store directory; by default
	// jetstream/<Account>/streams/<Name>.
	Dir        string
	Keys       KeyRing
	Durability Durability
	// SyncEvery is the interval of mode Interval, in whole seconds; default 120.
	SyncEvery time.Duration
	// MaxPayload is the account's largest payload, which sizes the blocks of
	// streams with a limit of messages. Default 1 MiB.
	MaxPayload int
	// BlockSize overrides the size of the blocks. At most 8 MiB.
	BlockSize int64
	// Clock is used for times that nobody gives. Default time.Now.
	Clock func() time.Time
}

const (
	maxBlockSize       = 8 << 20
	midBlockSize       = 4 << 20
	encryptedBlockSize = 2 << 20
	minBlockSize       = 32000
	defaultSyncEvery   = 120
	defaultMaxPayload  = 1 << 20
)

// blockSize is the size at which a new block begins (file store format, 4.1).
func blockSize(cfg *Config, opts *FileOptions) int64 {
	total := cfg.MaxBytes
	if total == 0 && cfg.MaxMsgs > 0 {
		subject := 0
		for _, s := range cfg.Subjects {
			if !hasWildcard(s) {
				subject = max(subject, len(s))
			}
		}
		if subject == 0 {
			subject = 256
		}
		payload := int64(cfg.MaxMsgSize)
		if payload == 0 {
			payload = int64(opts.MaxPayload)
		}
		per := 34 + int64(subject) + payload
		if cfg.MaxMsgs > (1<<62)/per {
			total = 1 << 62
		} else {
			total = cfg.MaxMsgs * per
		}
	}
	switch {
	case opts.BlockSize > 0:
		return opts.BlockSize
	case total > 0:
		s := (total/4 + 1 + 99) / 100 * 100
		switch {
		case s <= minBlockSize:
			return minBlockSize
		case s >= maxBlockSize:
			return maxBlockSize
		}
		return midBlockSize
	case cfg.MaxMsgsPerSubject > 0:
		return midBlockSize
	case opts.Keys.Enabled():
		return encryptedBlockSize
	case !cfg.WorkQueue:
		return maxBlockSize
	}
	return midBlockSize
}

// OpenFileStore opens the stream's directory, or creates it, and recovers what
// is in it. No other process and no other store may have it open.
func OpenFileStore(h *Host, cfg Config, opts FileOptions) (*FileStore, error) {
	switch {
	case cfg.Storage != FileStorage:
		return nil, ErrNotFileConfig
	case cfg.Name == "":
		return nil, ErrNameRequired
	case opts.BlockSize > maxBlockSize:
		return nil, ErrBlockSize
	case cfg.FirstSeq > record.MaxSeq:
		return nil, ErrSequenceMismatch // no record could hold it
	}
	if opts.MaxPayload <= 0 {
		opts.MaxPayload = defaultMaxPayload
	}
	rel := opts.Dir
	if rel == "" {
		rel = h.streamDir(opts.Account, cfg.Name)
	}
	f := new(FileStore)
	s := &f.store
	s.init(cfg.normal())
	if opts.Clock != nil {
		s.now = opts.Clock
	}
	d := &disk{
		s:       s,
		host:    h,
		fs:      h.fs,
		account: opts.Account,
		name:    cfg.Name,
		dir:     path.Join(h.dir, rel),
		rel:     path.Join(rel, "msgs"),
		ring:    opts.Keys,
		mode:    opts.Durability,
		every:   int64(max(opts.SyncEvery/time.Second, 0)),
	}
	if d.every == 0 {
		d.every = defaultSyncEvery
	}
	d.msgs = path.Join(d.dir, "msgs")
	s.disk = d
	s.tail.max = blockSize(&s.cfg, &opts)
	d.queue = h.commit.NewQueue(d.completed)
	d.queue.OnDelivered(d.delivered)
	if err := d.open(); err != nil {
		d.closeFiles()
		return nil, err
	}
	s.appended.Store(s.end.seq)
	d.synced.Store(s.end.seq)
	d.stateAt = h.tick.Load()
	d.readAt.Store(d.stateAt - cacheIdle - 1)
	if err := d.rewrapKeys(); err != nil {
		d.closeFiles()
		return nil, err
	}
	if err := f.settle(); err != nil {
		f.Stop()
		return nil, err
	}
	h.add(s)
	return f, nil
}

// settle does the operations that an open store may need before it is used: the
// last sequence is kept where its block is lost, and the first sequence of a store
// that never held anything is the configured one.
func (f *FileStore) settle() error {
	s := &f.store
	d := s.disk
	if x := d.known; x.seq > 0 {
		if err := f.raise(x); err != nil {
			return err
		}
	}
	d.known = seqTime{}
	if len(d.owed) > 0 {
		w := newWaiter()
		s.operate(w.op, func(o *op) error { return s.placeGone(o, d.owed, 0, true) })
		if err := w.wait().err; err != nil {
			return err
		}
		d.owed = nil
	}
	if first := s.cfg.FirstSeq; first > 0 && s.end.seq == 0 { // of a new stream only: an update has no effect
		if _, err := f.Compact(first); err != nil {
			return err
		}
	}
	if d.mode != Always {
		if err := d.flush(); err != nil {
			return err
		}
	} else {
		d.clean()
	}
	if d.unwritten {
		// Floor.db may have named a place in a block that is another one now, or a
		// file of a server before 2.10 speaks of a block as it was.
		d.maintaining.Lock()
		defer d.maintaining.Unlock()
		return d.checkpointNow(true)
	}
	return nil
}

// raise moves the last sequence up, by a tombstone for it.
func (f *FileStore) raise(to seqTime) error {
	s := &f.store
	w := newWaiter()
	s.operate(w.op, func(o *op) error {
		if err := s.placeTombstone(o, to.seq, to.ts); err != nil {
			return err
		}
		s.end = to
		o.acts = append(o.acts, action{kind: actRaise, seq: to.seq, ts: to.ts})
		return nil
	})
	return w.wait().err
}

// closeFiles ends the use of files that are not needed any longer. The caller holds
// wmu, or is the only one who knows the store; nothing is in flight.
func (d *disk) closeFiles() { d.endFiles((*commit.File).Drop) }

func (d *disk) endFiles(end func(*commit.File)) {
	for _, x := range d.rotated {
		end(x.file)
		x.raw.Close()
	}
	d.rotated = nil
	if d.out != nil {
		end(d.out)
		d.outFile.Close()
		d.out = nil
	}
}

// open makes the directory of a new stream, or recovers what is in it.
func (d *disk) open() error {
	if _, err := d.fs.Stat(d.dir); errors.Is(err, fs.ErrNotExist) {
		return d.layOut()
	}
	if err := d.prepareDir(); err != nil {
		return err
	}
	if err := d.loadKey(); err != nil {
		return err
	}
	if err := d.recover(); err != nil {
		return err
	}
	return d.writeMetaIfMissing()
}

func noStorageDir(err error) error {
	return errors.Join(errors.New("could not create storage directory - "+err.Error()), err)
}

// prepareDir makes what is missing of the directories of the stream, durably.
func (d *disk) prepareDir() error {
	if info, err := d.fs.Stat(d.dir); err == nil && !info.IsDir() {
		return ErrNotDirectory
	}
	for _, dir := range []string{d.dir, path.Join(d.dir, "obs")} {
		if err := vfs.MkdirAllSynced(d.fs, dir, 0o700); err != nil {
			return noStorageDir(err)
		}
	}
	// msgs may be missing in the middle of a purge.
	if _, err := d.fs.Stat(path.Join(d.dir, "__new_msgs__")); errors.Is(err, fs.ErrNotExist) {
		return vfs.MkdirAllSynced(d.fs, d.msgs, 0o700)
	}
	return nil
}

// FlushAllPending implements Store.
func (f *FileStore) FlushAllPending() (uint64, error) {
	s := &f.store
	s.wmu.Lock()
	if err := s.writable(); err != nil {
		s.wmu.Unlock()
		return 0, err
	}
	seq := s.end.seq
	w := newWaiter()
	s.disk.sync(func(o *op) { w.op(o) }) // unlocks
	if err := w.wait().err; err != nil {
		return 0, err
	}
	return seq, nil
}

// sync makes everything handed over durable. The caller holds wmu, which it
// releases.
func (d *disk) sync(done func(*op)) {
	s := d.s
	o := newOp()
	o.done = done
	o.disk.synced = s.end.seq
	if d.out != nil {
		d.part(o, commit.Op{File: d.out, Sync: true})
	}
	d.submit(o) // unlocks
	s.runCallbacks()
}

// Stop implements Store.
func (f *FileStore) Stop() error { return f.stop(true) }

func (f *FileStore) stop(save bool) error {
	s := &f.store
	d := s.disk
	s.wmu.Lock()
	s.mu.Lock()
	if s.closed || d.stopping {
		s.mu.Unlock()
		s.wmu.Unlock()
		return ErrStoreClosed
	}
	d.stopping = true
	s.mu.Unlock()
	d.host.remove(s)
	w := newWaiter()
	d.sync(w.op) // unlocks
	err := w.wait().err
	d.maintaining.Lock()
	defer d.maintaining.Unlock()
	if save {
		d.restoreMeta()
	}
	s.wmu.Lock()
	if err == nil && s.failed.Load() == nil {
		err = d.closeTail()
	} else if save {
		d.endFiles((*commit.File).Leave)
	} else {
		d.closeFiles()
	}
	if err == nil {
		d.clean()
	}
	s.mu.RLock()
	unsaved := d.saved != d.changes
	s.mu.RUnlock()
	if err == nil && save && unsaved {
		var x *state
		if x, err = d.stateOf(); err == nil {
			err = d.saveState(x)
		}
	}
	s.mu.Lock()
	s.closed = true
	fn, bytes := s.updates, s.bytes
	for _, b := range s.blocks {
		d.host.drop(b)
	}
	s.blocks, s.index = nil, nil
	s.mu.Unlock()
	s.wmu.Unlock()
	if fn != nil && bytes > 0 && save {
		fn(0, -int64(bytes), 0, "")
	}
	return err
}

// Delete implements Store.
func (f *FileStore) Delete(inline bool) error {
	s := &f.store
	d := s.disk
	s.mu.RLock()
	fn, msgs, bytes := s.updates, s.msgs, s.bytes
	s.mu.RUnlock()
	stopped := f.stop(false)
	if !errors.Is(stopped, ErrStoreClosed) && fn != nil && msgs > 0 {
		fn(-int64(msgs), -int64(bytes), 0, "")
	}
	gone, err := hide(d.fs, d.queue, path.Dir(d.rel), d.dir)
	if err != nil {
		return err
	}
	if inline {
		if err := d.fs.RemoveAll(gone); err != nil {
			return err
		}
	} else {
		go d.fs.RemoveAll(gone)
	}
	if errors.Is(stopped, ErrStoreClosed) {
		return ErrStoreClosed
	}
	return nil
}

// RemoveStream deletes the directory of a stream that is not open, at once or not at
// all, and durably.
func (h *Host) RemoveStream(account, name string) error {
	rel := h.streamDir(account, name)
	gone, err := hide(h.fs, h.commit.NewQueue(func([]*commit.Op) {}), rel, path.Join(h.dir, rel))
	if err != nil {
		return err
	}
	return h.fs.RemoveAll(gone)
}

// hide deletes the directory of a stream by a rename, durably, and returns the name
// under which the rest is to be removed. With the dot that is done at the next start; a
// server that does not know that recovers no stream without a meta file. rel is dir
// below the store directory: the journal forgets it first.
func hide(fsys vfs.FS, queue *commit.Queue, rel, dir string) (gone string, err error) {
	if err := queue.Perform(&commit.Op{Forget: rel}); err != nil {
		return "", err
	}
	gone = vfs.Hidden(dir, ".old.")
	fsys.RemoveAll(gone)
	if err := fsys.Rename(dir, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := fsys.SyncDir(path.Dir(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := fsys.Remove(path.Join(gone, metaInf)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return gone, nil
}

// Truncate implements Store.
func (f *FileStore) Truncate(seq uint64) error {
	s := &f.store
	s.disk.maintaining.Lock()
	defer s.disk.maintaining.Unlock()
	return s.disk.alone(func() error {
		if seq > s.end.seq {
			return ErrStoreEOF
		}
		if err := s.disk.closeTail(); err != nil {
			return err
		}
		o := newOp()
		s.disk.cleaning.Lock()
		defer s.disk.cleaning.Unlock()
		s.mu.Lock()
		s.disk.truncating = true
		before := s.blocks
		err := s.truncate(o, seq)
		if err != nil {
			// What was truncated is known after the next start.
			s.disk.broken = true
			s.blocks = before
		}
		s.disk.truncating = false
		s.notify.add(o)
		s.mu.Unlock()
		if err != nil {
			s.disk.fail(err)
		}
		return err
	})
}

// alone calls fn with wmu held while nothing is in flight.
func (d *disk) alone(fn func() error) error {
	s := d.s
	for {
		s.wmu.Lock()
		if err := s.writable(); err != nil {
			s.wmu.Unlock()
			return err
		}
		s.mu.RLock()
		idle := len(s.flight) == 0
		s.mu.RUnlock()
		if idle {
			err := fn()
			s.wmu.Unlock()
			s.runCallbacks()
			return err
		}
		w := newWaiter()
		d.sync(w.op) // unlocks
		if err := w.wait().err; err != nil {
			return err
		}
	}
}

// keyOfStream returns the stream's key for those who read its files offline.
func (d *disk) object() keys.Object { return keys.OfStream(d.account, d.name) }
