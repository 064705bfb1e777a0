package jetstream

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// Rules in which two features of a stream meet.

// stateIs checks a stream's messages and bounds.
func stateIs(t *testing.T, a *Account, name, want string) {
	t.Helper()
	s := a.Stream(name).state(true)
	if got := fmt.Sprintf("%d messages %d-%d without %v", s.Msgs, s.FirstSeq, s.LastSeq, s.Deleted); got != want {
		t.Errorf("%s has %s, want %s", name, got, want)
	}
}

// What comes from an origin rolls up where rollups are allowed, and is kept only
// where somebody is interested if the retention says so.
func TestOriginRollupAndInterest(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("O", `"subjects":["o.>"],"allow_rollup_hdrs":true`)
		for _, kind := range []string{`"mirror":{"name":"O"}`, `"sources":[{"name":"O"}]`} {
			c.create(kind[1:2]+"rollup", kind+`,"allow_rollup_hdrs":true`)
			c.create(kind[1:2]+"plain", kind)
			c.create(kind[1:2]+"interest", kind+`,"retention":"interest"`)
			c.want(`"name":"k"`, "$JS.API.CONSUMER.CREATE."+kind[1:2]+"interest.k.o.a",
				`{"stream_name":"`+kind[1:2]+`interest","config":{"name":"k","durable_name":"k","ack_policy":"explicit","filter_subject":"o.a"}}`)
		}
		time.Sleep(time.Second)
		for _, m := range [][]string{{"o.a"}, {"o.b"}, {"o.a"}, {"o.c"}, {"o.a", "Nats-Rollup: Sub"}, {"o.b"}} {
			c.want(`"seq":`, m[0], "x", m[1:]...)
			time.Sleep(time.Second) // each one arrives before it is rolled up at its origin
		}
		for _, kind := range []string{"m", "s"} {
			stateIs(t, a, kind+"rollup", "4 messages 2-6 without [3]")
			stateIs(t, a, kind+"plain", "6 messages 1-6 without []")
			stateIs(t, a, kind+"interest", "3 messages 1-6 without [2 4 6]")
		}
		c.want(`"seq":7`, "o.d", "x", "Nats-Rollup: all")
		time.Sleep(time.Second)
		stateIs(t, a, "mrollup", "1 messages 7-7 without []")
		stateIs(t, a, "srollup", "1 messages 7-7 without []")
	})
}

// A schedule on a stream with interest retention goes on and ends, whether or not
// somebody wants what it produces, and leaves nothing that nobody wants.
func TestScheduleWithoutInterest(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s.>"],"retention":"interest","allow_msg_schedules":true`)
		c.want(`"name":"k"`, "$JS.API.CONSUMER.CREATE.S.k.s.plan", `{"stream_name":"S","config":{"name":"k","durable_name":"k","ack_policy":"explicit","filter_subject":"s.plan"}}`)
		c.wantReply(`{"stream":"S","seq":1}`, "s.plan", "x", "Nats-Schedule: @every 10s", "Nats-Schedule-Target: s.out")
		time.Sleep(35 * time.Second)
		synctest.Wait()
		stateIs(t, a, "S", "1 messages 1-4 without [2 3 4]")
		c.wantReply(`{"stream":"S","seq":5}`, "s.other", "", "Nats-Scheduler: s.plan", "Nats-Schedule-Next: purge")
		c.wantReply(`{"stream":"S","seq":6}`, "s.plan", "x", "Nats-Schedule: @at 1999-01-01T00:00:00Z", "Nats-Schedule-Target: s.out")
		time.Sleep(time.Minute)
		synctest.Wait()
		stateIs(t, a, "S", "0 messages 8-7 without []")
	})
}

