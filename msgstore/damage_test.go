package msgstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/internal/manifest"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// place is where the record of a message is.
type place struct {
	block     uint32
	off, size int64
	header    bool
	subject   int64
}

// victim is a store that is damaged while nobody has it open.
type victim struct {
	rng  *rand.Rand
	disk *crashfs.FS
	cfg  Config
	opts FileOptions
	mu   sync.Mutex
	said []string // by the host

	// What it had.
	live   map[uint64]uint64
	last   uint64
	killed bool
	known  uint64 // the last sequence that index.db or the manifest describe
	places map[uint64]place
	tombs  map[uint64][]place
	starts map[uint32][]int64 // of records
	tops   map[uint32]uint64  // highest sequences in records
	sizes  map[uint32]int64
	files  map[uint32]bool // compressed
	tail   uint32
}

const victimDir = "/store/jetstream/A/streams/S"

func (v *victim) open() (*Host, *FileStore, error) {
	h, err := NewHost("/store", HostOptions{FS: v.disk, Manual: true, Events: func(e Event) {
		v.mu.Lock()
		defer v.mu.Unlock()
		if _, ok := e.(commit.SyncDone); !ok {
			v.said = append(v.said, e.String())
		}
	}})
	if err != nil {
		return nil, nil, err
	}
	s, err := OpenFileStore(h, v.cfg, v.opts)
	if err != nil {
		h.Close()
	}
	return h, s, err
}

