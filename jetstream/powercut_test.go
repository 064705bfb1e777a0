package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// What a client was told before the power went out must hold afterwards.

// promises is what one stream's clients were told.
type promises struct {
	mu       sync.Mutex
	acked    map[uint64]string // sequence -> payload
	gone     map[uint64]bool   // deletion acknowledged
	unsure   map[uint64]bool   // deletion asked for, not acknowledged
	ids      map[string]uint64 // acknowledged message ids
	purgeTo  uint64            // an acknowledged purge has removed everything below
	unsureTo uint64            // one was asked for
}

func newPromises() *promises {
	return &promises{acked: map[uint64]string{}, gone: map[uint64]bool{}, unsure: map[uint64]bool{}, ids: map[string]uint64{}}
}

// tryRequest is a request that may stay without an answer.
func tryRequest(bus *testBus, subject, data string, headers ...string) (string, bool) {
	bus.mu.Lock()
	bus.inbox++
	inbox := fmt.Sprintf("_INBOX.%d", bus.inbox)
	bus.mu.Unlock()
	ch := make(chan string, 4)
	sub, _ := bus.Subscribe(inbox, "", func(msgs []Msg) {
		for i := range msgs {
			ch <- string(msgs[i].Data)
		}
	})
	defer sub.Unsubscribe()
	p := &testPublisher{bus: bus, from: testClient{}}
	p.Publish([]byte(subject), []byte(inbox), headerBlock(headers), []byte(data))
	p.Flush()
	select {
	case r := <-ch:
		return r, true
	case <-time.After(5 * time.Second):
		return "", false
	}
}

type anyReply struct {
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
	Seq       uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	Success   bool   `json:"success"`
	Count     int    `json:"count"`
}

func parseReply(s string, ok bool) (r anyReply, good bool) {
	if !ok || json.Unmarshal([]byte(s), &r) != nil || r.Error != nil {
		return r, false
	}
	return r, true
}

// step does one random thing to a stream, and remembers what was promised.
// It reports false when the stream does not answer well any more.
func (p *promises) step(bus *testBus, name string, n int, rng *rand.Rand) bool {
	lower := strings.ToLower(name)
	payload := fmt.Sprintf("%s-%d-%s", name, n, strings.Repeat("x", rng.IntN(600)))
	switch k := rng.IntN(20); {
	case k < 12:
		var headers []string
		id := ""
		if rng.IntN(3) == 0 {
			id = fmt.Sprintf("id-%d", n)
			headers = append(headers, "Nats-Msg-Id: "+id)
		}
		r, ok := parseReply(tryRequest(bus, lower+".a", payload, headers...))
		if !ok {
			return false
		}
		p.mu.Lock()
		p.acked[r.Seq] = payload
		if id != "" {
			p.ids[id] = r.Seq
		}
		p.mu.Unlock()
		if id != "" && rng.IntN(2) == 0 {
			if d, ok := parseReply(tryRequest(bus, lower+".a", "again", headers...)); ok && (!d.Duplicate || d.Seq != r.Seq) {
				panic(fmt.Sprintf("id %s: %+v after %+v", id, d, r))
			}
		}
	case k < 15:
		batch := fmt.Sprintf("%s-b%d", name, n)
		for i := 1; i < 3; i++ {
			tryRequest(bus, lower+".b", payload, "Nats-Batch-Id: "+batch, fmt.Sprintf("Nats-Batch-Sequence: %d", i))
		}
		r, ok := parseReply(tryRequest(bus, lower+".b", payload, "Nats-Batch-Id: "+batch, "Nats-Batch-Sequence: 3", "Nats-Batch-Commit: 1"))
		if !ok {
			return false
		}
		p.mu.Lock()
		for i := range uint64(3) {
			p.acked[r.Seq-i] = payload
		}
		p.mu.Unlock()
	case k < 19:
		p.mu.Lock()
		var seq uint64
		for s := range p.acked {
			seq = s
			break
		}
		p.unsure[seq] = true
		p.mu.Unlock()
		if seq == 0 {
			return true
		}
		body := fmt.Sprintf(`{"seq":%d,"no_erase":%v}`, seq, rng.IntN(2) == 0)
		if _, ok := parseReply(tryRequest(bus, "$JS.API.STREAM.MSG.DELETE."+name, body)); ok {
			p.mu.Lock()
			p.gone[seq] = true
			p.mu.Unlock()
		}
	default:
		p.mu.Lock()
		var low uint64 = 1 << 62
		for s := range p.acked {
			low = min(low, s)
		}
		to := low + 3
		p.unsureTo = max(p.unsureTo, to)
		p.mu.Unlock()
		if low == 1<<62 {
			return true
		}
		if _, ok := parseReply(tryRequest(bus, "$JS.API.STREAM.PURGE."+name, fmt.Sprintf(`{"seq":%d}`, to))); ok {
			p.mu.Lock()
			p.purgeTo = max(p.purgeTo, to)
			p.mu.Unlock()
		}
	}
	return true
}