// What a schedule produces is published as by a client: the stream's transform
// applies to it.
func TestScheduleTransformed(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["in.>"],"subject_transform":{"src":"in.>","dest":"out.>"},"allow_msg_schedules":true`)
		c.wantReply(`{"stream":"S","seq":1}`, "in.plan", "x", "Nats-Schedule: @every 10s", "Nats-Schedule-Target: in.a")
		time.Sleep(25 * time.Second)
		synctest.Wait()
		c.want(`"subjects":{"out.a":2,"out.plan":1}`, "$JS.API.STREAM.INFO.S", `{"subjects_filter":">"}`)
	})
}

// A rollup makes room before it is visible, for messages that are admitted with it.
func TestRollupMakesRoom(t *testing.T) {
	for _, test := range []struct {
		config  string
		refused int
		want    string
	}{
		{`"max_msgs":4`, 6, "4 messages 4-7 without []"},
		{`"max_bytes":110`, 6, "4 messages 4-7 without []"},
		{`"max_msgs":4,"max_msgs_per_subject":3`, 2, "4 messages 4-11 without [5 6 7 8]"},
		{`"max_msgs":4,"max_msgs_per_subject":2,"discard_new_per_subject":true`, 5, "4 messages 3-8 without [4 5]"},
	} {
		inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
			c.create("S", `"subjects":["s.>"],"discard":"new","allow_rollup_hdrs":true,`+test.config)
			acks := c.subscribe("ack")
			list := []string{"a", "a", "a", "a sub", "b", "b", "b", "c", "b", "b sub", "b", "b", "d"}
			for _, m := range list {
				var header []byte
				if len(m) > 1 {
					header = headerBlock([]string{"Nats-Rollup: sub"})
				}
				c.p.Publish([]byte("s."+m[:1]), []byte("ack"), header, nil)
			}
			c.p.Flush()
			synctest.Wait()
			refused := 0
			for range list {
				if m := next(t, acks); m.data[:8] == `{"error"` {
					refused++
				}
			}
			stateIs(t, a, "S", test.want)
			if refused != test.refused {
				t.Errorf("%s: %d refused, want %d", test.config, refused, test.refused)
			}
		})
	}
}

// What a consumer needs that cannot be read is not known: an interest stream keeps
// everything, until that consumer is made anew or deleted.
func TestInterestOfUnreadableConsumer(t *testing.T) {
	dir := t.TempDir()
	e, _, c := newTestEngine(t, Options{StoreDir: dir})
	c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"retention":"interest"}`)
	const make = `{"stream_name":"S","config":{"durable_name":"%s","ack_policy":"explicit","filter_subject":"s.%[1]s"}}`
	for _, name := range []string{"a", "b", "o"} {
		c.want(`"stream_name":"S"`, "$JS.API.CONSUMER.CREATE.S."+name+".s."+name, fmt.Sprintf(make, name))
		c.want(`"seq":`, "s."+name, "x")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	meta := filepath.Join(dir, "jetstream", "A", "streams", "S", "obs", "b", "meta.inf")
	if err := os.WriteFile(meta, []byte("{"), 0o640); err != nil {
		t.Fatal(err)
	}
	_, a, c := newTestEngine(t, Options{StoreDir: dir})
	if err := os.Mkdir(filepath.Join(dir, "jetstream", "A", "streams", "S", "obs", "z"), 0o750); err != nil {
		t.Fatal(err)
	}
	a.Stream("S").consumers.setOffline("z", "why")
	stateIs(t, a, "S", "3 messages 1-3 without []")
	c.wantReply(`{"stream":"S","seq":4}`, "s.b", "x")
	c.want(`"success":true`, "$JS.API.CONSUMER.DELETE.S.o", "")
	stateIs(t, a, "S", "4 messages 1-4 without []")
	c.want(`"num_pending":2`, "$JS.API.CONSUMER.CREATE.S.b.s.b", fmt.Sprintf(make, "b"))
	stateIs(t, a, "S", "4 messages 1-4 without []")
	c.want(`"success":true`, "$JS.API.CONSUMER.DELETE.S.z", "")
	stateIs(t, a, "S", "3 messages 1-4 without [3]")
	c.wantReply(`{"stream":"S","seq":5}`, "s.o", "x")
	stateIs(t, a, "S", "3 messages 1-5 without [3 5]")
}

// Who hears that a consumer is gone finds the messages gone that it needed, however
// slow the disk is: the removal waits for what others have on their way to it.
func TestInterestEndsBeforeTheReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New(1)
		e, a, c := newTestEngine(t, Options{FS: disk, StoreDir: "/store"})
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"retention":"interest"}`)
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.T", `{"name":"T","subjects":["t"]}`)
		for _, name := range []string{"a", "b"} {
			c.want(`"stream_name":"S"`, "$JS.API.CONSUMER.CREATE.S."+name+".s."+name,
				`{"stream_name":"S","config":{"durable_name":"`+name+`","ack_policy":"explicit","filter_subject":"s.`+name+`"}}`)
			c.want(`"seq":`, "s."+name, "x")
		}
		disk.Inject(func(call crashfs.Call) error {
			if call.Kind == crashfs.Sync {
				time.Sleep(time.Second)
			}
			return nil
		})
		c.publish("t", "", "x")
		c.want(`"success":true`, "$JS.API.CONSUMER.DELETE.S.b", "")
		stateIs(t, a, "S", "1 messages 1-2 without [2]")
		disk.Inject(nil)
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A message that is pending under filters of before goes like any other.
func TestPendingOfFormerFilter(t *testing.T) {
	for _, retention := range []string{"limits", "interest"} {
		inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
			c.create("S", `"subjects":["s.>"],"retention":"`+retention+`"`)
			filter := func(f, want string) {
				t.Helper()
				c.want(want, "$JS.API.CONSUMER.DURABLE.CREATE.S.c", `{"stream_name":"S","config":{"durable_name":"c","ack_policy":"explicit","filter_subject":"`+f+`"}}`)
			}
			filter("s.a", `"num_pending":0`)
			for range 3 {
				c.want(`"seq":`, "s.a", "x")
			}
			in, gone := c.subscribe("in"), c.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.c")
			c.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", "in", "3")
			for range 3 {
				next(t, in)
			}
			c.want(`"success":true`, "$JS.API.STREAM.MSG.DELETE.S", `{"seq":2}`)
			c.want(`"num_ack_pending":2`, "$JS.API.CONSUMER.INFO.S.c", "")
			filter("s.b", `"name":"c"`)
			if retention == "limits" {
				c.want(`"num_ack_pending":2`, "$JS.API.CONSUMER.INFO.S.c", "")
				c.want(`"success":true`, "$JS.API.STREAM.MSG.DELETE.S", `{"seq":1}`)
				c.want(`"ack_floor":{"consumer_seq":2,"stream_seq":2},"num_ack_pending":1`, "$JS.API.CONSUMER.INFO.S.c", "")
				c.want(`"success":true`, "$JS.API.STREAM.MSG.DELETE.S", `{"seq":3}`)
			}
			c.want(`"ack_floor":{"consumer_seq":3,"stream_seq":3},"num_ack_pending":0`, "$JS.API.CONSUMER.INFO.S.c", "")
			for _, seq := range []string{"2", "1", "3"} {
				if m := next(t, gone); !strings.Contains(m.data, `"stream_seq":`+seq+`,"deliveries":1,"reason":"`) {
					t.Errorf("%s: %s", retention, m.data)
				}
			}
		})
	}
}

