package jetstream

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// TestReplaySettles: which messages the runs of the journal settle, so that a start
// makes good what did not follow from them.
func TestReplaySettles(t *testing.T) {
	type run = consumerstate.Run
	type step = consumerstate.Step
	delivered := func(first, n uint64) step {
		return step{Kind: consumerstate.StepDelivered, SSeq: first, DSeq: first, Num: n, DC: 1, Time: 1}
	}
	acked := func(sseq, dseq uint64) step {
		return step{Kind: consumerstate.StepAcked, SSeq: sseq, DSeq: dseq, Num: 1}
	}
	givenUp := step{Kind: consumerstate.StepDelivered, SSeq: 2, DSeq: 3, Num: 1, DC: 3, Time: 1}
	reset := step{Kind: consumerstate.StepReset}
	for _, c := range []struct {
		name      string
		policy    jsapi.AckPolicy
		epoch, op uint64 // of the checkpoint, which holds pending
		pending   []uint64
		runs      []run
		want      []uint64
	}{
		{name: "one by one", runs: []run{{Epoch: 1, Op: 1, Steps: []step{delivered(1, 3)}}, {Epoch: 1, Op: 2, Steps: []step{acked(1, 1), acked(3, 3)}}}, want: []uint64{1, 3}},
		{name: "given up and acknowledged late", runs: []run{{Epoch: 1, Op: 1, Steps: []step{delivered(1, 3), givenUp, acked(2, 0)}}}, want: []uint64{2}},
		{name: "all up to one", policy: jsapi.AckFlowControl, runs: []run{{Epoch: 1, Op: 1, Steps: []step{delivered(1, 5)}}, {Epoch: 1, Op: 2, Steps: []step{acked(4, 4)}}}, want: []uint64{1, 2, 3, 4}},
		{name: "all, some pending before", policy: jsapi.AckAll, epoch: 1, op: 1, pending: []uint64{1, 2}, runs: []run{{Epoch: 1, Op: 2, Steps: []step{delivered(3, 1), acked(3, 3)}}}, want: []uint64{1, 2, 3}},
		{name: "all, given up", policy: jsapi.AckAll, runs: []run{{Epoch: 1, Op: 1, Steps: []step{delivered(1, 2), givenUp}}}},
		{name: "reset", policy: jsapi.AckAll, runs: []run{{Epoch: 1, Op: 1, Steps: []step{delivered(1, 5)}}, {Epoch: 1, Op: 2, Steps: []step{reset}}}},
		{name: "held by the checkpoint", epoch: 1, op: 2, runs: []run{{Epoch: 1, Op: 1, Steps: []step{delivered(1, 1)}}, {Epoch: 1, Op: 2, Steps: []step{acked(1, 1)}}}, want: []uint64{1}},
		{name: "of an earlier start", epoch: 2, op: 0, runs: []run{{Epoch: 1, Op: 1, Steps: []step{delivered(1, 1)}}, {Epoch: 1, Op: 2, Steps: []step{acked(1, 1)}}}},
	} {
		cfg := &jsapi.ConsumerConfig{AckPolicy: jsapi.AckExplicit, MaxDeliver: 2}
		if c.policy != 0 {
			cfg.AckPolicy = c.policy
		}
		tr := consumerstate.NewTracker(trackerConfig(cfg))
		for _, seq := range c.pending {
			if err := tr.Deliver(seq, seq, 1, 1); err != nil {
				t.Fatal(err)
			}
		}
		tr.Resume(c.epoch, c.op)
		var runs [][]byte
		for _, r := range c.runs {
			runs = append(runs, r.AppendTo(nil))
		}
		if got, err := replay(tr, runs, cfg.AckPolicy); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v %v, want %v", c.name, got, err, c.want)
		}
	}
}

