package main_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jetStream starts a server with a store of its own and a client of it.
func jetStream(t *testing.T, extra string) (*process, *nats.Conn, jetstream.JetStream, context.Context) {
	t.Helper()
	s := startServer(t, fmt.Sprintf("jetstream { store_dir: %q }\n%s", t.TempDir(), extra))
	nc := s.connect()
	ctx, cancel := context.WithTimeout(context.Background(), 5*wait)
	t.Cleanup(cancel)
	return s, nc, must(jetstream.New(nc))(t), ctx
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStreamLifeCycle(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	st := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}))(t)
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}))(t) // the same again is no error
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"other"}}); !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		t.Errorf("other configuration: %v", err)
	}
	must(js.UpdateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>", "t"}, MaxMsgs: 100}))(t)
	must(js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "T", Subjects: []string{"u"}}))(t)
	if name := must(js.StreamNameBySubject(ctx, "s.x"))(t); name != "S" {
		t.Errorf("stream of s.x: %s", name)
	}
	for i := range 10 {
		ack := must(js.Publish(ctx, fmt.Sprintf("s.%d", i), fmt.Append(nil, i)))(t)
		if ack.Stream != "S" || ack.Sequence != uint64(i+1) {
			t.Fatalf("ack %+v", ack)
		}
	}
	info := must(st.Info(ctx, jetstream.WithSubjectFilter(">")))(t)
	if info.State.Msgs != 10 || len(info.State.Subjects) != 10 || info.Config.MaxMsgs != 100 {
		t.Errorf("info %+v", info)
	}
	if m := must(st.GetMsg(ctx, 3))(t); string(m.Data) != "2" || m.Subject != "s.2" {
		t.Errorf("message 3: %+v", m)
	}
	if m := must(st.GetMsg(ctx, 2, jetstream.WithGetMsgSubject("s.5")))(t); m.Sequence != 6 {
		t.Errorf("next of s.5: %+v", m)
	}
	if m := must(st.GetLastMsgForSubject(ctx, "s.9"))(t); m.Sequence != 10 {
		t.Errorf("last of s.9: %+v", m)
	}
	check(t, st.DeleteMsg(ctx, 3))
	check(t, st.SecureDeleteMsg(ctx, 4))
	if _, err := st.GetMsg(ctx, 3); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("deleted message: %v", err)
	}
	info = must(st.Info(ctx, jetstream.WithDeletedDetails(true)))(t)
	if !slices.Equal(info.State.Deleted, []uint64{3, 4}) {
		t.Errorf("deleted %v", info.State.Deleted)
	}
	check(t, st.Purge(ctx, jetstream.WithPurgeSubject("s.9")))
	check(t, st.Purge(ctx, jetstream.WithPurgeSequence(3)))
	check(t, st.Purge(ctx, jetstream.WithPurgeKeep(2)))
	if info = must(st.Info(ctx))(t); info.State.Msgs != 2 || info.State.LastSeq != 10 {
		t.Errorf("after purges %+v", info.State)
	}
	var names []string
	for n := range js.StreamNames(ctx).Name() {
		names = append(names, n)
	}
	var listed []string
	for i := range js.ListStreams(ctx, jetstream.WithStreamListSubject("u")).Info() {
		listed = append(listed, i.Config.Name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"S", "T"}) || !slices.Equal(listed, []string{"T"}) {
		t.Errorf("names %v, list %v", names, listed)
	}
	if acc := must(js.AccountInfo(ctx))(t); acc.Streams != 2 {
		t.Errorf("account %+v", acc)
	}
	check(t, js.DeleteStream(ctx, "T"))
	if _, err := js.Stream(ctx, "T"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("deleted stream: %v", err)
	}
}

func TestStreamPublishForms(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}}))(t)
	a := must(js.Publish(ctx, "s.a", nil, jetstream.WithMsgID("one")))(t)
	b := must(js.Publish(ctx, "s.a", nil, jetstream.WithMsgID("one")))(t)
	if a.Sequence != 1 || b.Sequence != 1 || !b.Duplicate {
		t.Errorf("duplicate: %+v %+v", a, b)
	}
	must(js.Publish(ctx, "s.b", nil, jetstream.WithExpectStream("S"), jetstream.WithExpectLastSequence(1), jetstream.WithExpectLastMsgID("one")))(t)
	must(js.Publish(ctx, "s.a", nil, jetstream.WithExpectLastSequencePerSubject(1)))(t)
	for what, opt := range map[string]jetstream.PublishOpt{
		"stream": jetstream.WithExpectStream("X"), "sequence": jetstream.WithExpectLastSequence(9),
		"subject sequence": jetstream.WithExpectLastSequencePerSubject(9), "id": jetstream.WithExpectLastMsgID("x"),
	} {
		var api *jetstream.APIError
		if _, err := js.Publish(ctx, "s.a", nil, opt); !errors.As(err, &api) {
			t.Errorf("wrong %s accepted: %v", what, err)
		}
	}
	const n = 5000
	futures := make([]jetstream.PubAckFuture, n)
	for i := range futures {
		futures[i] = must(js.PublishAsync("s.c", fmt.Append(nil, i), jetstream.WithStallWait(wait)))(t)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal("acks missing")
	}
	for i, f := range futures {
		if ack := <-f.Ok(); ack.Sequence != uint64(i+4) {
			t.Fatalf("message %d got sequence %d", i, ack.Sequence)
		}
	}
	if js.PublishAsyncPending() != 0 {
		t.Error("pending")
	}
	js.CleanupPublisher()
	if _, err := js.Publish(ctx, "nostream", nil); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("no stream: %v", err)
	}
}