// Messages that expire together are told to the consumers like any others.
func TestExpiryTogether(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s.>"],"max_age":1000000000`)
		for _, name := range []string{"u", "v"} {
			c.want(`"name"`, "$JS.API.CONSUMER.DURABLE.CREATE.S."+name, `{"stream_name":"S","config":{"durable_name":"`+name+`","ack_policy":"explicit"}}`)
		}
		for range 6 {
			c.want(`"seq":`, "s.a", "x")
		}
		in := c.subscribe("in")
		c.publish("$JS.API.CONSUMER.MSG.NEXT.S.v", "in", "3")
		for range 3 {
			next(t, in)
		}
		c.want(`"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":6`, "$JS.API.CONSUMER.INFO.S.u", "")
		c.want(`"num_ack_pending":3,"num_redelivered":0,"num_waiting":0,"num_pending":3`, "$JS.API.CONSUMER.INFO.S.v", "")
		// So do those that a new limit takes away.
		c.want(`"messages":4`, "$JS.API.STREAM.UPDATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory","max_age":1000000000,"max_msgs":4}`)
		c.want(`"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":4`, "$JS.API.CONSUMER.INFO.S.u", "")
		c.want(`"num_ack_pending":1,"num_redelivered":0,"num_waiting":0,"num_pending":3`, "$JS.API.CONSUMER.INFO.S.v", "")
		c.want(`"messages":4`, "$JS.API.STREAM.UPDATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory","max_age":1000000000,"max_bytes":100}`)
		c.want(`"seq":7`, "s.a", strings.Repeat("x", 70))
		c.want(`"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":1`, "$JS.API.CONSUMER.INFO.S.u", "")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		stateIs(t, a, "S", "0 messages 8-7 without []")
		c.want(`"delivered":{"consumer_seq":0,"stream_seq":0},"ack_floor":{"consumer_seq":0,"stream_seq":0}`, "$JS.API.CONSUMER.INFO.S.u", "")
		c.want(`"stream_seq":3`, "$JS.API.CONSUMER.INFO.S.v", "")
		c.want(`"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":0`, "$JS.API.CONSUMER.INFO.S.u", "")
		c.want(`"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":0`, "$JS.API.CONSUMER.INFO.S.v", "")
	})
}