// TestGivenUpMessageGoes: a message that was given up counts as redelivered until it
// leaves the stream, also when the floor has passed it.
func TestGivenUpMessageGoes(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s"]`)
		c.request("s", "1")
		c.request("s", "2")
		c.want(`"num_pending":2`, "$JS.API.CONSUMER.CREATE.S.c", `{"stream_name":"S","config":{"durable_name":"c","ack_policy":"explicit","max_deliver":2}}`)
		in := c.subscribe("in")
		c.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", "in", "2")
		one, two := next(t, in), next(t, in)
		c.publish(two.reply, "", "-NAK")
		c.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", "in", "2")
		c.publish(next(t, in).reply, "", "-NAK")
		c.request(one.reply, "+ACK")
		c.publish("s", "", "3")
		c.request(next(t, in).reply, "+ACK")
		c.want(`"ack_floor":{"consumer_seq":4,"stream_seq":3,`, "$JS.API.CONSUMER.INFO.S.c", "")
		c.want(`"num_redelivered":1,`, "$JS.API.CONSUMER.INFO.S.c", "")
		c.want(`"success":true`, "$JS.API.STREAM.MSG.DELETE.S", `{"seq":2}`)
		c.want(`"num_redelivered":0,`, "$JS.API.CONSUMER.INFO.S.c", "")
	})
}

