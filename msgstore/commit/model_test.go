package commit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/mutation"
	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// A model store keeps records in blocks, as a real one does: sequence, an id of the
// write, filler; with lengths and checksums, so that a scan finds the valid prefix.
// The id is unique over all runs, so that a record that comes back from an earlier
// life of its sequence is noticed.

const recordOverhead = 4 + 8 + 8 + 8

func encodeRecord(b []byte, seq, id uint64, filler int) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(recordOverhead+filler))
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint64(b, id)
	for i := range filler {
		b = append(b, byte(id)+byte(i))
	}
	sum := uint64(crc32.ChecksumIEEE(b[at:]))
	return binary.LittleEndian.AppendUint64(b, sum*0x9e3779b97f4a7c15)
}

// scan returns the valid records at the head of b, and how long they are.
func scan(b []byte) (seqs, ids []uint64, end int) {
	for len(b)-end >= recordOverhead {
		r := b[end:]
		n := int(binary.LittleEndian.Uint32(r))
		if n < recordOverhead || n > len(r) {
			break
		}
		r = r[:n]
		sum := uint64(crc32.ChecksumIEEE(r[:n-8])) * 0x9e3779b97f4a7c15
		if binary.LittleEndian.Uint64(r[n-8:]) != sum {
			break
		}
		seqs = append(seqs, binary.LittleEndian.Uint64(r[4:]))
		ids = append(ids, binary.LittleEndian.Uint64(r[12:]))
		end += n
	}
	return seqs, ids, end
}

// truth is what the model knows of a store over all its lives.
type truth struct {
	mode   Mode
	epoch  int      // counts removals of the store
	ids    []uint64 // of the records submitted, by sequence-1; the tail may be lost
	acked  int      // of them, how many were reported durable
	maybe  bool     // a change other than an append was in flight: see alt
	altIDs []uint64 // the content after that change
	runs   []uint64 // of the consumer, submitted
	runAck int      // of them, how many were reported durable
}

// modelStore is a store of one life of the simulated server.
type modelStore struct {
	t    *truth
	dir  string // relative
	c    *Committer
	fs   vfs.FS
	q    *Queue
	cq   *Queue
	file *File
	vf   vfs.File
	size int64
	blk  int
	// firstOfBlock is the number of records in the blocks before the last.
	firstOfBlock int
	side         *File // another file of the same queue, whose content does not matter
	log          *RunLog

	mu   sync.Mutex
	ops  []modelOp // in flight, in order
	rops []int
	bad  error
}

type modelOp struct {
	upTo int // records acked when it is complete
	op   *Op
}

const modelRoot = "/store"

func (s *modelStore) block(n int) string { return path.Join(s.dir, "msgs", strconv.Itoa(n)+".blk") }

func (s *modelStore) completed(done []*Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range done {
		if len(s.ops) == 0 || s.ops[0].op != o {
			s.bad = errors.New("ops completed out of order")
			return
		}
		upTo := s.ops[0].upTo
		s.ops = s.ops[1:]
		if o.Err == nil && (s.t.mode == Always || o.Sync) {
			s.t.acked = max(s.t.acked, upTo)
		}
	}
}

func (s *modelStore) runsDone(done []*Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range done {
		upTo := s.rops[0]
		s.rops = s.rops[1:]
		if o.Err == nil {
			s.t.runAck = max(s.t.runAck, upTo)
		}
	}
}

func (s *modelStore) submit(o *Op) {
	s.mu.Lock()
	s.ops = append(s.ops, modelOp{len(s.t.ids), o})
	s.q.Submit(o)
	s.mu.Unlock()
}