// An origin that answers nonsense is named in the error as what it is. Nothing of that
// gets into subjects and headers here.
func TestOriginAnswersNonsense(t *testing.T) {
	const good = `{"name":"c","config":{"deliver_subject":"d"}}`
	for _, answer := range []struct{ header, data string }{
		{"", "{}"}, {"", "null"}, {"", `{"name":"c"}`}, {"", strings.Repeat("[", 100_000)}, {"", good + "x"},
		{"", `{"name":"c 1 0\r\n\r\nMSG x","config":{"deliver_subject":"d"}}`},
		{"", `{"name":"a.>","config":{"deliver_subject":"d"}}`},
		{"", `{"name":"","config":{"deliver_subject":"d"}}`},
		{"", `{"name":"c","config":{"deliver_subject":">"}}`},
		{"", `{"name":"c","config":{"deliver_subject":"a b"}}`},
		{"", `{"name":"c","config":{}}`},
		{"Nats-Stream-Identity: a b", good},
		{"Nats-Stream-Identity: " + strings.Repeat("x", 65), good},
	} {
		for kind, want := range map[string]string{
			`"mirror":{"name":"O","external":{"api":"X","deliver":""}}`:    `"err_code":10029,"description":"malformed reply"`,
			`"sources":[{"name":"O","external":{"api":"X","deliver":""}}]`: `"err_code":10045,"description":"malformed reply"`,
		} {
			inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
				requests, all := c.subscribe("X.CONSUMER.CREATE.O"), c.subscribe("X.>")
				c.create("S", kind)
				c.publish(next(t, requests).reply, "", answer.data, answer.header)
				synctest.Wait()
				c.want(want, "$JS.API.STREAM.INFO.S", "")
				c.want(`"success":true`, "$JS.API.STREAM.DELETE.S", "")
				next(t, all)
				if name := "X.CONSUMER.DELETE.O.JS_"; !strings.HasPrefix(next(t, all).subject, name) {
					t.Errorf("%q is deleted otherwise", answer)
				}
			})
		}
	}
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		requests := c.subscribe("X.CONSUMER.CREATE.O")
		c.create("S", `"mirror":{"name":"O","external":{"api":"X","deliver":""}}`)
		c.publish(next(t, requests).reply, "", `{"error":{"code":500,"err_code":7,"description":"`+strings.Repeat("y", 1<<20)+`"}}`)
		synctest.Wait()
		c.want(`"error":{"code":500,"err_code":7,"description":"`+strings.Repeat("y", 4096)+`"}`, "$JS.API.STREAM.INFO.S", "")
	})
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		origin := c.externalOrigin("S", `"mirror":{"name":"O","external":{"api":"X","deliver":""}}`)
		all := c.subscribe("stalled.>")
		for _, subject := range []string{"stalled.x 1 0", "stalled.*", "stalled.y"} {
			c.p.Publish([]byte(origin.deliver), nil, []byte("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 0\r\nNats-Consumer-Stalled: "+subject+"\r\n\r\n"), nil)
			c.p.Flush()
		}
		if m := next(t, all); m.subject != "stalled.y" {
			t.Errorf("an answer to %q", m.subject)
		}
	})
}

// A mirror answers direct gets as its origin does: who is pedantic must say so.
func TestPedanticMirrorDirect(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("O", `"subjects":["o"]`)
		c.create("D", `"subjects":["d"],"allow_direct":true`)
		for _, r := range []struct{ origin, direct, want string }{
			{"O", "true", `"err_code":10157`}, {"D", "false", `"err_code":10157`}, {"O", "false", `"did_create":true`}, {"D", "true", `"did_create":true`},
		} {
			name := "M" + r.origin
			c.want(r.want, "$JS.API.STREAM.CREATE."+name, `{"name":"`+name+`","pedantic":true,"storage":"memory","mirror":{"name":"`+r.origin+`"},"mirror_direct":`+r.direct+`}`)
		}
	})
}