func newVictim(seed uint64) (*victim, error) {
	rng := rand.New(rand.NewPCG(seed, 5))
	v := &victim{
		rng: rng, disk: crashfs.New(seed),
		cfg:    Config{Name: "S", Storage: FileStorage, Subjects: []string{">"}, Compression: Compression(rng.IntN(4) / 3)},
		opts:   FileOptions{Account: "A", BlockSize: int64(300 + rng.IntN(4000)), Clock: func() time.Time { return time.Unix(0, 77) }},
		places: map[uint64]place{}, tombs: map[uint64][]place{}, starts: map[uint32][]int64{}, tops: map[uint32]uint64{},
		sizes: map[uint32]int64{}, files: map[uint32]bool{}, killed: rng.IntN(3) == 0,
	}
	switch rng.IntN(3) {
	case 0:
		v.opts.Keys = KeyRing{Key: []byte("secret"), Cipher: ChaCha}
	case 1:
		v.opts.Keys = KeyRing{Key: []byte("secret"), Cipher: AES}
	}
	switch rng.IntN(6) {
	case 0:
		v.cfg.MaxMsgs = 10 + rng.Int64N(30)
	case 1:
		v.cfg.MaxMsgsPerSubject = 2 + rng.Int64N(8)
	}
	h, s, err := v.open()
	if err != nil {
		return nil, err
	}
	for range 20 + rng.IntN(60) {
		switch x := rng.IntN(40); {
		case v.last > 0 && x < 10:
			s.RemoveMsg(1 + rng.Uint64N(v.last))
		case v.last > 0 && x == 10:
			_, err = s.PurgeEx(messageSubject(rng.Uint64N(3)), 0, rng.Uint64N(4))
		case v.last > 3 && x == 11:
			_, err = s.Compact(v.last - rng.Uint64N(3))
		case x < 14:
			h.Maintain(rng.Int64N(150))
		default:
			v.last++
			m := message(seed<<20 + v.last)
			err = s.StoreRawMsg(m.Subject, m.Header, m.Data, v.last, m.Time, 0, false)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := v.survey(s); err != nil {
		return nil, err
	}
	if v.killed {
		v.disk = v.disk.Kill()
		s.Stop()
		h.Close()
	} else if err := errors.Join(s.Stop(), h.Close()); err != nil {
		return nil, err
	}
	for _, e := range v.sidecars() {
		if n := blockNumber(e); n > 0 {
			content, err := vfs.ReadFile(v.disk, path.Join(victimDir, "msgs", e), 1<<30)
			if err != nil {
				return nil, err
			}
			v.files[n] = int64(len(content)) != v.sizes[n]
			v.sizes[n] = int64(len(content))
		}
	}
	if b, err := vfs.ReadFile(v.disk, path.Join(victimDir, "msgs", manifestFile), 1<<20); err == nil {
		x, err := manifest.Decode(b, "S")
		if err != nil {
			return nil, err
		}
		v.known = x.LastSeq
	}
	return v, nil
}

// sidecars are the names of the files of the stream, blocks included.
func (v *victim) sidecars() (names []string) {
	for _, dir := range []string{"", "msgs"} {
		entries, _ := v.disk.ReadDir(path.Join(victimDir, dir))
		for _, e := range entries {
			if !e.IsDir() {
				names = append(names, e.Name())
			}
		}
	}
	return names
}

// survey notes what the store has, and where.
func (v *victim) survey(s *FileStore) error {
	found, err := inspect(s)
	if err != nil {
		return err
	}
	v.live = found.live
	for _, b := range s.blocks {
		c, err := s.content(b)
		if err != nil {
			return err
		}
		v.sizes[b.num] = b.size
		if err := c.each(func(off int, r *record.Record) {
			v.starts[b.num] = append(v.starts[b.num], int64(off))
			if r.Kind == record.Tombstone {
				v.tombs[r.Seq] = append(v.tombs[r.Seq], place{block: b.num, off: int64(off), size: int64(r.Size)})
			}
			v.tops[b.num] = max(v.tops[b.num], r.Seq)
		}); err != nil {
			return err
		}
		for i := range c.ents {
			e := &c.ents[i]
			v.places[e.seq] = place{b.num, int64(e.off), int64(e.size), c.hasHeader(e), int64(len(c.subject(e)))}
		}
	}
	v.tail = s.blocks[len(s.blocks)-1].num
	return nil
}

// harm damages a file: a bit (0, 1), cut (2) or gone (3). It returns which bytes are
// not what they were.
func (v *victim) harm(name string, what int) (from, to int64, err error) {
	b, err := vfs.ReadFile(v.disk, name, 1<<30)
	if err != nil {
		return 0, 0, err
	}
	to = int64(len(b))
	if what < 3 && to == 0 {
		what = 3
	}
	switch what {
	case 0, 1:
		from = v.rng.Int64N(to)
		to = from + 1
		return from, to, flip(v.disk, name, from, 1<<v.rng.IntN(8))
	case 2:
		from = v.rng.Int64N(to)
		f, err := v.disk.OpenFile(name, 2, 0)
		if err != nil {
			return 0, 0, err
		}
		defer f.Close()
		return from, to, f.Truncate(from)
	}
	return 0, to, v.disk.Remove(name)
}

// damage stops or kills a store, damages one of its block files, and perhaps takes
// away what tells of it, and opens it again: every message whose record is whole is
// there, every other one is an error and reported lost, and nothing else is returned.
func damage(seed uint64) error {
	v, err := newVictim(seed)
	if err != nil {
		return err
	}
	rng := v.rng
	msgs := path.Join(victimDir, "msgs")
	var nums []uint32
	for n, size := range v.sizes {
		if size > 0 {
			nums = append(nums, n)
		}
	}
	if len(nums) == 0 {
		return nil
	}
	slices.Sort(nums)
	num := nums[rng.IntN(len(nums))]
	what := rng.IntN(4)
	from, to, err := v.harm(path.Join(msgs, blockName(num)), what)
	if err != nil {
		return err
	}
	if v.files[num] {
		from, to = 0, 1<<40 // what a byte of a compressed block stands for is not known
	}
	evidence := !v.killed
	switch rng.IntN(4) {
	case 0:
		v.disk.Remove(path.Join(msgs, indexFile))
	case 1:
		if _, err := v.disk.Stat(path.Join(msgs, indexFile)); err == nil {
			if err := flip(v.disk, path.Join(msgs, indexFile), rng.Int64N(30), 4); err != nil {
				return err
			}
		}
	case 2:
		v.disk.Remove(path.Join(msgs, indexFile))
		v.disk.Remove(path.Join(msgs, manifestFile))
		evidence, v.known = false, 0
	}
	return v.judge(num, what, from, to, evidence)
}

// judge opens a store of which the bytes from..to of block num are damaged.
func (v *victim) judge(num uint32, what int, from, to int64, evidence bool) error {
	live := v.live
	limited := v.cfg.MaxMsgs+v.cfg.MaxMsgsPerSubject > 0
	hits := func(p place) bool { return p.block == num && from < p.off+p.size && p.off < to }
	seen, lacks, err := v.examine()
	if err != nil {
		return err
	}
	h, s, err := v.open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer h.Close()
	defer s.Stop()
	var failed []uint64
	for seq := uint64(1); seq <= v.last; seq++ {
		id, lives := live[seq]
		p := v.places[seq]
		hit := hits(p)
		sm, err := s.LoadMsg(seq, nil)
		if (err == nil) != seen[seq] && !(v.killed && limited) {
			return fmt.Errorf("message %d (lives %v, damage %d in %d.blk at %d to %d, killed %v): %v; the checker sees it: %v", seq, lives, what, num, from, to, v.killed, err, seen[seq])
		}
		switch {
		case err == nil && !lives:
			// Its tombstone may be what was damaged, or a message that had pushed it out
			// or, without index.db, whatever said that it is gone.
			if evidence || v.killed && seq <= v.known && !slices.ContainsFunc(v.tombs[seq], hits) && !limited {
				return fmt.Errorf("message %d, which was removed, is back", seq)
			}
			continue
		case err == nil:
			if got, err := messageID(sm); err != nil || got != id {
				if at := from - p.off; what < 2 && (at == 20 || at == 21 || p.header && at >= 22+p.subject && at < 26+p.subject) {
					continue // no checksum covers these lengths
				}
				return fmt.Errorf("message %d is wrong: %v", seq, err)
			}
		case lives && !hit && !evidence && limited && (err == ErrStoreMsgNotFound || err == ErrDeletedMsg):
			continue // what came back has pushed it out
		case lives && !hit:
			return fmt.Errorf("message %d at %d in %d.blk is whole (damage %d in %d.blk at %d to %d): %v", seq, p.off, p.block, what, num, from, to, err)
		case lives:
			failed = append(failed, seq)
		}
	}
	st := s.State()
	if st.Lost != nil && len(st.Lost.Msgs) > 0 && !lacks {
		return fmt.Errorf("lost are %v, and the checker finds no damage (damage %d in %d.blk at %d to %d, killed %v)", st.Lost.Msgs, what, num, from, to, v.killed)
	}
	starts := v.starts[num]
	switch {
	case !evidence && what == 3:
		return nil // nothing is sure to be left that tells of what is missing
	case !evidence && num == v.tail && what < 2 && len(starts) > 0 && from-starts[len(starts)-1] >= 0 && from-starts[len(starts)-1] < 4:
		return nil // the last record seems to go on behind the end of the file
	case !evidence && what == 2 && (slices.Contains(starts, from) || v.files[num]):
		// All records are whole, and a gap between two blocks proves nothing: what
		// limits removed has no tombstones, and a compaction takes its records away.
		return nil
	}
	told := ^uint64(0) // up to which sequence something tells of what is missing
	if !evidence && (what == 2 || to-from > 1) {
		told = v.known
		for n, seq := range v.tops {
			if n > num {
				told = max(told, seq)
			}
		}
	}
	for _, seq := range failed {
		if seq > told {
			continue
		}
		if st.Lost == nil || !slices.Contains(st.Lost.Msgs, seq) {
			return fmt.Errorf("message %d is gone without a report (damage %d in %d.blk at %d, evidence %v)", seq, what, num, from, evidence)
		}
	}
	if st.Lost != nil {
		for _, seq := range st.Lost.Msgs {
			if _, lives := live[seq]; evidence && (!lives || !slices.Contains(failed, seq)) {
				return fmt.Errorf("message %d is reported lost", seq)
			}
		}
	}
	return nil
}

// examine returns the messages that the offline checker can read, and whether it finds
// damage.
func (v *victim) examine() (seen map[uint64]bool, damage bool, err error) {
	opts := check.Options{FS: v.disk, Keys: v.opts.Keys}
	rep, err := check.Verify("/store", opts)
	if err != nil {
		return nil, false, fmt.Errorf("verify: %w", err)
	}
	seen = map[uint64]bool{}
	err = check.Messages("/store", opts, func(m *check.Message) error {
		seen[m.Seq] = true
		return nil
	})
	return seen, !rep.Clean, err
}

// damageSidecar damages a file that is no block. What the stream had is still there and
// nothing else is, unless the file is one that nothing can stand in for: then opening
// it says so, or the host does.
func damageSidecar(seed uint64) error {
	v, err := newVictim(seed)
	if err != nil {
		return err
	}
	var names []string
	for _, name := range v.sidecars() {
		if blockNumber(name) == 0 {
			names = append(names, name)
		}
	}
	name := names[v.rng.IntN(len(names))]
	file := path.Join(victimDir, "msgs", name)
	if strings.HasPrefix(name, "meta.") {
		file = path.Join(victimDir, name)
	}
	what := v.rng.IntN(4)
	from, _, err := v.harm(file, what)
	if err != nil {
		return err
	}
	if digits, ok := strings.CutSuffix(name, ".key"); ok && name != metaKey {
		if err := v.judge(blockNumber(digits+".blk"), 0, 0, 1<<40, !v.killed); err != nil {
			return fmt.Errorf("%s damaged: %w", name, err)
		}
		return nil
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s damaged (%d at %d, killed %v): "+format+"; %q", slices.Concat([]any{name, what, from, v.killed}, args, []any{v.said})...)
	}
	if _, err := ReadStreamMeta(v.disk, victimDir, "A", v.opts.Keys); err != nil {
		if !strings.HasPrefix(name, "meta.") {
			return fail("meta.inf: %v", err)
		}
		return nil // the server does not open the stream, and says why
	}
	h, s, err := v.open()
	if err != nil {
		if name == metaKey {
			return nil
		}
		return fail("open: %v", err)
	}
	defer h.Close()
	defer s.Stop()
	for seq := uint64(1); seq <= v.last; seq++ {
		id, lives := v.live[seq]
		sm, err := s.LoadMsg(seq, nil)
		switch {
		case err == nil && !lives:
			if v.killed && name == floorFile && len(v.said) > 0 {
				continue // it alone said so; the host has reported it
			}
			return fail("message %d, which was removed, is back", seq)
		case err == nil:
			if got, err := messageID(sm); err != nil || got != id {
				return fail("message %d is wrong: %v", seq, err)
			}
		case lives:
			return fail("message %d: %v", seq, err)
		}
	}
	st := s.State()
	if st.Lost != nil && !(v.killed && name == floorFile) {
		return fail("lost %v", st.Lost.Msgs)
	}
	return nil
}

// flip inverts bits of a byte of a file.
func flip(disk *crashfs.FS, name string, off int64, bits byte) error {
	f, err := disk.OpenFile(name, 2, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		return err
	}
	b[0] ^= bits
	_, err = f.WriteAt(b[:], off)
	return err
}

func TestDamage(t *testing.T) {
	for seed := range seedtest.Seeds(t, 300) {
		if err := damage(seed); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if err := damageSidecar(seed); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// Damages that were not reported in full: blocks whose keys are gone, before blocks
// that hold no live message, or whose beginning is below floor.db's floor; and one
// whose messages are known from the tombstone of a later block alone.
func TestDamagedKeys(t *testing.T) {
	for _, seed := range []uint64{4757, 6845, 8756, 9232} {
		if err := damageSidecar(seed); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}
