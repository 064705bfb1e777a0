package main_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What the API was told about a consumer, with an answer, holds when the server is
// killed right behind that answer.

// restarted is a server that is killed and started again, with a stream S of n messages.
type restarted struct {
	*process
	nc *nats.Conn
	js jetstream.JetStream
}

func newRestarted(t *testing.T, n int) *restarted {
	r := &restarted{process: startServer(t, fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir()))}
	r.reconnect()
	must(r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
	for i := range n {
		must(r.js.Publish(t.Context(), "s", fmt.Append(nil, i)))(t)
	}
	return r
}

func (r *restarted) reconnect() {
	r.t.Helper()
	r.nc = r.connect()
	r.js = must(jetstream.New(r.nc))(r.t)
}

// down kills the server; up starts it again.
func (r *restarted) down() {
	r.t.Helper()
	r.nc.Close()
	r.kill()
}

func (r *restarted) up() {
	r.t.Helper()
	r.start()
	r.reconnect()
}

func (r *restarted) consumer(name string) jetstream.Consumer {
	r.t.Helper()
	return must(r.js.Consumer(r.t.Context(), "S", name))(r.t)
}

// paused checks how long a consumer is paused.
func (r *restarted) paused(name string, until time.Time) {
	r.t.Helper()
	info := must(r.consumer(name).Info(r.t.Context()))(r.t)
	var got time.Time
	if info.Config.PauseUntil != nil {
		got = *info.Config.PauseUntil
	}
	future := time.Until(until) > 0
	if !got.Equal(until) || info.Paused != future || (info.PauseRemaining > 0) != future {
		r.t.Errorf("%s is paused until %v (%t, %v), want %v", name, got, info.Paused, info.PauseRemaining, until)
	}
}

