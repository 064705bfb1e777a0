package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Together with the tests beside it this file calls every function and method of
// nats.go's jetstream package.

// Contexts of the API: prefix, domain, tracing, default timeout.
func TestJetStreamContexts(t *testing.T) {
	_, nc, plain, ctx := jetStream(t, "")
	var sent, answered atomic.Int64
	js := must(jetstream.New(nc, jetstream.WithDefaultTimeout(wait), jetstream.WithClientTrace(&jetstream.ClientTrace{
		RequestSent:      func(string, []byte) { sent.Add(1) },
		ResponseReceived: func(string, []byte, nats.Header) { answered.Add(1) },
	})))(t)
	must(js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
	if sent.Load() == 0 || sent.Load() != answered.Load() {
		t.Errorf("%d requests, %d answers traced", sent.Load(), answered.Load())
	}
	if js.Conn() != nc || js.Options().DefaultTimeout != wait {
		t.Errorf("options %+v", js.Options())
	}
	prefixed := must(jetstream.NewWithAPIPrefix(nc, "$JS.API"))(t)
	must(prefixed.Stream(ctx, "S"))(t)

	nc = startServer(t, fmt.Sprintf("jetstream { store_dir: %q, domain: D }", t.TempDir())).connect()
	domain := must(jetstream.NewWithDomain(nc, "D"))(t)
	must(domain.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
	if ack := must(domain.Publish(ctx, "s", nil))(t); ack.Domain != "D" || ack.Sequence != 1 {
		t.Errorf("ack %+v", ack)
	}
	if i := must(domain.AccountInfo(ctx))(t); i.Domain != "D" || i.Streams != 1 {
		t.Errorf("account %+v", i)
	}
	other := must(jetstream.NewWithDomain(nc, "E"))(t)
	if _, err := other.AccountInfo(ctx); !errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		t.Errorf("another domain: %v", err)
	}
	if _, err := plain.Stream(ctx, "none"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("no stream: %v", err)
	} else if je := jetstream.JetStreamError(nil); !errors.As(err, &je) || je.APIError().ErrorCode != jetstream.JSErrCodeStreamNotFound || je.APIError().APIError() != je.APIError() {
		t.Errorf("error of the API: %v", err)
	}
}

// Publishing in all forms that take a message or options.
func TestPublishOptions(t *testing.T) {
	_, nc, _, ctx := jetStream(t, "")
	var acks, failures atomic.Int64
	js := must(jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(100), jetstream.WithPublishAsyncTimeout(wait),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, _ *nats.Msg, a *jetstream.PubAck) { acks.Add(1) }),
		jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { failures.Add(1) })))(t)
	st := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}, AllowMsgTTL: true, AllowMsgSchedules: true, MaxMsgSize: 1000}))(t)
	must(js.PublishMsg(ctx, &nats.Msg{Subject: "s.a", Data: []byte("1")}))(t)
	future := must(js.PublishMsgAsync(&nats.Msg{Subject: "s.b", Data: []byte("2")}, jetstream.WithStallWait(wait)))(t)
	if m := future.Msg(); m.Subject != "s.b" {
		t.Errorf("message of the future %+v", m)
	}
	if ack := <-future.Ok(); ack.Sequence != 2 {
		t.Errorf("ack %+v", ack)
	}
	bad := must(js.PublishMsgAsync(&nats.Msg{Subject: "s.b", Data: make([]byte, 2000)}))(t)
	var tooBig *jetstream.APIError
	if err := <-bad.Err(); !errors.As(err, &tooBig) || tooBig.ErrorCode != 10054 {
		t.Errorf("too large a message: %v", err)
	}
	waitFor(t, "the handlers of asynchronous publishing", func() bool { return acks.Load() == 1 && failures.Load() == 1 })
	must(js.Publish(ctx, "s.c", nil, jetstream.WithExpectLastSequenceForSubject(2, "s.b"), jetstream.WithMsgTTL(time.Hour)))(t)
	if _, err := js.Publish(ctx, "s.c", nil, jetstream.WithExpectLastSequenceForSubject(1, "s.b")); err == nil {
		t.Error("a wrong sequence of another subject is accepted")
	}
	if m := must(st.GetMsg(ctx, 3))(t); m.Header.Get("Nats-TTL") != "1h0m0s" {
		t.Errorf("TTL %q", m.Header)
	}
	if _, err := js.Publish(ctx, "nobody", nil, jetstream.WithRetryAttempts(2), jetstream.WithRetryWait(time.Millisecond)); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("no stream: %v", err)
	}

	target := jetstream.WithScheduleTarget("s.out")
	must(js.Publish(ctx, "s.at", []byte("at"), target, jetstream.WithScheduleAt(time.Now()), jetstream.WithScheduleRollup(), jetstream.WithScheduleTTL(time.Hour)))(t)
	waitFor(t, "the scheduled message", func() bool {
		m, err := st.GetLastMsgForSubject(ctx, "s.out")
		return err == nil && string(m.Data) == "at" && m.Header.Get("Nats-Scheduler") == "s.at" && m.Header.Get("Nats-Schedule-Next") == "purge"
	})
	must(js.Publish(ctx, "s.every", nil, target, jetstream.WithScheduleEvery(time.Hour), jetstream.WithScheduleSource("s.a")))(t)
	must(js.Publish(ctx, "s.cron", nil, target, jetstream.WithScheduleCron("0 0 3 * * *"), jetstream.WithScheduleTimeZone("Europe/Berlin"), jetstream.WithScheduleTTLNever()))(t)
	if m := must(st.GetLastMsgForSubject(ctx, "s.cron"))(t); m.Header.Get("Nats-Schedule-Time-Zone") != "Europe/Berlin" || m.Header.Get("Nats-Schedule-TTL") != "never" {
		t.Errorf("schedule %q", m.Header)
	}
}

