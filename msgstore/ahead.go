package msgstore

import (
	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/record"
)

// readAhead reads the blocks of a replay in their order, a few of them before
// their turn. Decryption, decompression and checksums, which are half of the work,
// are done by other goroutines meanwhile; the rest belongs to the goroutine of the
// replay. It makes all calls to the disk, so that they come in one order.
type readAhead struct {
	r     *recovery
	next  int // in recovery.files: the first that was not begun
	begun []*checked
}

// mostAhead bounds the blocks that are in memory before their turn, over all
// replays of a host: enough for eight processors, at most 64 MiB of content.
const mostAhead = 8

// checked is a block whose content is on its way to the replay.
type checked struct {
	b     *block
	cache *cache
	size  int               // of the file
	bad   []blockcomp.Range // what could not be decompressed
	whole bool              // all records are whole, and they ascend
	first uint64            // lowest sequence of its records but tombstones, 0 if there is none
	err   error             // of the disk
	token bool              // of Host.ahead
	done  chan struct{}     // closed when the rest may be read
}

// take returns block number i of recovery.files, which is b if that is known. The
// calls ask for one after the other.
func (a *readAhead) take(i int, b *block) *checked {
	if len(a.begun) == 0 {
		a.next = i
		a.begin(b)
	}
	x := a.begun[0]
	a.begun = a.begun[1:]
	for a.next < len(a.r.files) && x.err == nil && a.reserve() {
		a.begin(nil)
		a.begun[len(a.begun)-1].token = true
	}
	a.free(x)
	<-x.done
	return x
}

// stop waits for what was begun.
func (a *readAhead) stop() {
	for _, x := range a.begun {
		a.free(x)
		<-x.done
	}
	a.begun = nil
}

// reserve says whether there is room for one more block.
func (a *readAhead) reserve() bool {
	select {
	case a.r.d.host.ahead <- struct{}{}:
		return true
	default:
		return false
	}
}

func (a *readAhead) free(x *checked) {
	if x.token {
		<-a.r.d.host.ahead
	}
}

// begin reads the next block.
func (a *readAhead) begin(b *block) {
	d := a.r.d
	if b == nil {
		b = a.r.newBlock(a.r.files[a.next])
	}
	a.next++
	x := &checked{b: b, cache: newCache(), done: make(chan struct{})}
	a.begun = append(a.begun, x)
	var buf []byte
	if b.file.locked == "" {
		buf, x.err = d.readFile(b, nil, -1)
	}
	if b.file.locked != "" || x.err != nil {
		close(x.done)
		return
	}
	key := record.NewKey(d.name, b.num) // here: the replay changes cfg
	go func() {
		defer close(x.done)
		x.size = len(buf)
		if b.file.key != nil {
			b.file.key.Stream().XORAt(buf, buf, 0)
		}
		c := x.cache
		c.buf, c.compressed, x.bad = plain(buf)
		if len(x.bad) == 0 {
			x.first, x.whole = d.quick(key, c, 0)
		}
	}()
}