func TestStreamSurvivesRestart(t *testing.T) {
	for _, end := range []string{"stop", "kill"} {
		t.Run(end, func(t *testing.T) {
			s, nc, js, ctx := jetStream(t, "")
			st := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
			cons := must(st.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "D", AckPolicy: jetstream.AckExplicitPolicy}))(t)
			for i := range 100 {
				must(js.Publish(ctx, "s", fmt.Append(nil, i)))(t)
			}
			batch := must(cons.Fetch(40))(t)
			for m := range batch.Messages() {
				check(t, m.DoubleAck(ctx))
			}
			nc.Close()
			if end == "kill" {
				s.kill()
			} else {
				s.stop()
			}
			s.start()
			js = must(jetstream.New(s.connect()))(t)
			st = must(js.Stream(ctx, "S"))(t)
			if st.CachedInfo().State.Msgs != 100 {
				t.Fatalf("state %+v", st.CachedInfo().State)
			}
			cons = must(st.Consumer(ctx, "D"))(t)
			batch = must(cons.Fetch(60, jetstream.FetchMaxWait(wait)))(t)
			want := 40
			for m := range batch.Messages() {
				if string(m.Data()) != fmt.Sprint(want) {
					t.Fatalf("got %s, want %d", m.Data(), want)
				}
				want++
				check(t, m.Ack())
			}
			if want != 100 {
				t.Errorf("delivered up to %d", want)
			}
		})
	}
}