// Consumers made and used through JetStream itself instead of a stream.
func TestConsumersOfJetStream(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	st := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}}))(t)
	const n = 50
	for i := range n {
		must(js.Publish(ctx, "s.a", fmt.Append(nil, i)))(t)
	}
	must(js.CreateConsumer(ctx, "S", jetstream.ConsumerConfig{Durable: "c"}))(t)
	must(js.UpdateConsumer(ctx, "S", jetstream.ConsumerConfig{Durable: "c", Description: "d"}))(t)
	c := must(js.CreateOrUpdateConsumer(ctx, "S", jetstream.ConsumerConfig{Durable: "c", Description: "e"}))(t)
	if i := c.CachedInfo(); i.Config.Description != "e" || i.NumPending != n {
		t.Errorf("info %+v", i)
	}
	if p := must(js.PauseConsumer(ctx, "S", "c", time.Now().Add(time.Hour)))(t); !p.Paused {
		t.Errorf("pause %+v", p)
	}
	if p := must(js.ResumeConsumer(ctx, "S", "c"))(t); p.Paused {
		t.Errorf("resume %+v", p)
	}
	c = must(js.Consumer(ctx, "S", "c"))(t)
	m := must(c.Next(jetstream.FetchContext(ctx)))(t)
	if m.Subject() != "s.a" || m.Reply() == "" || len(m.Headers()) != 0 || string(m.Data()) != "0" {
		t.Errorf("message %s %s %v %s", m.Subject(), m.Reply(), m.Headers(), m.Data())
	}
	check(t, m.Term())
	batch := must(c.Fetch(5, jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(10*time.Second)))(t)
	count := 0
	for m := range batch.Messages() {
		check(t, m.Ack())
		count++
	}
	if check(t, batch.Error()); count != 5 {
		t.Errorf("fetched %d", count)
	}
	batch = must(c.Fetch(n, jetstream.FetchMaxBytes(300), jetstream.FetchMaxWait(wait)))(t)
	for m := range batch.Messages() {
		check(t, m.DoubleAck(ctx))
		count++
	}
	if count == 5 || count == n-1 {
		t.Errorf("fetched %d in all", count)
	}
	if r := must(st.ResetConsumer(ctx, "c"))(t); r.ResetSeq != uint64(count)+2 {
		t.Errorf("reset to %d, after %d messages", r.ResetSeq, count+1)
	}
	if r := must(st.ResetConsumerToSequence(ctx, "c", 40))(t); r.ResetSeq != 40 {
		t.Errorf("reset to %d", r.ResetSeq)
	}
	it := must(c.Messages(jetstream.PullMaxMessagesWithBytesLimit(10, 1000), jetstream.WithMessagesErrOnMissingHeartbeat(true)))(t)
	if m := must(it.Next(jetstream.NextContext(ctx)))(t); string(m.Data()) != "39" {
		t.Errorf("first after the reset: %s", m.Data())
	}
	it.Drain()
	for {
		m, err := it.Next(jetstream.NextMaxWait(wait))
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			break
		}
		check(t, err)
		check(t, m.Nak())
	}
	ordered := must(js.OrderedConsumer(ctx, "S", jetstream.OrderedConsumerConfig{}))(t)
	var got atomic.Int64
	cc := must(ordered.Consume(func(jetstream.Msg) { got.Add(1) }))(t)
	waitFor(t, "all in order", func() bool { return got.Load() == n })
	cc.Drain()
	select {
	case <-cc.Closed():
	case <-ctx.Done():
		t.Error("a drained consumer goes on")
	}
	check(t, js.DeleteConsumer(ctx, "S", "c"))
	if _, err := js.Consumer(ctx, "S", "c"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

// Push consumers through the stream and through JetStream.
func TestPushConsumers(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	st := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
	must(js.Publish(ctx, "s", []byte("x")))(t)
	config := func(description string) jetstream.ConsumerConfig {
		return jetstream.ConsumerConfig{Durable: "p", DeliverSubject: "deliver", Description: description, AckPolicy: jetstream.AckExplicitPolicy}
	}
	steps := []func(string) (jetstream.PushConsumer, error){
		func(d string) (jetstream.PushConsumer, error) { return js.CreatePushConsumer(ctx, "S", config(d)) },
		func(d string) (jetstream.PushConsumer, error) { return js.UpdatePushConsumer(ctx, "S", config(d)) },
		func(d string) (jetstream.PushConsumer, error) {
			return js.CreateOrUpdatePushConsumer(ctx, "S", config(d))
		},
		func(d string) (jetstream.PushConsumer, error) { return st.UpdatePushConsumer(ctx, config(d)) },
		func(d string) (jetstream.PushConsumer, error) { return st.CreateOrUpdatePushConsumer(ctx, config(d)) },
	}
	for i, step := range steps {
		want := fmt.Sprint("step ", i)
		if c := must(step(want))(t); c.CachedInfo().Config.Description != want {
			t.Errorf("%s: %+v", want, c.CachedInfo().Config)
		}
	}
	must(st.PushConsumer(ctx, "p"))(t)
	c := must(js.PushConsumer(ctx, "S", "p"))(t)
	got := make(chan jetstream.Msg, 1)
	cc := must(c.Consume(func(m jetstream.Msg) { got <- m }))(t)
	select {
	case m := <-got:
		check(t, m.Ack())
	case <-ctx.Done():
		t.Fatal("nothing was delivered")
	}
	cc.Stop()
	<-cc.Closed()
	if _, err := st.Consumer(ctx, "p"); !errors.Is(err, jetstream.ErrNotPullConsumer) {
		t.Errorf("as a pull consumer: %v", err)
	}
}

// Priority groups: overflow, priorities, and a pinned client that is let go.
func TestPriorityGroups(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	st := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
	for range 10 {
		must(js.Publish(ctx, "s", nil))(t)
	}
	group := func(name string, policy jetstream.PriorityPolicy) jetstream.Consumer {
		return must(st.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: name, PriorityPolicy: policy, PriorityGroups: []string{"g"}}))(t)
	}
	// fetch asks for one message; for none it waits a moment.
	fetch := func(c jetstream.Consumer, want int, opts ...jetstream.FetchOpt) {
		t.Helper()
		patience := wait
		if want == 0 {
			patience = 100 * time.Millisecond
		}
		n := 0
		batch := must(c.Fetch(1, append(opts, jetstream.FetchPriorityGroup("g"), jetstream.FetchMaxWait(patience))...))(t)
		for range batch.Messages() {
			n++
		}
		if n != want {
			t.Errorf("fetched %d, want %d", n, want)
		}
	}
	overflow := group("overflow", jetstream.PriorityPolicyOverflow)
	for _, c := range []struct {
		opt  jetstream.FetchOpt
		want int
	}{
		{jetstream.FetchMinPending(11), 0}, {jetstream.FetchMinPending(10), 1},
		{jetstream.FetchMinAckPending(2), 0}, {jetstream.FetchMinAckPending(1), 1},
	} {
		fetch(overflow, c.want, c.opt)
	}
	fetch(group("prioritized", jetstream.PriorityPolicyPrioritized), 1, jetstream.FetchPrioritized(3))
	pinned := group("pinned", jetstream.PriorityPolicyPinned)
	fetch(pinned, 1)
	if i := must(pinned.Info(ctx))(t); len(i.PriorityGroups) != 1 || i.PriorityGroups[0].PinnedClientID == "" {
		t.Errorf("groups %+v", i.PriorityGroups)
	}
	check(t, st.UnpinConsumer(ctx, "pinned", "g"))
	if i := must(pinned.Info(ctx))(t); i.PriorityGroups[0].PinnedClientID != "" {
		t.Errorf("still pinned: %+v", i.PriorityGroups)
	}
}