// check compares a stream with what was promised about it.
func (p *promises) check(st *Stream) error {
	var s msgstore.State
	st.store.FastState(&s)
	for seq, payload := range p.acked {
		sm, err := st.store.LoadMsg(seq, nil)
		switch {
		case seq < p.purgeTo || p.gone[seq]:
			if err == nil {
				return fmt.Errorf("%s: message %d is back", st.name, seq)
			}
		case seq < p.unsureTo || p.unsure[seq]:
		case err != nil:
			return fmt.Errorf("%s: message %d (of %d to %d): %w", st.name, seq, s.FirstSeq, s.LastSeq, err)
		case string(sm.Data) != payload:
			return fmt.Errorf("%s: message %d is %.40q, want %.40q", st.name, seq, sm.Data, payload)
		}
		if seq > s.LastSeq {
			return fmt.Errorf("%s: last sequence %d, but %d was acknowledged", st.name, s.LastSeq, seq)
		}
	}
	return checkBatches(st, s)
}

// checkBatches looks for a batch of which only a part is there.
func checkBatches(st *Stream, s msgstore.State) error {
	last, err := st.store.LoadMsg(s.LastSeq, nil)
	if err != nil {
		return nil
	}
	h := string(last.Header)
	if strings.Contains(h, hdrBatchID) && !strings.Contains(h, hdrBatchCommit) {
		return fmt.Errorf("%s: ends in the middle of a batch: %q", st.name, h)
	}
	return nil
}

// powerCut runs clients until the power goes out, and returns what does not hold
// afterwards.
func powerCut(t *testing.T, seed uint64, o Options) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	disk := crashfs.New(seed)
	o.FS, o.StoreDir, o.MaxMemory, o.MaxStore = disk, "/store", -1, -1
	o.Events = func(Event) {}
	e, err := Open(o)
	if err != nil {
		return err
	}
	bus := &testBus{}
	if _, err := e.AddAccount("A", bus, &AccountConfig{Limits: unlimited}); err != nil {
		return err
	}
	names := []string{"S1", "S2", "S3"}
	told := make(map[string]*promises)
	for _, name := range names {
		cfg := fmt.Sprintf(`{"name":%q,"subjects":["%s.>"],"allow_atomic":true}`, name, strings.ToLower(name))
		if r, ok := parseReply(tryRequest(bus, "$JS.API.STREAM.CREATE."+name, cfg)); !ok {
			return fmt.Errorf("create: %+v", r)
		}
		told[name] = newPromises()
	}
	disk.CutAt(1 + rng.Int64N(400))
	var wg sync.WaitGroup
	for i, name := range names {
		for c := range 2 {
			rng := rand.New(rand.NewPCG(seed, uint64(10*i+c+2)))
			wg.Go(func() {
				for n := c; ; n += 2 {
					select {
					case <-disk.Done():
						return
					default:
					}
					if !told[name].step(bus, name, n, rng) {
						return
					}
				}
			})
		}
	}
	wg.Wait()
	select {
	case <-disk.Done():
	default:
		return errors.New("the clients gave up before the power went out")
	}
	e.Close() // may well fail
	o.FS = disk.Crash()
	if e, err = Open(o); err != nil {
		return fmt.Errorf("reopening: %w", err)
	}
	defer e.Close()
	a, err := e.AddAccount("A", &testBus{}, &AccountConfig{Limits: unlimited})
	if err != nil {
		return err
	}
	for _, name := range names {
		st := a.Stream(name)
		if st == nil {
			return fmt.Errorf("stream %s is gone: %+v", name, a.offline[name])
		}
		if err := told[name].check(st); err != nil {
			return err
		}
	}
	return nil
}

func TestPowerCut(t *testing.T) {
	for seed := range seedtest.Seeds(t, 30) {
		if err := powerCut(t, seed, Options{}); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// With acknowledgements before the sync, promises must be seen to break: the
// test above can fail.
func TestPowerCutWithoutSync(t *testing.T) {
	for seed := range uint64(20) {
		if err := powerCut(t, seed, Options{SyncInterval: time.Hour}); err != nil {
			t.Logf("seed %d: %v", seed, err)
			return
		}
	}
	t.Error(errors.New("nothing was lost in 20 power cuts without syncs"))
}
