package transport

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// TestStrideStress: peers that write pieces of all sizes, in bulk and one by one, some
// of which get answers, are never left waiting for a socket that waits for more: before
// each pause everything that was written has to arrive, and so has the end.
func TestStrideStress(t *testing.T) {
	const (
		conns  = 20
		phases = 30
		long   = time.Minute // a socket that waits for more waits for ever
	)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	pattern := make([]byte, 256+1<<18)
	for i := range pattern {
		pattern[i] = byte(i)
	}
	strode := make(chan struct{}, 1) // a stride was seen
	peer := func(rng *rand.Rand, c *Conn, far *net.TCPConn) error {
		type report struct {
			n   int
			err error
		}
		reads := make(chan report, 1<<10)
		answers := make(chan bool, 1) // whether the peer gets answers from here on
		go func() {
			at, answering := byte(0), false
			err := c.Read(func(b []byte) error {
				select {
				case answering = <-answers:
				default:
				}
				if !bytes.Equal(b, pattern[at:int(at)+len(b)]) {
					return fmt.Errorf("wrong content, from %d on: %x", at, b[:min(len(b), 80)])
				}
				at += byte(len(b))
				if c.raw.stride.long {
					select {
					case strode <- struct{}{}:
					default:
					}
				}
				if answering {
					c.Send([]byte("+OK\r\n"))
				}
				reads <- report{n: len(b)}
				return nil
			})
			reads <- report{err: err}
		}()
		go io.Copy(io.Discard, far)

		deadline := time.NewTimer(long)
		defer deadline.Stop()
		wait := func(n int) error {
			for deadline.Reset(long); n != 0; {
				select {
				case r := <-reads:
					if n -= r.n; r.err != nil && (r.err != io.EOF || n != -1) {
						return fmt.Errorf("%d bytes are missing: %w", n, r.err)
					} else if r.err != nil {
						return nil
					}
				case <-deadline.C:
					return fmt.Errorf("%d bytes did not come (-1: the end)", n)
				}
			}
			return nil
		}
		at := byte(0)
		write := func(n int) error {
			_, err := far.Write(pattern[at : int(at)+n])
			at += byte(n)
			return err
		}
		for range phases {
			most := 1 << (1 + rng.IntN(18)) // the largest piece of this phase
			pieces := 1 + rng.IntN(max(1, min(64, 4<<20/most)))
			alone := rng.IntN(4) == 0 // each piece has to arrive before the next is written
			answers <- rng.IntN(4) == 0
			wrote := 0
			for range pieces {
				n := 1 + rng.IntN(most)
				if err := write(n); err != nil {
					return err
				}
				if wrote += n; alone {
					if err := wait(wrote); err != nil {
						return err
					}
					wrote = 0
				}
			}
			if err := wait(wrote); err != nil {
				return err
			}
			select { // not taken yet if nothing was read
			case <-answers:
			default:
			}
		}
		tail := 2*strideFrom + rng.IntN(strideBytes)
		if err := write(tail); err != nil {
			return err
		}
		if err := far.CloseWrite(); err != nil {
			return err
		}
		if err := wait(tail); err != nil {
			return err
		}
		return wait(-1)
	}
	var wg sync.WaitGroup
	for i := range conns {
		c, far, done := pair(t, true, Config{})
		wg.Go(func() {
			defer done()
			if err := peer(rand.New(rand.NewPCG(seed, uint64(i))), c, far.(*net.TCPConn)); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	select {
	case <-strode:
	default:
		t.Error("no stride was made")
	}
}
