package jetstream

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// brokenDisk is a simulated disk that takes no writes while broken is set.
func brokenDisk() (disk *crashfs.FS, broken *atomic.Bool) {
	disk, broken = crashfs.New(1), new(atomic.Bool)
	disk.Inject(func(call crashfs.Call) error {
		if broken.Load() && (call.Kind == crashfs.Write || call.Kind == crashfs.Sync || call.Kind == crashfs.Create) {
			return syscall.EIO
		}
		return nil
	})
	return disk, broken
}

// repaired publishes until the stream's store takes it.
func (c *client) repaired(subject string) {
	c.t.Helper()
	for range 100 {
		if r := c.request(subject, ""); !strings.Contains(r.data, `"error"`) {
			return
		}
		time.Sleep(time.Second)
	}
	c.t.Fatal("the store does not recover")
}

// A fast batch that has lost messages with a failed write ends: an ack of what
// follows would cover them.
func TestFastBatchAfterLoss(t *testing.T) {
	disk, broken := brokenDisk()
	inMemory(t, Options{FS: disk, StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.F", `{"name":"F","subjects":["f","g"],"allow_batched":true}`)
		in := c.subscribe("in.>")
		send := func(id string, seq, op int) string {
			c.publish("f", fmt.Sprintf("in.%s.4.ok.%d.%d.$FI", id, seq, op), "x")
			synctest.Wait()
			answers := ""
			for len(in) > 0 {
				answers += (<-in).data
			}
			return answers
		}
		want := func(got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("answered %s, want %s", got, want)
			}
		}
		want(send("whole", 1, 0), `{"type":"ack","seq":0,"msgs":4}`)
		want(send("lossy", 1, 0), `{"type":"ack","seq":0,"msgs":1}{"type":"ack","seq":1,"msgs":2}`)
		broken.Store(true)
		want(send("lossy", 2, 1), "")
		broken.Store(false)
		c.repaired("g")
		want(send("lossy", 3, 1), `{"error":{"code":400,"err_code":10208,"description":"batch publish ID unknown"},"stream":"F","seq":0}`)
		want(send("whole", 2, 2), `{"stream":"F","seq":4,"batch":"whole","count":2}`)
	})
}

// A schedule whose message was lost with a failed write fires again.
func TestScheduleAfterLoss(t *testing.T) {
	disk, broken := brokenDisk()
	inMemory(t, Options{FS: disk, StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"allow_msg_schedules":true}`)
		c.want(`"seq":1}`, "s.plan", "", "Nats-Schedule: @every 10s", "Nats-Schedule-Target: s.out")
		broken.Store(true)
		time.Sleep(15 * time.Second)
		broken.Store(false)
		c.repaired("s.other")
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if n := a.Stream("S").store.SubjectsTotals("s.out")["s.out"]; n < 2 {
			t.Errorf("%d messages since", n)
		}
	})
}

// What a source has sent and was lost with a failed write is asked for again, also
// while others publish without a pause.
func TestSourceAfterLoss(t *testing.T) {
	disk, broken := brokenDisk()
	inMemory(t, Options{FS: disk, StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
		origin := c.externalOrigin("S", `"storage":"file","subjects":["s"],"sources":[{"name":"O","external":{"api":"X","deliver":""}}]`)
		origin.send(1)
		broken.Store(true)
		origin.send(2, 3)
		st := a.Stream("S")
		st.do(func() { st.turn.inflight++ })
		defer st.do(func() { st.turn.inflight-- })
		if r := next(t, origin.requests); !strings.Contains(r.data, `"opt_start_seq":2,`) {
			t.Errorf("asks for %s", r.data)
		}
	})
}

// What was acknowledged while the disk took no writes leaves a work queue when it
// takes them again.
func TestWorkQueueAfterFailure(t *testing.T) {
	disk, broken := brokenDisk()
	inMemory(t, Options{FS: disk, StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.W", `{"name":"W","subjects":["w"],"retention":"workqueue"}`)
		c.want(`"name":"k"`, "$JS.API.CONSUMER.CREATE.W.k", `{"stream_name":"W","config":{"name":"k","durable_name":"k","ack_policy":"explicit"}}`)
		c.want(`"seq":1}`, "w", "")
		in := c.subscribe("in")
		c.publish("$JS.API.CONSUMER.MSG.NEXT.W.k", "in", "1")
		ack := next(t, in).reply
		broken.Store(true)
		c.publish(ack, "", "+ACK")
		time.Sleep(time.Second)
		broken.Store(false)
		c.repaired("w")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if a.Stream("W").store.Has(1) {
			t.Error("the message is still there")
		}
	})
}

// A consumer whose creation comes too late for its stream leaves nothing behind.
func TestCreationInStreamThatGoes(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s"]`)
		goOn := make(chan struct{})
		a.Stream("S").do(func() { <-goOn })
		deleted, created := c.subscribe("deleted"), c.subscribe("created")
		c.publish("$JS.API.STREAM.DELETE.S", "deleted", "")
		synctest.Wait()
		c.publish("$JS.API.CONSUMER.CREATE.S.k", "created", `{"stream_name":"S","config":{"name":"k","durable_name":"k","deliver_subject":"d"}}`)
		synctest.Wait()
		close(goOn)
		if r := next(t, created); !strings.Contains(r.data, `"err_code":10059`) {
			t.Error(r.data)
		}
		if r := next(t, deleted); !strings.Contains(r.data, `"success":true`) {
			t.Error(r.data)
		}
		synctest.Wait()
		if n := len(c.bus.watches); n > 0 {
			t.Errorf("%d watches are left", n)
		}
	})
}

