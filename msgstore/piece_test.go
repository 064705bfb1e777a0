package msgstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// Single messages of blocks that were in memory once are read, and removed, without
// their blocks; who reads on, gets the block.
func TestPieces(t *testing.T) {
	for name, keys := range map[string]KeyRing{
		"plain":  {},
		"aes":    {Key: []byte("secret"), Cipher: AES},
		"chacha": {Key: []byte("secret"), Cipher: ChaCha},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 2000
			s := openOn(t, crashfs.New(1), Config{Name: "S", Subjects: []string{">"}}, FileOptions{BlockSize: 40_000, Keys: keys})
			defer stopAll(t, s)
			h := s.disk.host
			h.placeEvery = 1000
			data := func(seq uint64) string { return fmt.Sprintf("%0*d", 40+seq%50, seq) }
			subject := func(seq uint64) string { return fmt.Sprintf("s.%d", seq%10) }
			for seq := uint64(1); seq <= n; seq++ {
				if _, _, err := s.StoreMsg(subject(seq), nil, []byte(data(seq)), 0); err != nil {
					t.Fatal(err)
				}
			}
			load := func(seq uint64) {
				t.Helper()
				m, err := s.LoadMsg(seq, nil)
				if err != nil || m.Subject != subject(seq) || string(m.Data) != data(seq) {
					t.Fatalf("%d: %+v %v", seq, m, err)
				}
			}
			inMemory := func() (n int) {
				for _, b := range s.blocks[:len(s.blocks)-1] {
					if b.cache.Load() != nil {
						n++
					}
				}
				return n
			}
			for seq := uint64(1); seq <= n; seq++ {
				load(seq)
			}
			h.Maintain(cacheIdle + 1)
			if len(s.blocks) < 4 || inMemory() != 0 {
				t.Fatalf("%d blocks, %d in memory", len(s.blocks), inMemory())
			}
			sealed := s.blocks[len(s.blocks)-1].first.seq
			live := map[uint64]bool{}
			for seq := uint64(1); seq <= n; seq++ {
				live[seq] = true
			}
			budget := h.budget
			h.budget = 1 // there is no room
			rng := rand.New(rand.NewPCG(1, 1))
			// Every other turn in another block, so that none is near the one before.
			for i := range 200 {
				b := s.blocks[i%(len(s.blocks)-2)]
				seq := b.first.seq + 1 + rng.Uint64N(b.last.seq-b.first.seq-1)
				if !live[seq] {
					continue
				}
				load(seq)
				if i%2 == 0 {
					if removed, err := s.RemoveMsg(seq); !removed || err != nil {
						t.Fatal(seq, removed, err)
					}
					delete(live, seq)
				}
			}
			if inMemory() != 0 {
				t.Errorf("%d blocks were loaded for single messages", inMemory())
			}
			var want uint64
			for seq := range live {
				want += uint64(30 + len(subject(seq)) + len(data(seq)))
			}
			var st State
			s.FastState(&st)
			if st.Msgs != uint64(len(live)) || st.Bytes != want {
				t.Errorf("%d messages, %d bytes, want %d, %d", st.Msgs, st.Bytes, len(live), want)
			}
			for i := range uint64(10) {
				totals := s.SubjectsTotals(subject(i))
				left := uint64(0)
				for seq := range live {
					if seq%10 == i {
						left++
					}
				}
				if totals[subject(i)] != left {
					t.Errorf("%s: %d, want %d", subject(i), totals[subject(i)], left)
				}
			}
			for seq := uint64(1); seq < sealed; seq++ {
				if live[seq] {
					load(seq)
				} else if _, err := s.LoadMsg(seq, nil); !errors.Is(err, ErrDeletedMsg) && !errors.Is(err, ErrStoreMsgNotFound) {
					t.Errorf("%d: %v", seq, err)
				}
			}
			if inMemory() == 0 {
				t.Error("a reader in order was not given whole blocks")
			}
			h.Maintain(cacheIdle + 1)
			h.budget = budget
			for i := range 2 * (pieceLimit + 2) {
				b := s.blocks[i%2]
				seq := b.first.seq + 1
				for !live[seq] || (seq+uint64(i))%7 == 0 {
					seq++
				}
				load(seq)
			}
			if s.blocks[0].cache.Load() == nil {
				t.Error("a block that many messages were read of one by one was not loaded")
			}
		})
	}
}

