package msgstore

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// place is where the record of a message is.
type place struct {
	block     uint32
	off, size int64
	header    bool
	subject   int64
}

// damage stops a store in good order, damages one of its block files, and perhaps
// takes away what tells of it, and opens it again: every message whose record is
// whole is there, every other one is an error and reported lost, and nothing else
// is returned.
func damage(seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 5))
	disk := crashfs.New(seed)
	cfg := Config{Name: "S", Storage: FileStorage, Subjects: []string{">"}}
	opts := FileOptions{Account: "A", BlockSize: int64(300 + rng.IntN(4000)), Clock: func() time.Time { return time.Unix(0, 77) }}
	switch rng.IntN(3) {
	case 0:
		opts.Keys = KeyRing{Key: []byte("secret"), Cipher: ChaCha}
	case 1:
		opts.Keys = KeyRing{Key: []byte("secret"), Cipher: AES}
	}
	open := func() (*Host, *FileStore, error) {
		h, err := NewHost("/store", HostOptions{FS: disk, Manual: true})
		if err != nil {
			return nil, nil, err
		}
		s, err := OpenFileStore(h, cfg, opts)
		return h, s, err
	}
	h, s, err := open()
	if err != nil {
		return err
	}
	live := map[uint64]uint64{}
	last := uint64(0)
	for range 20 + rng.IntN(60) {
		if last > 0 && rng.IntN(4) == 0 {
			seq := 1 + rng.Uint64N(last)
			delete(live, seq)
			s.RemoveMsg(seq)
			continue
		}
		last++
		m := message(seed<<20 + last)
		if err := s.StoreRawMsg(m.Subject, m.Header, m.Data, last, m.Time, 0, false); err != nil {
			return err
		}
		live[last] = seed<<20 + last
	}
	places := map[uint64]place{}
	starts := map[uint32][]int64{} // of records
	tops := map[uint32]uint64{}    // highest sequences in records
	sizes := map[uint32]int64{}
	for _, b := range s.blocks {
		c, err := s.content(b)
		if err != nil {
			return err
		}
		sizes[b.num] = b.size
		if err := c.each(func(off int, r *record.Record) {
			starts[b.num] = append(starts[b.num], int64(off))
			tops[b.num] = max(tops[b.num], r.Seq)
		}); err != nil {
			return err
		}
		for i := range c.ents {
			e := &c.ents[i]
			places[e.seq] = place{b.num, int64(e.off), int64(e.size), c.hasHeader(e), int64(len(c.subject(e)))}
		}
	}
	tail := s.blocks[len(s.blocks)-1].num
	var nums []uint32
	for n, size := range sizes {
		if size > 0 {
			nums = append(nums, n)
		}
	}
	slices.Sort(nums)
	if err := s.Stop(); err != nil {
		return err
	}
	if err := h.Close(); err != nil {
		return err
	}

	msgs := "/store/jetstream/A/streams/S/msgs"
	num := nums[rng.IntN(len(nums))]
	name := path.Join(msgs, blockName(num))
	from, to := int64(0), sizes[num] // the bytes that are not what they were
	what := rng.IntN(4)
	switch what {
	case 0, 1:
		from = rng.Int64N(sizes[num])
		to = from + 1
		if err := flip(disk, name, from, 1<<rng.IntN(8)); err != nil {
			return err
		}
	case 2:
		from = rng.Int64N(sizes[num])
		f, err := disk.OpenFile(name, 2, 0)
		if err != nil {
			return err
		}
		if err := f.Truncate(from); err != nil {
			return err
		}
		f.Close()
	case 3:
		if err := disk.Remove(name); err != nil {
			return err
		}
	}
	evidence := true
	switch rng.IntN(4) {
	case 0:
		disk.Remove(path.Join(msgs, indexFile))
	case 1:
		if err := flip(disk, path.Join(msgs, indexFile), rng.Int64N(30), 4); err != nil {
			return err
		}
	case 2:
		disk.Remove(path.Join(msgs, indexFile))
		disk.Remove(path.Join(msgs, manifestFile))
		evidence = false
	}
	if h, s, err = open(); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer h.Close()
	defer s.Stop()
	var failed []uint64
	for seq := uint64(1); seq <= last; seq++ {
		id, lives := live[seq]
		p := places[seq]
		hit := p.block == num && from < p.off+p.size && p.off < to
		sm, err := s.LoadMsg(seq, nil)
		switch {
		case err == nil && !lives:
			if evidence {
				return fmt.Errorf("message %d, which was removed, is back", seq)
			}
			continue // its tombstone is what was damaged
		case err == nil:
			if got, err := messageID(sm); err != nil || got != id {
				if at := from - p.off; what < 2 && (at == 20 || at == 21 || p.header && at >= 22+p.subject && at < 26+p.subject) {
					continue // no checksum covers these lengths
				}
				return fmt.Errorf("message %d is wrong: %v", seq, err)
			}
		case lives && !hit:
			return fmt.Errorf("message %d at %d in %d.blk is whole (damage %d in %d.blk at %d to %d): %v", seq, p.off, p.block, what, num, from, to, err)
		case lives:
			failed = append(failed, seq)
		}
	}
	st := s.State()
	switch {
	case !evidence && what == 3:
		return nil // nothing is left that tells of what is missing
	case !evidence && num == tail && what < 2 && from-starts[num][len(starts[num])-1] >= 0 && from-starts[num][len(starts[num])-1] < 4:
		return nil // the last record seems to go on behind the end of the file
	case !evidence && what == 2 && slices.Contains(starts[num], from):
		// All records are whole, and a gap between two blocks proves nothing: what
		// limits removed has no tombstones, and a compaction takes its records away.
		return nil
	}
	told := ^uint64(0) // up to which sequence something tells of what is missing
	if !evidence && what == 2 {
		told = 0
		for n, seq := range tops {
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
	}
}