// TestCutStateIsWritten: a consumer whose stream has lost its end goes on from a state
// that says so on disk, before the sequences are given again.
func TestCutStateIsWritten(t *testing.T) {
	o := Options{StoreDir: t.TempDir()}
	e, a, c := newTestEngine(t, o)
	c.want(`"name":"S"`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
	c.request("$JS.API.CONSUMER.CREATE.S.C", `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}`)
	in := c.subscribe("in")
	for range 3 {
		c.request("s", "m")
		c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in", "1")
		c.request(next(t, in).reply, "+ACK")
	}
	files := a.consumer([]byte("S"), []byte("C")).filesOptions()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := files.FS.RemoveAll(strings.TrimSuffix(files.Dir, "/obs/C") + "/msgs"); err != nil {
		t.Fatal(err)
	}
	_, _, c = newTestEngine(t, o)
	c.want(`"delivered":{"consumer_seq":3,"stream_seq":0},"ack_floor":{"consumer_seq":3,"stream_seq":0}`, "$JS.API.CONSUMER.INFO.S.C", "")
	f, _, err := consumerstate.OpenFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	if s, _, err := f.ReadState(); err != nil || s.Delivered.Stream != 0 || s.AckFloor.Stream != 0 {
		t.Errorf("on disk: %+v %v", s, err)
	}
}

// TestTurnAfterTheEnd: a turn that comes after a consumer was deleted says nothing to
// its log, which another consumer of the name may have by then.
func TestTurnAfterTheEnd(t *testing.T) {
	_, a, c := newTestEngine(t, Options{})
	c.want(`"name":"S"`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
	c.request("s", "m")
	c.request("$JS.API.CONSUMER.CREATE.S.C", `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}`)
	in := c.subscribe("in")
	c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in", "1")
	next(t, in)
	x := a.consumer([]byte("S"), []byte("C"))
	waitFor(t, func() bool { return !x.busy() })
	x.in.mu.Lock()
	x.in.running = true // in line
	x.in.events = append(x.in.events, streamEvent{seq: 1})
	x.in.mu.Unlock()
	c.want(`"success":true`, "$JS.API.CONSUMER.DELETE.S.C", "")
	op := x.log.op
	x.stream.engine.consumers.push(x)
	waitFor(t, func() bool { return !x.busy() })
	if x.log.op != op {
		t.Error("a run was written after the end")
	}
}

// TestBoundWithFullInbox: a consumer whose inbox is full hears of the interest in its
// deliver subject.
func TestBoundWithFullInbox(t *testing.T) {
	_, a, c := newTestEngine(t, Options{})
	c.want(`"name":"S"`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"],"storage":"memory"}`)
	c.request("s", "m")
	c.request("$JS.API.CONSUMER.CREATE.S.C", `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","deliver_subject":"d"}}`)
	x := a.consumer([]byte("S"), []byte("C"))
	waitFor(t, func() bool { return !x.busy() })
	x.state.Lock() // no turn
	for range maxConsumerItems {
		x.put(consumerItem{kind: itemAck, seq: 99}, nil, nil)
	}
	ch := c.subscribe("d")
	x.state.Unlock()
	wantNext(t, ch, "s", "$JS.ACK.S.C.1.1.1.", "m")
	c.want(`"push_bound":true`, "$JS.API.CONSUMER.INFO.S.C", "")
}

// TestPowerCutAfterRemovals: messages that were pending and have left the stream are
// not pending after a power cut, so that what comes behind them need not wait.
func TestPowerCutAfterRemovals(t *testing.T) {
	for _, policy := range []string{"all", "explicit"} {
		disk := crashfs.New(1)
		inMemory(t, Options{FS: disk, StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
			c.want(`"name":"S"`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
			c.want(`"name":"C"`, "$JS.API.CONSUMER.CREATE.S.C", `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"`+policy+`","max_ack_pending":3}}`)
			for range 5 {
				c.request("s", "m")
			}
			in := c.subscribe("in")
			c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in", "3")
			for range 3 {
				next(t, in)
			}
			time.Sleep(10 * time.Second) // for a checkpoint
			c.want(`"success":true`, "$JS.API.STREAM.MSG.DELETE.S", `{"seq":2}`)
			c.want(`"success":true`, "$JS.API.STREAM.MSG.DELETE.S", `{"seq":3}`)
			disk.Cut()
		})
		inMemory(t, Options{FS: disk.Crash(), StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
			c.want(`"num_ack_pending":1,`, "$JS.API.CONSUMER.INFO.S.C", "")
			in := c.subscribe("in")
			c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in", `{"batch":2,"no_wait":true}`)
			for _, seq := range []string{"4", "5"} {
				if m := next(t, in); !strings.HasPrefix(m.reply, "$JS.ACK.S.C.1."+seq+".") {
					t.Errorf("%s: %s %s, want %s", policy, m.reply, m.header, seq)
				}
			}
		})
	}
}

// TestInterestInLastMessages: a consumer that begins with the last message of each
// subject does not keep the others, which it passes over.
func TestInterestInLastMessages(t *testing.T) {
	for _, policy := range []string{"explicit", "all", "none"} {
		inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
			c.create("S", `"subjects":["s.>"],"retention":"interest"`)
			c.want(`"name":"k"`, "$JS.API.CONSUMER.CREATE.S.k", `{"stream_name":"S","config":{"durable_name":"k","ack_policy":"all"}}`)
			for _, subject := range []string{"s.a", "s.b", "s.b", "s.b"} {
				c.request(subject, "m")
			}
			c.want(`"num_pending":2`, "$JS.API.CONSUMER.CREATE.S.last", `{"stream_name":"S","config":{"durable_name":"last","ack_policy":"`+policy+`","deliver_policy":"last_per_subject","filter_subject":"s.>"}}`)
			in := c.subscribe("in")
			c.publish("$JS.API.CONSUMER.MSG.NEXT.S.last", "in", "1")
			next(t, in)
			c.publish("$JS.API.CONSUMER.MSG.NEXT.S.k", "in", "4")
			for range 3 {
				next(t, in)
			}
			c.request(next(t, in).reply, "+ACK")
			left := 2 // the one that is pending, and the one to come
			if policy == "none" {
				left = 1
			}
			synctest.Wait()
			if n := streamMsgs(a, "S"); n != left {
				t.Errorf("%s: %d messages, want %d", policy, n, left)
			}
		})
	}
}

func streamMsgs(a *Account, name string) int {
	var s msgstore.State
	a.Stream(name).Store().FastState(&s)
	return int(s.Msgs)
}