func TestConsumerForms(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	st := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}}))(t)
	const n = 1000
	for i := range n {
		must(js.PublishAsync(fmt.Sprintf("s.%d", i%10), fmt.Append(nil, i)))(t)
	}
	<-js.PublishAsyncComplete()

	t.Run("consume", func(t *testing.T) {
		c := must(st.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "consume"}))(t)
		var got atomic.Int64
		cc := must(c.Consume(func(m jetstream.Msg) {
			if string(m.Data()) != fmt.Sprint(got.Add(1)-1) {
				t.Errorf("out of order: %s", m.Data())
			}
			m.Ack()
		}))(t)
		defer cc.Stop()
		waitFor(t, "all messages", func() bool { return got.Load() == n })
		waitFor(t, "all acks", func() bool { i := must(c.Info(ctx))(t); return i.NumAckPending == 0 && i.AckFloor.Stream == n })
	})
	t.Run("messages", func(t *testing.T) {
		c := must(st.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "messages", FilterSubject: "s.3"}))(t)
		it := must(c.Messages(jetstream.PullMaxMessages(10)))(t)
		defer it.Stop()
		for i := range n / 10 {
			m := must(it.Next(jetstream.NextMaxWait(wait)))(t)
			if string(m.Data()) != fmt.Sprint(i*10+3) {
				t.Fatalf("%s", m.Data())
			}
			check(t, m.Ack())
		}
	})
	t.Run("fetch", func(t *testing.T) {
		c := must(st.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "fetch", FilterSubjects: []string{"s.1", "s.2"}}))(t)
		count := func(b jetstream.MessageBatch, err error) int {
			check(t, err)
			n := 0
			for m := range b.Messages() {
				m.Ack()
				n++
			}
			check(t, b.Error())
			return n
		}
		if got := count(c.Fetch(50)); got != 50 {
			t.Errorf("Fetch: %d", got)
		}
		if got := count(c.FetchNoWait(100)); got != 100 {
			t.Errorf("FetchNoWait: %d", got)
		}
		if got := count(c.FetchBytes(1000, jetstream.FetchMaxWait(wait))); got == 0 || got >= 50 {
			t.Errorf("FetchBytes: %d", got)
		}
		m := must(c.Next())(t)
		check(t, m.Ack())
		for count(c.FetchNoWait(100)) > 0 {
		}
		if _, err := c.Next(jetstream.FetchMaxWait(50 * time.Millisecond)); !errors.Is(err, nats.ErrTimeout) {
			t.Errorf("Next on the empty rest: %v", err)
		}
	})
	t.Run("ordered", func(t *testing.T) {
		c := must(st.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"s.*"}}))(t)
		it := must(c.Messages())(t)
		defer it.Stop()
		for i := range n {
			if m := must(it.Next())(t); string(m.Data()) != fmt.Sprint(i) {
				t.Fatalf("message %d: %s", i, m.Data())
			}
		}
	})
	t.Run("push", func(t *testing.T) {
		inbox := nats.NewInbox()
		c := must(st.CreatePushConsumer(ctx, jetstream.ConsumerConfig{Durable: "push", DeliverSubject: inbox, AckPolicy: jetstream.AckAllPolicy,
			FlowControl: true, IdleHeartbeat: 10 * time.Second}))(t)
		var got atomic.Int64
		cc := must(c.Consume(func(m jetstream.Msg) {
			if got.Add(1) == n {
				m.Ack()
			}
		}))(t)
		defer cc.Stop()
		waitFor(t, "all messages", func() bool { return got.Load() == n })
		waitFor(t, "the ack of all", func() bool { return must(c.Info(ctx))(t).AckFloor.Stream == n })
	})
	t.Run("redelivery", func(t *testing.T) {
		c := must(st.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "again", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 200 * time.Millisecond,
			FilterSubject: "s.7", DeliverPolicy: jetstream.DeliverLastPolicy, MaxDeliver: 4}))(t)
		for want := uint64(1); want <= 4; want++ {
			m := must(c.Next(jetstream.FetchMaxWait(wait)))(t)
			if meta := must(m.Metadata())(t); meta.NumDelivered != want || string(m.Data()) != "997" {
				t.Fatalf("delivery %d: %+v %s", want, meta, m.Data())
			}
			switch want {
			case 1:
				check(t, m.Nak())
			case 2:
				check(t, m.NakWithDelay(10*time.Millisecond))
			case 3:
				check(t, m.InProgress())
			case 4:
				check(t, m.TermWithReason("enough"))
			}
		}
	})
	t.Run("management", func(t *testing.T) {
		must(st.CreateConsumer(ctx, jetstream.ConsumerConfig{Name: "named", InactiveThreshold: time.Minute}))(t)
		if _, err := st.CreateConsumer(ctx, jetstream.ConsumerConfig{Name: "named", InactiveThreshold: time.Hour}); !errors.Is(err, jetstream.ErrConsumerExists) {
			t.Errorf("create over another: %v", err)
		}
		must(st.UpdateConsumer(ctx, jetstream.ConsumerConfig{Name: "named", InactiveThreshold: time.Hour}))(t)
		if _, err := st.UpdateConsumer(ctx, jetstream.ConsumerConfig{Name: "none"}); !errors.Is(err, jetstream.ErrConsumerDoesNotExist) {
			t.Errorf("update of none: %v", err)
		}
		p := must(st.PauseConsumer(ctx, "named", time.Now().Add(time.Hour)))(t)
		if !p.Paused {
			t.Errorf("pause: %+v", p)
		}
		if r := must(st.ResumeConsumer(ctx, "named"))(t); r.Paused {
			t.Errorf("resume: %+v", r)
		}
		names := 0
		for range st.ConsumerNames(ctx).Name() {
			names++
		}
		infos := 0
		for range st.ListConsumers(ctx).Info() {
			infos++
		}
		if names != infos || names < 5 {
			t.Errorf("%d names, %d infos", names, infos)
		}
		if _, err := js.ResetConsumer(ctx, "S", "fetch"); err != nil {
			t.Errorf("reset: %v", err)
		}
		if _, err := js.ResetConsumerToSequence(ctx, "S", "consume", 500); err != nil {
			t.Errorf("reset to 500: %v", err)
		}
		c := must(st.Consumer(ctx, "consume"))(t)
		if m := must(c.Next())(t); string(m.Data()) != "499" {
			t.Errorf("first after the reset: %s", m.Data())
		}
		check(t, st.DeleteConsumer(ctx, "named"))
		if _, err := st.Consumer(ctx, "named"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Errorf("deleted: %v", err)
		}
	})
}

// The legacy JetStream API of the nats package.
func TestLegacyJetStream(t *testing.T) {
	_, nc, _, _ := jetStream(t, "")
	js := must(nc.JetStream(nats.MaxWait(wait)))(t)
	must(js.AddStream(&nats.StreamConfig{Name: "L", Subjects: []string{"l.*"}}))(t)
	for i := range 100 {
		must(js.Publish("l.a", fmt.Append(nil, i)))(t)
	}
	sync := must(js.SubscribeSync("l.*", nats.Durable("sync")))(t)
	for i := range 100 {
		m := must(sync.NextMsg(wait))(t)
		if string(m.Data) != fmt.Sprint(i) {
			t.Fatalf("%s", m.Data)
		}
		check(t, m.AckSync())
	}
	pull := must(js.PullSubscribe("l.a", "pull"))(t)
	msgs := must(pull.Fetch(60))(t)
	if len(msgs) != 60 {
		t.Errorf("fetched %d", len(msgs))
	}
	ordered := must(js.SubscribeSync("l.a", nats.OrderedConsumer()))(t)
	for range 100 {
		must(ordered.NextMsg(wait))(t)
	}
	var got atomic.Int64
	for range 3 {
		must(js.QueueSubscribe("l.a", "workers", func(m *nats.Msg) { got.Add(1) }))(t)
	}
	waitFor(t, "the queue group", func() bool { return got.Load() == 100 })
}