func TestPauseOverAKill(t *testing.T) {
	r := newRestarted(t, 3)
	ctx := t.Context()
	far := time.Now().Add(time.Hour)
	for _, c := range []jetstream.ConsumerConfig{
		{Durable: "created", PauseUntil: &far}, {Durable: "later"}, {Durable: "resumed"}, {Durable: "past"},
		{Durable: "soon"}, {Durable: "missed"}, {Durable: "push", DeliverSubject: "deliver"},
	} {
		c.AckPolicy = jetstream.AckExplicitPolicy
		if c.DeliverSubject == "" {
			must(r.js.CreateConsumer(ctx, "S", c))(t)
		} else {
			must(r.js.CreatePushConsumer(ctx, "S", c))(t)
		}
	}
	pause := func(name string, until time.Time) {
		t.Helper()
		if p := must(r.js.PauseConsumer(ctx, "S", name, until))(t); !p.PauseUntil.Equal(until) {
			t.Errorf("%s: answered %v, want %v", name, p.PauseUntil, until)
		}
	}
	past := time.Now().Add(-time.Hour)
	pause("later", far)
	pause("resumed", far)
	pause("past", past)
	r.down()
	r.up()
	for name, until := range map[string]time.Time{"created": far, "later": far, "resumed": far, "past": past, "soon": {}} {
		r.paused(name, until)
	}
	if got := next(t, r.consumer("past")); got != 1 {
		t.Errorf("past: message %d", got)
	}
	for _, name := range []string{"created", "later"} {
		if m, err := r.consumer(name).Next(jetstream.FetchMaxWait(100 * time.Millisecond)); err == nil {
			t.Errorf("%s delivers: %v", name, m)
		}
	}
	must(r.js.ResumeConsumer(ctx, "S", "resumed"))(t)
	r.down()
	r.up()
	r.paused("later", far)
	r.paused("resumed", time.Time{})
	if got := next(t, r.consumer("resumed")); got != 1 {
		t.Errorf("resumed: message %d", got)
	}

	// What is to end soon ends behind a kill by itself, with what waits for it served
	// and the advisory sent; or it has ended while the server was down.
	missed := time.Now().Add(100 * time.Millisecond)
	pause("missed", missed)
	soon := time.Now().Add(3 * time.Second)
	pause("soon", soon)
	pause("push", soon)
	r.down()
	<-time.After(time.Until(missed))
	r.up()
	ended := must(r.nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.PAUSE.S.soon"))(t)
	pushed := must(r.nc.SubscribeSync("deliver"))(t)
	r.paused("missed", missed)
	if got := next(t, r.consumer("missed")); got != 1 {
		t.Errorf("missed: message %d", got)
	}
	if got := next(t, r.consumer("soon")); got != 1 {
		t.Errorf("soon: message %d", got)
	}
	if early := time.Until(soon); early > 0 {
		t.Errorf("delivered %v before the end of the pause", early)
	}
	r.paused("soon", soon)
	m := must(pushed.NextMsg(wait))(t)
	if early := time.Until(soon); early > 0 || string(m.Data) != "0" {
		t.Errorf("pushed %q %v before the end of the pause", m.Data, early)
	}
	must(ended.NextMsg(wait))(t)
}

func TestResetOverAKill(t *testing.T) {
	r := newRestarted(t, 10)
	ctx := t.Context()
	configs := map[string]jetstream.ConsumerConfig{
		"all":   {},
		"start": {DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 2},
		"floor": {DeliverPolicy: jetstream.DeliverLastPolicy},
	}
	for name, c := range configs {
		c.Durable, c.AckPolicy, c.AckWait = name, jetstream.AckExplicitPolicy, time.Hour
		must(r.js.CreateConsumer(ctx, "S", c))(t)
	}
	// deliver takes n messages of a consumer and acknowledges the first and the third.
	deliver := func(name string, n int) {
		t.Helper()
		if n == 0 {
			return
		}
		i := 0
		for m := range must(r.consumer(name).Fetch(n, jetstream.FetchMaxWait(wait)))(t).Messages() {
			if i == 0 || i == 2 {
				check(t, m.DoubleAck(ctx))
			}
			i++
		}
		if i != n {
			t.Fatalf("%s: %d messages, want %d", name, i, n)
		}
	}
	for i, step := range []struct {
		name           string
		deliver        int
		seq            uint64
		reset, pending uint64
		next           uint64 // 0: nothing is left
	}{
		{"all", 5, 0, 2, 9, 2},
		{"all", 3, 7, 7, 4, 7},
		{"all", 0, 100, 100, 0, 0},
		{"all", 0, 1, 1, 10, 1},
		{"start", 4, 0, 3, 8, 3},
		{"start", 1, 2, 2, 9, 2},
		{"floor", 0, 0, 10, 1, 10},
	} {
		deliver(step.name, step.deliver)
		body := map[string]any{}
		if step.seq > 0 {
			body["seq"] = step.seq
		}
		if got := api(t, r.nc, "CONSUMER.RESET.S."+step.name, body); fmt.Sprintf("%v %v", got["reset_seq"], got["num_pending"]) != fmt.Sprintf("%d %d", step.reset, step.pending) {
			t.Errorf("step %d: answered %v", i, got)
		}
		before := shown(t, r.nc, "S", step.name)
		r.down()
		r.up()
		if after := shown(t, r.nc, "S", step.name); after != before {
			t.Errorf("step %d: got %s, want %s", i, after, before)
		}
		info := must(r.consumer(step.name).Info(ctx))(t)
		floor := jetstream.SequenceInfo{Stream: step.reset - 1}
		if info.AckFloor.Stream != floor.Stream || info.AckFloor.Consumer != 0 || info.Delivered.Stream != floor.Stream || info.Delivered.Consumer != 0 ||
			info.NumPending != step.pending || info.NumAckPending != 0 || info.NumRedelivered != 0 {
			t.Errorf("step %d: %+v", i, info)
		}
		if step.next == 0 {
			if m, err := r.consumer(step.name).Next(jetstream.FetchMaxWait(100 * time.Millisecond)); err == nil {
				t.Errorf("step %d: delivered %v", i, m)
			}
			continue
		}
		m := must(r.consumer(step.name).Next(jetstream.FetchMaxWait(wait)))(t)
		check(t, m.DoubleAck(ctx))
		if meta := must(m.Metadata())(t); meta.Sequence.Stream != step.next || meta.Sequence.Consumer != 1 || meta.NumDelivered != 1 {
			t.Errorf("step %d: delivered %+v, want %d", i, meta, step.next)
		}
	}
}