// Listers end without an error.
func TestListers(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	st := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
	must(st.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "c"}))(t)
	must(js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "B"}))(t)
	must(js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "B"}))(t)
	var names []string
	streams := js.StreamNames(ctx)
	for n := range streams.Name() {
		names = append(names, n)
	}
	infos := js.ListStreams(ctx)
	for i := range infos.Info() {
		names = append(names, i.Config.Name)
	}
	consumers := st.ConsumerNames(ctx)
	for n := range consumers.Name() {
		names = append(names, n)
	}
	consumerInfos := st.ListConsumers(ctx)
	for i := range consumerInfos.Info() {
		names = append(names, i.Name)
	}
	buckets, bucketInfos := js.KeyValueStoreNames(ctx), js.KeyValueStores(ctx)
	for n := range buckets.Name() {
		names = append(names, n)
	}
	for i := range bucketInfos.Status() {
		names = append(names, i.Bucket())
	}
	stores, storeInfos := js.ObjectStoreNames(ctx), js.ObjectStores(ctx)
	for n := range stores.Name() {
		names = append(names, n)
	}
	for i := range storeInfos.Status() {
		names = append(names, i.Bucket())
	}
	if want := []string{"KV_B", "OBJ_B", "S", "KV_B", "OBJ_B", "S", "c", "c", "B", "B", "B", "B"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	check(t, errors.Join(streams.Err(), infos.Err(), consumers.Err(), consumerInfos.Err(),
		buckets.Error(), bucketInfos.Error(), stores.Error(), storeInfos.Error()))
}