// A damaged record is not served as a piece, and is reported; an erased message does
// not stay in memory.
func TestPieceDamage(t *testing.T) {
	disk := crashfs.New(1)
	s := openOn(t, disk, Config{Name: "S", Subjects: []string{">"}}, FileOptions{BlockSize: 40_000})
	defer stopAll(t, s)
	h := s.disk.host
	h.placeEvery = 1000
	for seq := range 1000 {
		if _, _, err := s.StoreMsg("s", nil, fmt.Appendf(nil, "%060d", seq+1), 0); err != nil {
			t.Fatal(err)
		}
	}
	for seq := range uint64(1000) {
		if _, err := s.LoadMsg(seq+1, nil); err != nil {
			t.Fatal(err)
		}
	}
	h.Maintain(cacheIdle + 1)
	const size = 30 + 1 + 60
	name := path.Join(s.disk.msgs, blockName(1))
	content, err := vfs.ReadFile(disk, name, maxBlockFile)
	if err != nil {
		t.Fatal(err)
	}
	content[99*size+50] ^= 1 // of message 100
	f, err := disk.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if m, err := s.LoadMsg(200, nil); err != nil || string(m.Data) != fmt.Sprintf("%060d", 200) {
		t.Errorf("%+v %v", m, err)
	}
	if s.disk.last.Load() == nil {
		t.Error("200 was not read alone")
	}
	var bad *BadRecordError
	if _, err := s.LoadMsg(100, nil); !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
	if _, err := s.LoadMsg(900, nil); err != nil {
		t.Error(err)
	}
	h.Maintain(cacheIdle + 1)
	if _, err := s.LoadMsg(600, nil); err != nil || s.disk.last.Load() == nil || s.disk.last.Load().seq != 600 {
		t.Errorf("%v %+v", err, s.disk.last.Load())
	}
	if erased, err := s.EraseMsg(600); !erased || err != nil {
		t.Error(erased, err)
	}
	if x := s.disk.last.Load(); x != nil {
		t.Errorf("%q stays", x.c.buf)
	}
}

// The time of the first message is known behind a removal, though the message that was
// removed had been read alone when it was not the first yet.
func TestPieceBecomesFirst(t *testing.T) {
	s := openOn(t, crashfs.New(1), Config{Name: "S", Subjects: []string{">"}}, FileOptions{BlockSize: 40_000})
	defer stopAll(t, s)
	h := s.disk.host
	h.placeEvery, h.budget = 1000, 1
	for seq := uint64(1); len(s.blocks) < 2; seq++ {
		if err := s.StoreRawMsg("s", nil, make([]byte, 100), 0, int64(1000+seq), 0, false); err != nil {
			t.Fatal(err)
		}
	}
	forget := func() { h.Maintain(cacheIdle + 1) }
	if _, err := s.LoadMsg(1, nil); err != nil { // the places are known from here on
		t.Fatal(err)
	}
	forget()
	if _, err := s.LoadMsg(2, nil); err != nil || s.blocks[0].cache.Load() != nil {
		t.Fatalf("message 2 was not read alone: %v", err)
	}
	for seq := uint64(1); seq <= 2; seq++ {
		if removed, err := s.RemoveMsg(seq); !removed || err != nil {
			t.Fatal(removed, err)
		}
		var st State
		if s.FastState(&st); st.FirstSeq != seq+1 || st.FirstTime != int64(1000+seq+1) {
			t.Errorf("message %d removed: %+v", seq, st)
		}
		forget()
	}
}

// A stream that does not fit into memory is read in pieces however often, also while
// its blocks were sealed by the store that is open; one that fits is loaded.
func TestPiecesOfLargeStream(t *testing.T) {
	for _, tc := range []struct {
		name   string
		budget int64
		loaded bool
	}{{"no room", 1, false}, {"room", 1 << 30, true}} {
		t.Run(tc.name, func(t *testing.T) {
			s := openOn(t, crashfs.New(1), Config{Name: "S", Subjects: []string{">"}}, FileOptions{BlockSize: 40_000})
			defer stopAll(t, s)
			h := s.disk.host
			h.placeEvery, h.budget = 1000, tc.budget
			for range 1000 {
				if _, _, err := s.StoreMsg("a", nil, make([]byte, 100), 0); err != nil {
					t.Fatal(err)
				}
			}
			b := s.blocks[1]
			if err := s.disk.load(b); err != nil {
				t.Fatal(err)
			}
			h.Maintain(cacheIdle + 1)
			if b.cache.Load() != nil || b.places == nil {
				t.Fatal("the block is in memory, or its places are not known")
			}
			for i := range uint64(4 * pieceLimit) { // here and there
				if _, err := s.LoadMsg(b.first.seq+50+i%2*100, nil); err != nil {
					t.Fatal(err)
				}
			}
			if loaded := b.cache.Load() != nil; loaded != tc.loaded {
				t.Errorf("loaded: %v", loaded)
			}
		})
	}
}