// openStore scans what is there, compares it with the truth, and gets ready to append.
func openStore(c *Committer, fsys vfs.FS, name string, t *truth) (*modelStore, error) {
	s := &modelStore{t: t, dir: "jetstream/A/streams/" + name, c: c, fs: fsys}
	s.q = c.NewQueue(s.completed)
	s.cq = c.NewQueue(s.runsDone)
	if err := fsys.RemoveAll(path.Join(modelRoot, path.Dir(s.dir), "."+name)); err != nil {
		return nil, err // a removal that was interrupted
	}
	msgs := path.Join(modelRoot, s.dir, "msgs")
	entries, err := fsys.ReadDir(msgs)
	if errors.Is(err, fs.ErrNotExist) {
		if t.acked > 0 && !t.maybe {
			return nil, violation("the store is gone, %d records were durable", t.acked)
		}
		*t = truth{mode: t.mode, epoch: t.epoch}
		entries = nil
	} else if err != nil {
		return nil, err
	}
	for _, d := range []string{"msgs", "obs/c"} {
		if err := vfs.MkdirAllSynced(fsys, path.Join(modelRoot, s.dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	var blocks []int
	for _, e := range entries {
		if n, err := strconv.Atoi(strings.TrimSuffix(e.Name(), ".blk")); err == nil {
			blocks = append(blocks, n)
		}
	}
	slices.Sort(blocks)
	var ids []uint64
	var end int
	var content []byte
	torn := false
	s.blk = 1
	for _, n := range blocks {
		got, err := vfs.ReadFile(fsys, path.Join(modelRoot, s.block(n)), 1<<30)
		if err != nil {
			return nil, err
		}
		seqs, found, length := scan(got)
		for i, seq := range seqs {
			if seq != uint64(len(ids))+1 {
				return nil, violation("block %d holds sequence %d behind %d records", n, seq, len(ids))
			}
			ids = append(ids, found[i])
		}
		if len(seqs) > 0 && torn {
			return nil, violation("block %d of %v has records, but one before ends in bytes that are none", n, blocks)
		}
		if torn { // left by a rotation that failed
			if err := fsys.Remove(path.Join(modelRoot, s.block(n))); err != nil {
				return nil, err
			}
			if err := fsys.SyncDir(msgs); err != nil {
				return nil, err
			}
			continue
		}
		content, end = got, length
		torn = length < len(content)
		s.blk = n
		s.firstOfBlock = len(ids) - len(seqs)
	}
	if err := t.judge(ids); err != nil {
		return nil, err
	}
	t.ids, t.acked, t.maybe, t.altIDs = ids, len(ids), false, nil

	// Cut the torn tail, and make sure that all is durable, as a real store does. The
	// block goes on in a new file, and what the journal said of the old is void.
	var tail [8]byte
	name = path.Join(modelRoot, s.block(s.blk))
	if err := vfs.ReplaceFile(fsys, name, content[:end], 0o600); err != nil {
		return nil, err
	}
	if end >= 8 {
		tail = [8]byte(content[end-8 : end])
	}
	if s.vf, err = fsys.OpenFile(name, os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	name = path.Join(s.dir, "msgs/side")
	if err := vfs.ReplaceFile(fsys, path.Join(modelRoot, name), nil, 0o600); err != nil {
		return nil, err
	}
	side, err := fsys.OpenFile(path.Join(modelRoot, name), os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	s.side = s.q.NewFile(name, side, 0, [8]byte{}, Always)
	s.size = int64(end)
	s.file = s.q.NewFile(s.block(s.blk), s.vf, s.size, tail, t.mode)
	return s, s.openRuns()
}

type violationError struct{ msg string }

func (v *violationError) Error() string { return v.msg }

func violation(format string, args ...any) error {
	return &violationError{fmt.Sprintf(format, args...)}
}

// judge compares what was found with what may be there.
func (t *truth) judge(found []uint64) error {
	fits := func(ids []uint64, acked int) error {
		if len(found) < acked {
			return violation("%d records found, %d were durable", len(found), acked)
		}
		if len(found) > len(ids) || !slices.Equal(found, ids[:len(found)]) {
			return violation("found records %v, written were %v", found, ids)
		}
		return nil
	}
	err := fits(t.ids, t.acked)
	if err != nil && t.maybe && fits(t.altIDs, 0) == nil {
		return nil
	}
	return err
}

// The consumer: runs are numbered, the checkpoint says how many it covers.
func (s *modelStore) checkpointName() string { return path.Join(modelRoot, s.dir, "obs/c/o.dat") }

func (s *modelStore) openRuns() error {
	covered := 0
	b, err := vfs.ReadFile(s.fs, s.checkpointName(), 100)
	if err == nil {
		if len(b) != 8 {
			return violation("checkpoint of %d bytes", len(b))
		}
		covered = int(binary.LittleEndian.Uint64(b))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	log, runs := s.cq.NewRunLog(path.Join(s.dir, "obs/c"), func() {})
	s.log = log
	n := covered
	for _, r := range runs {
		no, id := int(binary.LittleEndian.Uint64(r)), binary.LittleEndian.Uint64(r[8:])
		if no > len(s.t.runs) || s.t.runs[no-1] != id {
			return violation("run %d with id %d was never written in this life: %v", no, id, s.t.runs)
		}
		if no <= n {
			continue
		}
		if no != n+1 {
			return violation("run %d follows run %d", no, n)
		}
		n = no
	}
	if n < s.t.runAck {
		return violation("%d runs found, %d were durable", n, s.t.runAck)
	}
	s.t.runs, s.t.runAck = s.t.runs[:n], n
	return nil
}

// giveUp ends a life early, as a server does whose disk fails again and again.
func (l *life) giveUp(err error) {
	l.gaveUp = err
	l.fs.Cut()
}

// life is one run of the simulated server, until the power is cut.
type life struct {
	rng    *rand.Rand
	fs     *crashfs.FS
	c      *Committer
	truths map[string]*truth
	stores map[string]*modelStore
	nextID *uint64
	gaveUp error
}

func (l *life) open(opts Options) error {
	c, err := Open(modelRoot, opts)
	if err != nil {
		return err
	}
	l.c = c
	l.stores = map[string]*modelStore{}
	for _, name := range slices.Sorted(maps.Keys(l.truths)) {
		s, err := openStore(c, l.fs, name, l.truths[name])
		if err != nil {
			return fmt.Errorf("store %s: %w", name, err)
		}
		l.stores[name] = s
	}
	return nil
}

func (l *life) append(s *modelStore) {
	rng := l.rng
	var b []byte
	for range 1 + rng.IntN(3) {
		*l.nextID++
		filler := rng.IntN(200)
		if rng.IntN(20) == 0 {
			filler = rng.IntN(6000)
		}
		s.mu.Lock()
		s.t.ids = append(s.t.ids, *l.nextID)
		b = encodeRecord(b, uint64(len(s.t.ids)), *l.nextID, filler)
		s.mu.Unlock()
	}
	s.size += int64(len(b))
	s.submit(&Op{File: s.file, Data: b, Sync: s.t.mode != Always && rng.IntN(8) == 0})
}

// both appends to two files of the queue, which are synced independently.
func (l *life) both(s *modelStore) {
	s.submit(&Op{File: s.side, Data: make([]byte, 1+l.rng.IntN(100))})
	l.append(s)
}

// rotate begins a new block: the old one is synced first, the new one's entry after.
func (l *life) rotate(s *modelStore) {
	name := path.Join(modelRoot, s.block(s.blk+1))
	old := s.file
	err := s.q.Perform(&Op{File: old, Sync: true, Do: func() error {
		vf, err := l.fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if err := l.fs.SyncDir(path.Dir(name)); err != nil {
			l.giveUp(err) // a block that may be there or not
			return err
		}
		s.vf = vf
		return nil
	}})
	if err != nil {
		return
	}
	old.Drop()
	s.blk, s.size = s.blk+1, 0
	s.mu.Lock()
	s.firstOfBlock = len(s.t.ids)
	s.mu.Unlock()
	s.file = s.q.NewFile(s.block(s.blk), s.vf, 0, [8]byte{}, s.t.mode)
}

// rewrite cuts records off the end of the last block, in place.
func (l *life) rewrite(s *modelStore) {
	err := s.q.Perform(&Op{File: s.file, Sync: true})
	if err != nil {
		return
	}
	name := path.Join(modelRoot, s.block(s.blk))
	content, err := vfs.ReadFile(l.fs, name, 1<<30)
	if err != nil {
		return
	}
	_, _, all := scan(content)
	if all != len(content) {
		return
	}
	var ends []int
	for at := 0; at < len(content); {
		at += int(binary.LittleEndian.Uint32(content[at:]))
		ends = append(ends, at)
	}
	if len(ends) < 2 {
		return
	}
	cut := 1 + l.rng.IntN(len(ends)-1)
	kept := content[:ends[len(ends)-1-cut]]
	s.mu.Lock()
	s.t.maybe, s.t.altIDs = true, slices.Clone(s.t.ids[:len(s.t.ids)-cut])
	s.mu.Unlock()
	old := s.file
	err = s.q.Perform(&Op{Forget: s.block(s.blk), Do: func() error {
		if err := vfs.ReplaceFile(l.fs, name, kept, 0o600); err != nil {
			return err
		}
		vf, err := l.fs.OpenFile(name, os.O_RDWR, 0o600)
		s.vf = vf
		return err
	}})
	if err != nil {
		l.giveUp(err) // what is there now is not known
		return
	}
	old.Drop()
	s.mu.Lock()
	s.t.ids, s.t.maybe, s.t.altIDs = s.t.altIDs, false, nil
	s.t.acked = len(s.t.ids)
	s.mu.Unlock()
	s.size = int64(len(kept))
	var tail [8]byte
	if len(kept) >= 8 {
		tail = [8]byte(kept[len(kept)-8:])
	}
	s.file = s.q.NewFile(s.block(s.blk), s.vf, s.size, tail, s.t.mode)
}

// recreate removes the store and makes a new one of the same name.
func (l *life) recreate(s *modelStore) {
	if err := s.q.Perform(&Op{File: s.file, Sync: true}); err != nil {
		return
	}
	dir := path.Join(modelRoot, s.dir)
	gone := path.Join(path.Dir(dir), "."+path.Base(dir))
	s.mu.Lock()
	s.t.maybe, s.t.altIDs = true, nil
	s.mu.Unlock()
	err := s.cq.Perform(&Op{Do: func() error { return nil }})
	if err == nil {
		err = s.q.Perform(&Op{Do: func() error {
			if err := l.fs.Rename(dir, gone); err != nil {
				return err
			}
			return l.fs.SyncDir(path.Dir(dir))
		}})
	}
	if err != nil {
		l.giveUp(err)
		return
	}
	s.file.Drop()
	s.side.Drop()
	s.log.Drop()
	s.mu.Lock()
	s.t.runs, s.t.runAck = nil, 0
	s.mu.Unlock()
	if err = s.q.Perform(&Op{Forget: s.dir}); err != nil {
		l.giveUp(err)
		return
	}
	if err := l.fs.RemoveAll(gone); err != nil {
		l.giveUp(err)
		return
	}
	s.t.epoch++
	n, err := openStore(l.c, l.fs, path.Base(s.dir), s.t)
	if err != nil {
		l.giveUp(err)
		return
	}
	l.stores[path.Base(s.dir)] = n
}

func (l *life) run(s *modelStore) {
	*l.nextID++
	s.mu.Lock()
	s.t.runs = append(s.t.runs, *l.nextID)
	n := len(s.t.runs)
	b := binary.LittleEndian.AppendUint64(nil, uint64(n))
	b = binary.LittleEndian.AppendUint64(b, *l.nextID)
	s.rops = append(s.rops, n)
	s.cq.Submit(&Op{Runs: s.log, Data: b, Lazy: l.rng.IntN(3) == 0})
	s.mu.Unlock()
}

func (l *life) checkpoint(s *modelStore) {
	mark := s.log.Mark()
	s.mu.Lock()
	n := len(s.t.runs)
	s.mu.Unlock()
	if err := vfs.ReplaceFile(l.fs, s.checkpointName(), binary.LittleEndian.AppendUint64(nil, uint64(n)), 0o600); err == nil {
		s.log.Checkpointed(mark)
	}
}

// repair lets a store whose queue failed go on: what is durable moves to a new file.
func (l *life) repair(s *modelStore) error {
	s.q.Perform(&Op{Do: func() error { return nil }}) // all before is complete
	name := path.Join(modelRoot, s.block(s.blk))
	_, durable := s.file.Durable()
	content, err := vfs.ReadFile(l.fs, name, 1<<30)
	if err != nil {
		return err
	}
	kept := content[:durable]
	_, ids, end := scan(kept)
	if int64(end) != durable {
		return violation("durable length %d, records end at %d", durable, end)
	}
	if err := s.q.Perform(&Op{Do: func() error { return vfs.ReplaceFile(l.fs, name, kept, 0o600) }}); err != nil {
		return err
	}
	s.file.Drop()
	if err := s.q.Perform(&Op{Forget: s.block(s.blk)}); err != nil {
		return err
	}
	if s.vf, err = l.fs.OpenFile(name, os.O_RDWR, 0o600); err != nil {
		return err
	}
	var tail [8]byte
	if len(kept) >= 8 {
		tail = [8]byte(kept[len(kept)-8:])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0 // records in this block were submitted behind this many
	for n < len(s.t.ids) && (len(ids) == 0 || s.t.ids[n] != ids[0]) {
		n++
	}
	if len(ids) == 0 {
		n = s.firstOfBlock
	}
	if n+len(ids) < s.t.acked {
		return violation("%d records kept, %d were durable", n+len(ids), s.t.acked)
	}
	s.t.ids = s.t.ids[:n+len(ids)]
	s.t.acked = len(s.t.ids)
	s.size = durable
	s.q.Reset()
	s.file = s.q.NewFile(s.block(s.blk), s.vf, s.size, tail, s.t.mode)
	s.side.Drop()
	name = path.Join(s.dir, "msgs/side")
	side, err := l.fs.OpenFile(path.Join(modelRoot, name+strconv.Itoa(int(*l.nextID))), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	s.side = s.q.NewFile(name, side, 0, [8]byte{}, Always)
	return nil
}

// step does something random to a random store.
func (l *life) step() error {
	name := slices.Sorted(maps.Keys(l.stores))[l.rng.IntN(len(l.stores))]
	s := l.stores[name]
	if s.q.Err() != nil && l.rng.IntN(5) == 0 {
		err := l.repair(s)
		var v *violationError
		if errors.As(err, &v) {
			return err
		}
		if err != nil {
			l.giveUp(err)
		}
		return nil
	}
	switch x := l.rng.IntN(1000); {
	case x < 10:
		l.rotate(s)
	case x < 20:
		l.rewrite(s)
	case x < 25:
		l.recreate(s)
	case x < 90:
		l.run(s)
		s.cq.Start()
	case x < 110:
		l.checkpoint(s)
	case x < 300: // all at once: many files in line
		for _, s := range l.stores {
			if l.rng.IntN(4) > 0 {
				l.append(s)
			}
		}
		for _, s := range l.stores {
			s.q.Start()
		}
	case x < 350:
		l.both(s)
		s.q.Start()
	case x < 650:
		l.append(s)
		s.q.Run()
	default:
		l.append(s)
		s.q.Start()
	}
	return nil
}

// settle ends a life after the cut: everything in flight completes, with an error.
func (l *life) settle() error {
	for _, name := range slices.Sorted(maps.Keys(l.stores)) {
		s := l.stores[name]
		s.q.Perform(&Op{Do: func() error { return nil }})
		s.cq.Perform(&Op{Do: func() error { return nil }})
		s.mu.Lock()
		left, bad := len(s.ops), s.bad
		s.mu.Unlock()
		if bad != nil {
			return violation("store %s: %v", name, bad)
		}
		if left > 0 {
			return violation("store %s: %d ops never completed", name, left)
		}
	}
	return l.c.Close()
}

// foreignServer is another server, one that knows nothing of the journal: it cuts what it
// takes for a torn tail off the last block of a store, and appends records of its own.
func foreignServer(rng *rand.Rand, fsys vfs.FS, name string, t *truth, nextID *uint64) error {
	msgs := path.Join(modelRoot, "jetstream/A/streams", name, "msgs")
	entries, err := fsys.ReadDir(msgs)
	if err != nil {
		return nil // not there yet
	}
	var ids []uint64
	var last string
	var content []byte
	for n := 1; n <= len(entries); n++ {
		file := path.Join(msgs, strconv.Itoa(n)+".blk")
		b, err := vfs.ReadFile(fsys, file, 1<<30)
		if err != nil {
			break
		}
		_, got, end := scan(b)
		if end < len(b) {
			if _, err := fsys.Stat(path.Join(msgs, strconv.Itoa(n+1)+".blk")); err == nil {
				return nil
			}
		}
		ids = append(ids, got...)
		last, content = file, b[:end]
	}
	if last == "" {
		return nil
	}
	for range rng.IntN(3) {
		*nextID++
		ids = append(ids, *nextID)
		content = encodeRecord(content, uint64(len(ids)), *nextID, rng.IntN(300))
		t.ids, t.acked, t.maybe = ids, len(ids), false
	}
	return vfs.ReplaceFile(fsys, last, content, 0o600)
}

// faulty makes some calls fail: everywhere, outside of the journal, or in it.
func faulty(rng *rand.Rand, where int) func(crashfs.Call) error {
	var mu sync.Mutex
	return func(c crashfs.Call) error {
		inJournal := strings.HasPrefix(c.Name, modelRoot+"/natsd")
		if where == 1 && inJournal || where == 2 && !inJournal {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case c.N == 0 || rng.IntN(100) > 0:
			return nil
		case c.Kind == crashfs.Write && rng.IntN(2) == 0:
			return syscall.ENOSPC
		default:
			return syscall.EIO
		}
	}
}

// powerCuts runs a few lives of a server with random work, each ended by a power cut
// at a random I/O call, or by an orderly stop, and returns what was violated.
func powerCuts(seed uint64, m mutation.Set, count func(Event)) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	opts := Options{
		SyncThreads:  1 + rng.IntN(4),
		NoJournal:    rng.IntN(5) == 0,
		JournalFiles: 1 + rng.IntN(4),
		SyncsAlone:   1 + rng.IntN(30),
		SegmentSize:  int64(16<<10) << rng.IntN(3),
		Segments:     2 + rng.IntN(2),
		Listener:     count,
		Mutations:    m,
	}
	mode := []Mode{Always, Always, Interval, External}[rng.IntN(4)]
	truths := map[string]*truth{}
	for i := range 2 + rng.IntN(6) {
		truths["S"+strconv.Itoa(i)] = &truth{mode: mode}
	}
	nextID := uint64(0)
	disk := crashfs.New(seed)
	faults := rng.IntN(3) == 0
	for range 4 {
		opts.FS = disk
		l := &life{rng: rng, fs: disk, truths: truths, nextID: &nextID}
		orderly := rng.IntN(6) == 0
		if !orderly {
			disk.CutAt(1 + rng.Int64N(1+rng.Int64N(1500)))
		}
		err := l.open(opts)
		var v *violationError
		if errors.As(err, &v) {
			return err
		}
		if err == nil {
			if faults && !orderly {
				disk.Inject(faulty(rand.New(rand.NewPCG(seed, 2)), rng.IntN(3)))
			}
			for n := 0; n < 1000; n++ {
				select {
				case <-disk.Done():
					n = 1000
				default:
					if orderly && n > 200 {
						n = 1000
						break
					}
					if err := l.step(); err != nil {
						return err
					}
				}
			}
			if orderly {
				if err = l.gaveUp; err == nil {
					err = l.stop()
				}
			} else {
				disk.Cut()
				err = l.settle()
			}
			if errors.As(err, &v) {
				return err
			}
			if orderly && err != nil {
				return fmt.Errorf("orderly stop: %w", err)
			}
		} else if !errors.Is(err, crashfs.ErrPowerCut) {
			return fmt.Errorf("open: %w", err)
		}
		disk = disk.Crash()
		for _, name := range slices.Sorted(maps.Keys(truths)) {
			if rng.IntN(8) == 0 {
				if err := foreignServer(rng, disk, name, truths[name], &nextID); err != nil {
					return err
				}
			}
		}
	}
	// At last everything must be there without a journal.
	opts.FS, opts.Listener = disk, nil
	l := &life{rng: rng, fs: disk, truths: truths, nextID: &nextID}
	if err := l.open(opts); err != nil {
		return fmt.Errorf("last open: %w", err)
	}
	return l.stop()
}

// stop is an orderly stop: afterwards the journal is empty and all is durable.
func (l *life) stop() error {
	for _, s := range l.stores {
		if err := errors.Join(s.file.Close(), s.side.Close()); err != nil {
			return err
		}
		l.checkpoint(s)
		s.cq.Perform(&Op{Do: func() error { return nil }})
		l.checkpoint(s)
		s.log.Close()
		s.mu.Lock()
		s.t.acked = len(s.t.ids)
		s.mu.Unlock()
	}
	if err := l.c.Close(); err != nil {
		return err
	}
	entries, err := l.fs.ReadDir(path.Join(modelRoot, "natsd"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return violation("the journal is not empty after an orderly stop: %v", entries[0].Name())
	}
	return nil
}

func TestPowerCuts(t *testing.T) {
	var mu sync.Mutex
	var rounds, applied, dropped, present, runs int
	count := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		switch e := e.(type) {
		case JournalRound:
			rounds++
		case JournalReplayed:
			applied += e.Applied
			dropped += e.Dropped
			present += e.Present
			runs += e.Runs
		case JournalDamaged:
			t.Errorf("damage reported: %v", e)
		}
	}
	tried := 0
	for seed := range seedtest.Seeds(t, 300) {
		if err := powerCuts(seed, mutation.Set{}, count); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		tried++
	}
	t.Logf("%d journal rounds; replays applied %d records, found %d, dropped %d; %d runs", rounds, applied, present, dropped, runs)
	if tried >= 100 && (rounds == 0 || applied == 0 || present == 0 || runs == 0) {
		t.Error("the runs did not reach the journal")
	}
}

func TestMutationsAreCaught(t *testing.T) {
	for name, m := range map[string]mutation.Set{
		"complete before sync": {CompleteBeforeSync: true},
		"no chain check":       {SkipChainCheck: true},
		"free before sync":     {FreeBeforeSync: true},
		"out of order":         {OutOfOrder: true},
		"forget ignored":       {IgnoreForget: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(100) {
				if err := powerCuts(seed+1, m, nil); err != nil {
					var v *violationError
					if !errors.As(err, &v) {
						t.Fatal(err)
					}
					t.Logf("caught at seed %d: %v", seed+1, err)
					return
				}
			}
			t.Error("not caught within 100 seeds")
		})
	}
}
