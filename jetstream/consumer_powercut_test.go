package jetstream

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// TestConsumerPowerCut cuts the power while a consumer works. Afterwards no
// message whose ack was confirmed is needed any more, and every message that was
// stored and never acked still is.
func TestConsumerPowerCut(t *testing.T) {
	for seed := range seedtest.Seeds(t, 50) {
		if err := cutConsumer(t, seed, Mutations{}); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// TestConsumerPowerCutNotices: the test above is worth something.
func TestConsumerPowerCutNotices(t *testing.T) {
	for seed := range uint64(20) {
		if err := cutConsumer(t, seed, Mutations{ConfirmEarly: true}); err != nil {
			t.Logf("seed %d: %v", seed, err)
			return
		}
	}
	t.Error("a confirmation before the sync was not noticed in 20 seeds")
}

// cutConsumer runs a consumer through three power cuts.
func cutConsumer(t *testing.T, seed uint64, m Mutations) error {
	r := rand.New(rand.NewPCG(seed, 7))
	fs := crashfs.New(seed)
	stored, acked, confirmed := map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
	for round := range 3 {
		e, err := Open(Options{FS: fs, StoreDir: "/store", ServerName: "S1", MaxMemory: -1, MaxStore: -1, Mutations: m})
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		bus := &testBus{}
		a, err := e.AddAccount("A", bus, &AccountConfig{Limits: unlimited})
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		c := newClient(t, bus)
		// request is false when the power went before the reply.
		request := func(subject, data string) (received, bool) {
			inbox := fmt.Sprintf("_INBOX.%d.%d", round, fs.Changes()+int64(r.Uint32()))
			ch := c.subscribe(inbox)
			c.publish(subject, inbox, data)
			select {
			case got := <-ch:
				return got, true
			case <-fs.Done():
				return received{}, false
			case <-time.After(time.Minute):
				t.Fatalf("seed %d: no reply to %s", seed, subject)
				return received{}, false
			}
		}
		if round == 0 {
			request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"]}`)
			request("$JS.API.CONSUMER.CREATE.S.C", `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","ack_wait":3600000000000}}`)
		} else if err := checkNeeds(a, stored, acked, confirmed); err != nil {
			e.Close()
			return fmt.Errorf("after cut %d: %w", round, err)
		}
		fs.CutAt(1 + r.Int64N(120))
		in := c.subscribe("in")
		for !fs.IsCut() {
			switch r.IntN(3) {
			case 0:
				if got, ok := request("s.x", "message"); ok {
					var seq uint64
					if _, err := fmt.Sscanf(got.data, `{"stream":"S","seq":%d}`, &seq); err == nil && !fs.IsCut() {
						stored[seq] = true
					}
				}
			case 1:
				c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in", `{"batch":3,"no_wait":true}`)
			case 2:
				select {
				case got := <-in:
					if got.reply == "" {
						continue
					}
					var n, seq uint64
					fmt.Sscanf(got.reply, "$JS.ACK.S.C.%d.%d.", &n, &seq)
					if r.IntN(3) == 0 {
						continue // not acked
					}
					acked[seq] = true
					if _, ok := request(got.reply, "+ACK"); ok {
						confirmed[seq] = true
					}
				default:
				}
			}
		}
		e.Close() // fails, since the disk is gone
		fs = fs.Crash()
	}
	return nil
}

// checkNeeds compares the recovered consumer with what clients were told.
func checkNeeds(a *Account, stored, acked, confirmed map[uint64]bool) error {
	c := a.consumer([]byte("S"), []byte("C"))
	if c == nil {
		return fmt.Errorf("the consumer is gone")
	}
	c.state.Lock()
	defer c.state.Unlock()
	for seq := range stored {
		switch need := c.m.Needs(seq); {
		case need && confirmed[seq]:
			return fmt.Errorf("message %d comes again although its ack was confirmed", seq)
		case !need && !acked[seq]:
			return fmt.Errorf("message %d was never acked and is forgotten", seq)
		}
	}
	return nil
}
