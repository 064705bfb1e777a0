package jetstream

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestCountInSlices: a count that takes many turns of the stream is exact, whatever
// is stored and deleted meanwhile, and the consumer delivers everything once.
func TestCountInSlices(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { countInSlices(t, rand.New(rand.NewPCG(seed, 5))) })
	}
}

func countInSlices(t *testing.T, r *rand.Rand) {
	e, a, c := newTestEngine(t, Options{})
	e.countSlice = 0
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory"}`)
	st := a.Stream("S")
	const old, start = 30_000, 5000
	there := make(map[uint64]bool) // of the filter's messages
	publish := func(n int) {
		first := st.store.Positions().Visible
		for i := range n {
			kind := "abc"[r.IntN(3)]
			c.p.Publish(fmt.Appendf(nil, "s.%c.%d", kind, r.IntN(50)), nil, nil, []byte("x"))
			there[first+uint64(i)+1] = kind == 'a'
			if i%1000 == 999 || i == n-1 {
				c.p.Flush()
				waitFor(t, func() bool { return st.store.Positions().Visible == first+uint64(i)+1 })
			}
		}
	}
	publish(old)
	// The creation is answered when the count is complete: what happens meanwhile
	// goes through other connections.
	done := make(chan received, 1)
	go func() {
		done <- newClient(t, c.bus).request("$JS.API.CONSUMER.CREATE.S.C", fmt.Sprintf(`{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","filter_subject":"s.a.*","deliver_policy":"by_start_sequence","opt_start_seq":%d,"max_ack_pending":-1}}`, start))
	}()
	slices := 0
	for created := false; !created; {
		select {
		case m := <-done:
			created = true
			if strings.Contains(m.data, `"error"`) {
				t.Fatal(m.data)
			}
		default:
			publish(1 + r.IntN(5))
			for range 10 {
				seq := 1 + r.Uint64N(old)
				if _, ok := there[seq]; ok {
					c.request("$JS.API.STREAM.MSG.DELETE.S", fmt.Sprintf(`{"seq":%d}`, seq))
					delete(there, seq)
				}
			}
			slices++
		}
	}
	want := 0
	for seq, matches := range there {
		if matches && seq >= start {
			want++
		}
	}
	info := c.request("$JS.API.CONSUMER.INFO.S.C", "").data
	if !strings.Contains(info, fmt.Sprintf(`"num_pending":%d`, want)) {
		t.Fatalf("wanted %d after %d rounds: %s", want, slices, info)
	}
	in := c.subscribe("in")
	c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in", fmt.Sprint(want))
	last := uint64(0)
	for i := range want {
		m := next(t, in)
		var seq, cseq, stamp, pending uint64
		if _, err := fmt.Sscanf(m.reply, "$JS.ACK.S.C.1.%d.%d.%d.%d", &seq, &cseq, &stamp, &pending); err != nil {
			t.Fatal(m.reply, err)
		}
		if !there[seq] || seq <= last || cseq != uint64(i+1) || pending != uint64(want-i-1) {
			t.Fatalf("delivery %d of %d, behind %d: %s", i+1, want, last, m.reply)
		}
		last = seq
	}
}