// A restore that the power interrupts leaves no stream, or all of it.
func TestPowerCutInRestore(t *testing.T) {
	_, a, c := newTestEngine(t, Options{})
	c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.R", `{"name":"R","subjects":["r"]}`)
	for i := range 5 {
		c.want(fmt.Sprintf(`"seq":%d}`, i+1), "r", strings.Repeat("x", 3000))
	}
	c.want(`"name":"k"`, "$JS.API.CONSUMER.CREATE.R.k", `{"stream_name":"R","config":{"name":"k","durable_name":"k","ack_policy":"explicit"}}`)
	for version, data := range snapshots(t, a.Stream("R")) {
		restored, interrupted := 0, 0
		for cut := int64(1); restored < 3; cut++ {
			disk := crashfs.New(uint64(cut))
			told := false
			inMemory(t, Options{FS: disk, StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
				disk.CutAt(cut)
				reply, _ := tryRequest(c.bus, "$JS.API.STREAM.RESTORE.R", `{"config":{"name":"R","subjects":["r"]}}`)
				var r jsapi.StreamRestoreResponse
				if err := json.Unmarshal([]byte(reply), &r); err != nil || r.Error != nil {
					t.Fatal(reply)
				}
				for rest := data; len(rest) > 0; {
					n := min(len(rest), 1<<10)
					if _, ok := tryRequest(c.bus, r.DeliverSubject, string(rest[:n])); !ok {
						break
					}
					rest = rest[n:]
				}
				reply, told = tryRequest(c.bus, r.DeliverSubject, "")
				told = told && strings.Contains(reply, `"messages":5,`)
			})
			inMemory(t, Options{FS: disk.Crash(), StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
				switch st := a.Stream("R"); {
				case len(a.Failures()) > 0:
					t.Errorf("version %d, cut at %d: %v", version, cut, a.Failures())
				case st != nil:
					restored++
					if s := st.state(false); s.Msgs != 5 || s.Consumers != 1 {
						t.Errorf("version %d, cut at %d: %+v", version, cut, s)
					}
				case told:
					t.Errorf("version %d, cut at %d: it was restored, and is gone", version, cut)
				default:
					interrupted++
				}
			})
		}
		if interrupted < 10 {
			t.Errorf("version %d was interrupted %d times", version, interrupted)
		}
	}
}

// A stop of the server does not wait for a client that has left its restore alone.
func TestStopDuringIdleRestore(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.want(`"deliver_subject"`, "$JS.API.STREAM.RESTORE.S", `{"config":{"name":"S","storage":"memory"}}`)
		synctest.Wait()
		began := time.Now()
		a.stop()
		if took := time.Since(began); took > 0 {
			t.Errorf("it takes %v", took)
		}
	})
}