func TestKeyValueDetails(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	kv := must(js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "B", History: 3, TTL: time.Hour, Compression: true,
		LimitMarkerTTL: time.Minute, Metadata: map[string]string{"a": "b"}}))(t)
	began := time.Now().Add(-time.Second)
	rev := must(kv.PutString(ctx, "k", "1"))(t)
	must(kv.PutString(ctx, "k", "2"))(t)
	e := must(kv.GetRevision(ctx, "k", rev))(t)
	if e.Bucket() != "B" || e.Created().Before(began) || string(e.Value()) != "1" {
		t.Errorf("entry %s %v %s", e.Bucket(), e.Created(), e.Value())
	}
	history := must(kv.History(ctx, "k"))(t)
	if len(history) != 2 || history[0].Delta() != 1 || history[1].Delta() != 0 {
		t.Errorf("history %v", history)
	}
	s := must(kv.Status(ctx))(t)
	if s.BackingStore() != "JetStream" || s.Values() != 2 || s.Bytes() == 0 || !s.IsCompressed() || s.TTL() != time.Hour ||
		s.LimitMarkerTTL() != time.Minute || s.Metadata()["a"] != "b" || s.Config().History != 3 {
		t.Errorf("status %+v", s)
	}
	if i := s.(*jetstream.KeyValueBucketStatus).StreamInfo(); i.Config.Name != "KV_B" || !i.Config.DenyDelete || i.Config.MaxMsgsPerSubject != 3 {
		t.Errorf("stream %+v", i.Config)
	}
	if err := kv.Delete(ctx, "k", jetstream.LastRevision(rev)); err == nil {
		t.Error("deleted at a revision that is not the last")
	}
	check(t, kv.Delete(ctx, "k", jetstream.LastRevision(rev+1)))
	w := must(kv.Watch(ctx, "k", jetstream.ResumeFromRevision(rev+1), jetstream.MetaOnly()))(t)
	for want := rev + 1; want <= rev+2; want++ {
		if e := <-w.Updates(); e == nil || e.Revision() != want || len(e.Value()) != 0 {
			t.Errorf("watched %+v, want revision %d", e, want)
		}
	}
	check(t, w.Stop())
	must(kv.PutString(ctx, "l", "x"))(t)
	keys := must(kv.ListKeys(ctx))(t)
	if k := <-keys.Keys(); k != "l" {
		t.Errorf("key %q", k)
	}
	keys.Stop() // has stopped itself behind the last key, and says so then
}

