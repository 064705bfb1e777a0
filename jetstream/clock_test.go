package jetstream

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// inMemory runs a test on virtual time with an engine that touches no disk.
func inMemory(t *testing.T, o Options, test func(*testing.T, *Account, *client)) {
	synctest.Test(t, func(t *testing.T) {
		o.ServerName, o.MaxMemory, o.MaxStore, o.Events = "S1", -1, -1, func(Event) {}
		e, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		bus := &testBus{}
		a, err := e.AddAccount("A", bus, &AccountConfig{Limits: unlimited})
		if err != nil {
			t.Fatal(err)
		}
		test(t, a, newClient(t, bus))
	})
}

func (c *client) create(name, config string) {
	c.t.Helper()
	r := c.request("$JS.API.STREAM.CREATE."+name, fmt.Sprintf(`{"name":%q,"storage":"memory",%s}`, name, config))
	if _, ok := parseReply(r.data, true); !ok {
		c.t.Fatal(r.data)
	}
}

func TestDuplicateWindow(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s"],"duplicate_window":1000000000`)
		c.wantReply(`{"stream":"S","seq":1}`, "s", "x", "Nats-Msg-Id: 1")
		time.Sleep(999 * time.Millisecond)
		c.wantReply(`{"stream":"S","seq":1,"duplicate": true}`, "s", "x", "Nats-Msg-Id: 1")
		time.Sleep(time.Millisecond)
		c.wantReply(`{"stream":"S","seq":2}`, "s", "x", "Nats-Msg-Id: 1")
		if n := a.Stream("S").duplicates.Load(); n != 1 {
			t.Errorf("%d duplicates counted", n)
		}
		// The timer empties the table; nothing is left of it.
		time.Sleep(2 * time.Second)
		synctest.Wait()
		done := make(chan int, 1)
		a.Stream("S").do(func() { done <- int(a.engine.DedupIDs()) })
		if n := <-done; n != 0 {
			t.Errorf("%d ids are remembered", n)
		}
	})
}

func TestMaxAge(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s"],"max_age":1000000000,"allow_msg_ttl":true`)
		c.wantReply(`{"stream":"S","seq":1}`, "s", "x")
		c.wantReply(`{"stream":"S","seq":2}`, "s", "x", "Nats-TTL: never")
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		if n := a.Stream("S").state(false).Msgs; n != 2 {
			t.Errorf("%d messages before their time", n)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if s := a.Stream("S").state(false); s.Msgs != 1 || s.FirstSeq != 2 {
			t.Errorf("after max_age: %+v", s)
		}
	})
}

// What expired while no server ran is gone when the stream is there again, not a timer
// later.
func TestExpiredMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{FS: crashfs.New(1), StoreDir: "/store", ServerName: "S1", MaxMemory: -1, MaxStore: -1, Events: func(Event) {}}
		open := func() (*Engine, *Account, *client) {
			e, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			bus := &testBus{}
			a, err := e.AddAccount("A", bus, &AccountConfig{Limits: unlimited})
			if err != nil {
				t.Fatal(err)
			}
			return e, a, newClient(t, bus)
		}
		e, _, c := open()
		c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"],"max_age":1000000000,"allow_msg_ttl":true}`)
		c.wantReply(`{"stream":"S","seq":1}`, "s", "x")
		c.wantReply(`{"stream":"S","seq":2}`, "s", "x", "Nats-TTL: never")
		c.wantReply(`{"stream":"S","seq":3}`, "s", "x")
		e.Close()
		time.Sleep(time.Minute)
		e, a, _ := open()
		defer e.Close()
		synctest.Wait()
		if s := a.Stream("S").state(false); s.Msgs != 1 || s.FirstSeq != 2 || s.LastSeq != 3 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAtomicBatchTimeout(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s"],"allow_atomic":true`)
		advisories := c.subscribe("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.S")
		c.wantReply("", "s", "x", "Nats-Batch-Id: b", "Nats-Batch-Sequence: 1")
		if n := a.engine.openBatches.Load(); n != 1 {
			t.Errorf("%d open batches", n)
		}
		time.Sleep(defaultBatchTimeout + time.Second)
		synctest.Wait()
		if n := a.engine.openBatches.Load() + a.engine.stagedBytes.Load(); n != 0 {
			t.Errorf("%d left of a batch that timed out", n)
		}
		next(t, advisories)
		c.wantReply(`{"error":{"code":400,"err_code":10176,"description":"atomic publish batch is incomplete"},"stream":"S","seq":0}`,
			"s", "x", "Nats-Batch-Id: b", "Nats-Batch-Sequence: 2", "Nats-Batch-Commit: 1")
	})
}

func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q timers
		start := time.Now()
		var fired []string
		at := func(name string) *timer {
			return &timer{fire: func() { fired = append(fired, fmt.Sprintf("%s@%v", name, time.Since(start))) }}
		}
		a, b, c, d := at("a"), at("b"), at("c"), at("d")
		q.arm(a, start.Add(3*time.Second))
		q.arm(b, start.Add(time.Second))
		q.arm(c, start.Add(2*time.Second))
		q.arm(d, start.Add(time.Second))
		q.disarm(d)
		q.armEarlier(a, start.Add(5*time.Second)) // later: no effect
		q.armEarlier(c, start.Add(500*time.Millisecond))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got, want := fmt.Sprint(fired), "[c@500ms b@1s a@3s]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		q.close()
		q.arm(a, time.Now().Add(time.Second))
		time.Sleep(2 * time.Second)
		if len(fired) != 3 {
			t.Error("a closed queue fired")
		}
	})
}