// A restore under way counts for the server's limit, and one that fails does not.
func TestRestoreReserves(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		a.engine.SetLimits(100, -1)
		const create = `{"name":"S","storage":"memory","max_bytes":60}`
		r := c.want(`"deliver_subject"`, "$JS.API.STREAM.RESTORE.R", `{"config":{"name":"R","storage":"memory","max_bytes":60}}`)
		var reply jsapi.StreamRestoreResponse
		if err := json.Unmarshal([]byte(r.data), &reply); err != nil {
			t.Fatal(err)
		}
		c.want(`"err_code":10028`, "$JS.API.STREAM.CREATE.S", create)
		time.Sleep(time.Minute) // it stalls
		if n := a.engine.reserved(jsapi.MemoryStorage); n != 0 {
			t.Errorf("%d bytes are reserved", n)
		}
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", create)
		c.want(`"err_code":10028`, "$JS.API.STREAM.UPDATE.S", strings.Replace(create, "60", "101", 1))
		c.want(`"max_bytes":100`, "$JS.API.STREAM.UPDATE.S", strings.Replace(create, "60", "100", 1))
		c.want(`"max_bytes":40`, "$JS.API.STREAM.UPDATE.S", strings.Replace(create, "60", "40", 1))
		if n := a.engine.reserved(jsapi.MemoryStorage); n != 40 {
			t.Errorf("%d bytes are reserved", n)
		}
		c.want(`"success":true`, "$JS.API.STREAM.DELETE.S", "")
		if n := a.engine.reserved(jsapi.MemoryStorage); n != 0 {
			t.Errorf("%d bytes are reserved", n)
		}
	})
}

// A reset that was confirmed is not undone by a power cut.
func TestPowerCutAfterReset(t *testing.T) {
	disk := crashfs.New(1)
	inMemory(t, Options{FS: disk, StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
		c.want(`"name":"k"`, "$JS.API.CONSUMER.CREATE.S.k", `{"stream_name":"S","config":{"name":"k","durable_name":"k","ack_policy":"all"}}`)
		in := c.subscribe("in")
		c.publish("$JS.API.CONSUMER.MSG.NEXT.S.k", "in", "3")
		for seq := 1; seq <= 3; seq++ {
			c.want(fmt.Sprintf(`"seq":%d}`, seq), "s", "")
			c.request(next(t, in).reply, "+ACK")
		}
		time.Sleep(10 * time.Second)
		c.want(`"reset_seq":2`, "$JS.API.CONSUMER.RESET.S.k", `{"seq":2}`)
		disk.Cut()
	})
	inMemory(t, Options{FS: disk.Crash(), StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
		c.want(`"delivered":{"consumer_seq":0,"stream_seq":1},"ack_floor":{"consumer_seq":0,"stream_seq":1},"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":2`,
			"$JS.API.CONSUMER.INFO.S.k", "")
	})
}

// A restored stream opens again, encrypted or not, whatever its archive held.
func TestRestoredStreamOpens(t *testing.T) {
	for _, key := range []string{"", "secret"} {
		for _, msgs := range []int{0, 2} {
			o := Options{FS: crashfs.New(1), StoreDir: "/store", Encryption: Encryption{Key: key}}
			inMemory(t, o, func(t *testing.T, a *Account, c *client) {
				for _, config := range []string{`{"name":"R","subjects":["r"]}`, `{"name":"Q","subjects":["q"],"first_seq":1}`} {
					name, subject := config[9:10], strings.ToLower(config[9:10])
					c.want(`"did_create":true`, "$JS.API.STREAM.CREATE."+name, config)
					for range msgs {
						c.want(`"seq":`, subject, "x")
					}
					archives := snapshots(t, a.Stream(name))
					for version := 1; version <= 2; version++ {
						c.want(`"success":true`, "$JS.API.STREAM.DELETE."+name, "")
						c.restore(name, config, archives[version])
					}
				}
			})
			inMemory(t, o, func(t *testing.T, a *Account, c *client) {
				for _, name := range []string{"R", "Q"} {
					if st := a.Stream(name); st == nil {
						t.Errorf("key %q, %d messages: %v", key, msgs, a.Failures())
					} else if n := st.state(false).Msgs; n != uint64(msgs) {
						t.Errorf("key %q: %d messages, want %d", key, n, msgs)
					}
				}
			})
		}
	}
}