func TestObjectStoreDetails(t *testing.T) {
	_, _, js, ctx := jetStream(t, "")
	obs := must(js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "O", Description: "d", TTL: time.Hour, Compression: true,
		Metadata: map[string]string{"a": "b"}, Storage: jetstream.FileStorage, Replicas: 1}))(t)
	data := bytes.Repeat([]byte("object"), 100_000)
	info := must(obs.Put(ctx, jetstream.ObjectMeta{Name: "o"}, bytes.NewReader(data)))(t)
	h := sha256.New()
	h.Write(data)
	if info.Digest != jetstream.GetObjectDigestValue(h) {
		t.Errorf("digest %s", info.Digest)
	}
	if sum := must(jetstream.DecodeObjectDigest(info.Digest))(t); !bytes.Equal(sum, h.Sum(nil)) {
		t.Errorf("digest %x", sum)
	}
	r := must(obs.Get(ctx, "o"))(t)
	if i := must(r.Info())(t); i.Chunks != info.Chunks || i.Size != uint64(len(data)) {
		t.Errorf("info %+v", i)
	}
	if got := must(io.ReadAll(r))(t); !bytes.Equal(got, data) {
		t.Error("content differs")
	}
	check(t, errors.Join(r.Error(), r.Close()))
	s := must(obs.Status(ctx))(t)
	if s.BackingStore() != "JetStream" || s.Description() != "d" || !s.IsCompressed() || s.Metadata()["a"] != "b" || s.Replicas() != 1 ||
		s.Size() < uint64(len(data)) || s.Storage() != jetstream.FileStorage || s.TTL() != time.Hour || s.Sealed() {
		t.Errorf("status %+v", s)
	}
	if i := s.(*jetstream.ObjectBucketStatus).StreamInfo(); i.Config.Name != "OBJ_O" || !i.Config.AllowRollup || i.Config.Discard != jetstream.DiscardNew {
		t.Errorf("stream %+v", i.Config)
	}
	check(t, obs.Delete(ctx, "o"))
	if i := must(obs.GetInfo(ctx, "o", jetstream.GetObjectInfoShowDeleted()))(t); !i.Deleted {
		t.Errorf("info %+v", i)
	}
	gone := must(obs.Get(ctx, "o", jetstream.GetObjectShowDeleted()))(t)
	if b := must(io.ReadAll(gone))(t); len(b) != 0 {
		t.Errorf("%d bytes of a deleted object", len(b))
	}
	if list := must(obs.List(ctx, jetstream.ListObjectsShowDeleted()))(t); len(list) != 1 || !list[0].Deleted {
		t.Errorf("list %+v", list)
	}
}
