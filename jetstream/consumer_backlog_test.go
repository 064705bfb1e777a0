package jetstream

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestBacklogReader: consumers with a subject each get all of their old messages,
// in order, while messages are stored and deleted and consumers start over.
func TestBacklogReader(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { seekBacklog(t, rand.New(rand.NewPCG(seed, 3))) })
	}
}

func seekBacklog(t *testing.T, r *rand.Rand) {
	_, a, c := newTestEngine(t, Options{})
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory"}`)
	const consumers, old = 40, 12_000
	subjects := make(map[uint64]int) // of the messages that are there
	store := a.Stream("S").Store()
	publish := func(n int) {
		first := store.Positions().Visible
		for i := range n {
			k := r.IntN(consumers)
			c.p.Publish(fmt.Appendf(nil, "s.%d", k), nil, nil, []byte("x"))
			subjects[first+uint64(i)+1] = k
			if i%1000 == 999 || i == n-1 {
				c.p.Flush()
				waitFor(t, func() bool { return store.Positions().Visible == first+uint64(i)+1 })
			}
		}
	}
	publish(old)
	inboxes := make([]<-chan received, consumers)
	for i := range consumers {
		inboxes[i] = c.subscribe(fmt.Sprintf("in.%d", i))
		c.request(fmt.Sprintf("$JS.API.CONSUMER.CREATE.S.C%d", i), fmt.Sprintf(`{"stream_name":"S","config":{"durable_name":"C%d","ack_policy":"none","filter_subject":"s.%d"}}`, i, i))
	}
	pull := func(i int) {
		c.publish(fmt.Sprintf("$JS.API.CONSUMER.MSG.NEXT.S.C%d", i), fmt.Sprintf("in.%d", i), "1000000")
	}
	for i := range consumers {
		pull(i)
		switch r.IntN(10) {
		case 0:
			publish(1 + r.IntN(50))
		case 1:
			seq := 1 + r.Uint64N(old)
			if _, ok := subjects[seq]; ok {
				c.request("$JS.API.STREAM.MSG.DELETE.S", fmt.Sprintf(`{"seq":%d}`, seq))
				delete(subjects, seq)
			}
		case 2:
			c.request(fmt.Sprintf("$JS.API.CONSUMER.RESET.S.C%d", r.IntN(i+1)), `{"seq":1}`)
		}
	}
	last := store.Positions().Visible
	for i := range consumers {
		var want []uint64
		for seq := uint64(1); seq <= last; seq++ {
			if k, ok := subjects[seq]; ok && k == i {
				want = append(want, seq)
			}
		}
		// A consumer that started over, and one whose message was deleted after
		// its delivery, get more; in the end all comes in order.
		at := 0
		var before uint64
		for {
			if at == len(want) {
				info := c.request(fmt.Sprintf("$JS.API.CONSUMER.INFO.S.C%d", i), "").data
				if strings.Contains(info, `"num_pending":0`) {
					break
				}
				at = 0 // it had everything when it started over
			}
			m := next(t, inboxes[i])
			var count, seq uint64
			if _, err := fmt.Sscanf(strings.TrimPrefix(m.reply, fmt.Sprintf("$JS.ACK.S.C%d.", i)), "%d.%d.", &count, &seq); err != nil {
				t.Fatal(m, err)
			}
			if m.subject != fmt.Sprintf("s.%d", i) {
				t.Fatalf("consumer %d got %s", i, m.subject)
			}
			if seq <= before {
				at = 0 // started over
			}
			before = seq
			switch {
			case seq == want[at]:
				at++
			case seq > want[at]:
				t.Fatalf("consumer %d got %d, want %d", i, seq, want[at])
			}
		}
	}
	st := a.Stream("S")
	waitFor(t, func() bool {
		st.consumers.backlog.mu.Lock()
		defer st.consumers.backlog.mu.Unlock()
		return !st.consumers.backlog.running
	})
}