// A rollup of everything that is in flight takes away what was accepted before it.
func TestRollupAllInFlight(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s.>"],"allow_rollup_hdrs":true`)
		acks := c.subscribe("ack")
		for _, m := range [][]string{
			{"s.a"},
			{"s.b", "Nats-Rollup: all"},
			{"s.a", "Nats-Expected-Last-Subject-Sequence: 0"},
			{"s.c", "Nats-Expected-Last-Subject-Sequence: 3", "Nats-Expected-Last-Subject-Sequence-Subject: s.a"},
			{"s.b", "Nats-Rollup: all"},
			{"s.d", "Nats-Expected-Last-Subject-Sequence: 5", "Nats-Expected-Last-Subject-Sequence-Subject: s.*"},
			{"s.d", "Nats-Expected-Last-Subject-Sequence: 0", "Nats-Expected-Last-Subject-Sequence-Subject: s.c"},
		} {
			c.p.Publish([]byte(m[0]), []byte("ack"), headerBlock(m[1:]), nil)
		}
		c.p.Flush()
		for seq := 1; seq <= 7; seq++ {
			if got, want := next(t, acks).data, fmt.Sprintf(`{"stream":"S","seq":%d}`, seq); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		stateIs(t, a, "S", "3 messages 5-7 without []")
	})
}

// A stream that lacks more sequences than can be listed tells how many.
func TestDeletedDetailsOfWideGap(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.externalOrigin("M", `"mirror":{"name":"O","external":{"api":"X","deliver":""}}`).send(1, 1<<50, 1<<50+2)
		r := c.request("$JS.API.STREAM.INFO.M", `{"deleted_details":true}`)
		if !strings.Contains(r.data, `"num_deleted":1125899906842623,"deleted":[2,3,`) {
			t.Errorf("%.300s", r.data)
		}
	})
}

// A counter grows beyond the digits of an increment.
func TestCounterOfManyDigits(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("C", `"subjects":["c"],"allow_msg_counter":true`)
		nines := strings.Repeat("9", 4096)
		for _, step := range [][2]string{{nines, nines}, {"1", "1" + strings.Repeat("0", 4096)}, {"-1", nines}, {"0" + nines, "1" + nines[1:] + "8"}} {
			c.want(`"val":"`+step[1]+`"}`, "c", "", "Nats-Incr: "+step[0])
		}
	})
}

// Times beyond those that can be counted in nanoseconds are at the ends of time.
func TestTimesBeyondCounting(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s.>"],"allow_direct":true`)
		c.want(`"seq":1}`, "s.a", "")
		c.want(`"seq":2}`, "s.b", "")
		for at, next := range map[string]int{"1500-01-01T00:00:00Z": 0, "9999-01-01T00:00:00Z": 2} {
			c.want(fmt.Sprintf(`"delivered":{"consumer_seq":0,"stream_seq":%d}`, next), "$JS.API.CONSUMER.CREATE.S",
				`{"stream_name":"S","config":{"ack_policy":"none","deliver_policy":"by_start_time","opt_start_time":"`+at+`"}}`)
		}
		c.want(`"message":{"subject":"s.a","seq":1,`, "$JS.API.STREAM.MSG.GET.S", `{"start_time":"1500-01-01T00:00:00Z","next_by_subj":"s.>"}`)
		c.want(`"err_code":10037`, "$JS.API.STREAM.MSG.GET.S", `{"start_time":"9999-01-01T00:00:00Z","next_by_subj":"s.>"}`)
		if r := c.request("$JS.API.DIRECT.GET.S", `{"multi_last":["s.>"],"up_to_time":"9999-01-01T00:00:00Z"}`); !strings.Contains(r.header, "Nats-Sequence: 1\r\n") {
			t.Errorf("%q", r.header)
		}
	})
}

// What nobody needs any more goes from a stream that lacks most of its sequences.
func TestInterestEndsInWideGap(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		origin := c.externalOrigin("M", `"mirror":{"name":"O","external":{"api":"X","deliver":""}},"retention":"interest"`)
		c.want(`"name":"k"`, "$JS.API.CONSUMER.CREATE.M.k", `{"stream_name":"M","config":{"name":"k","durable_name":"k","ack_policy":"explicit"}}`)
		origin.send(1, 1<<50, 1<<50+2)
		if s := a.Stream("M").state(false); s.Msgs != 3 {
			t.Fatalf("%+v", s)
		}
		c.want(`"success":true`, "$JS.API.CONSUMER.DELETE.M.k", "")
		if s := a.Stream("M").state(false); s.Msgs != 0 || s.LastSeq != 1<<50+2 {
			t.Errorf("%+v", s)
		}
	})
}
