package account

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/natsd/natsd/subjecttree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a receiver that writes down what it gets.
type sink struct {
	kind   Kind
	refuse bool
	got    []string
}

func (k *sink) Kind() Kind { return k.kind }

func (k *sink) Deliver(_ *Producer, s *Sub, m *Msg) bool {
	if k.refuse {
		return false
	}
	s.Count()
	k.got = append(k.got, fmt.Sprintf("%s %s %s", s.Subject, m.Shown(), m.Payload))
	return true
}

func (k *sink) take() []string {
	got := k.got
	k.got = nil
	slices.Sort(got)
	return got
}

func newSet(t testing.TB) *Set {
	s := NewSet()
	s.NameHash = "01234567"
	t.Cleanup(s.Stop)
	return s
}

func subscribe(t testing.TB, a *Account, subject, queue string, to Receiver) *Sub {
	t.Helper()
	s := &Sub{Subject: subject, Queue: queue, SID: "1", To: to}
	if err := a.Subscribe(s); err != nil {
		t.Fatal(err)
	}
	return s
}

func publish(p *Producer, a *Account, subject, payload string) bool {
	ok := p.Route(a, &Msg{Subject: []byte(subject), Payload: []byte(payload)})
	p.Flush()
	return ok
}

func want(t testing.TB, k *sink, lines ...string) {
	t.Helper()
	if got := k.take(); !slices.Equal(got, lines) {
		t.Errorf("got %q, want %q", got, lines)
	}
}

// TestCacheFollowsChanges: results that a producer keeps are never stale.
func TestCacheFollowsChanges(t *testing.T) {
	a := newSet(t).GetOrAdd("A", subjecttree.ListOptions{})
	var p Producer
	k, l := &sink{}, &sink{}
	first := subscribe(t, a, "x.*", "", k)
	for range 3 { // the third comes from the cache
		publish(&p, a, "x.1", "m")
	}
	want(t, k, "x.* x.1 m", "x.* x.1 m", "x.* x.1 m")
	second := subscribe(t, a, "x.1", "", l)
	publish(&p, a, "x.1", "n")
	want(t, k, "x.* x.1 n")
	want(t, l, "x.1 x.1 n")
	a.Unsubscribe(first)
	publish(&p, a, "x.1", "o")
	want(t, k)
	want(t, l, "x.1 x.1 o")
	a.Unsubscribe(second)
	if publish(&p, a, "x.1", "p") {
		t.Error("delivered to nobody")
	}
	// More subjects than the cache holds.
	all := subscribe(t, a, ">", "", k)
	for round := range 3 {
		for i := range 2 * cacheSize {
			publish(&p, a, fmt.Sprintf("many.%d", i), "")
		}
		if n := len(k.take()); n != 2*cacheSize {
			t.Fatalf("round %d: %d deliveries", round, n)
		}
	}
	if n := len(p.main.m); n > cacheSize {
		t.Errorf("%d results kept", n)
	}
	a.Unsubscribe(all)
}

// TestRouteFollowsChanges: a route finds those who came, and not those who went,
// also when more routes are used than the list counts changes for.
func TestRouteFollowsChanges(t *testing.T) {
	a := newSet(t).GetOrAdd("A", subjecttree.ListOptions{})
	pub := NewPublisher(a, JetStream)
	r := NewRoute(a, "d.1")
	send := func(payload string, taken bool) {
		t.Helper()
		if got := pub.DeliverOn(r, []byte("shown"), nil, nil, []byte(payload)); got != taken {
			t.Errorf("%s: taken %v, want %v", payload, got, taken)
		}
		pub.Flush()
		for step := range 3 {
			r.Prefetch(step)
		}
	}
	if size := unsafe.Sizeof(*r); size%64 != 0 {
		t.Errorf("a route has %d bytes: it does not begin with a cache line", size)
	}
	k, l := &sink{}, &sink{}
	send("0", false)
	first := subscribe(t, a, "d.1", "", k)
	send("1", true)
	send("2", true)
	second := subscribe(t, a, "d.*", "q", l)
	send("3", true)
	a.Unsubscribe(first)
	send("4", true)
	a.Unsubscribe(second)
	send("5", false)
	third := subscribe(t, a, "*.1", "", k)
	send("6", true)
	a.Unsubscribe(third)
	send("7", false)
	want(t, k, "*.1 shown 6", "d.1 shown 1", "d.1 shown 2", "d.1 shown 3")
	want(t, l, "d.* shown 3", "d.* shown 4")
	// A service reply goes its own way and is not kept.
	if pub.DeliverOn(NewRoute(a, "_R_.x"), nil, nil, nil, []byte("m")) {
		t.Error("somebody took an answer to nothing")
	}
}

// TestQueueFallback: when a member does not take a message the next one is
// tried, and members are picked evenly.
func TestQueueFallback(t *testing.T) {
	a := newSet(t).GetOrAdd("A", subjecttree.ListOptions{})
	members := make([]*sink, 4)
	for i := range members {
		members[i] = &sink{}
		subscribe(t, a, []string{"w", "*"}[i%2], "q", members[i])
	}
	var p Producer
	const n = 4000
	for range n {
		publish(&p, a, "w", "")
	}
	total := 0
	for i, k := range members {
		got := len(k.take())
		total += got
		if got < n/4-n/20 || got > n/4+n/20 {
			t.Errorf("member %d got %d of %d", i, got, n)
		}
	}
	if total != n {
		t.Errorf("%d deliveries", total)
	}
	for _, k := range members[:3] {
		k.refuse = true
	}
	for range 10 {
		if !publish(&p, a, "w", "") {
			t.Fatal("lost although a member takes it")
		}
	}
	members[3].refuse = true
	if publish(&p, a, "w", "") {
		t.Error("delivered although nobody takes it")
	}
}

// TestServiceLoop: service imports in a circle end.
func TestServiceLoop(t *testing.T) {
	set := newSet(t)
	a, b := set.GetOrAdd("A", subjecttree.ListOptions{}), set.GetOrAdd("B", subjecttree.ListOptions{})
	export := &Export{Service: true, Subject: ">"}
	link := func(importer, exporter *Account, subject, local string) *ServiceImport {
		imp, err := NewServiceImport(importer, exporter, subject, local, export, false)
		if err != nil {
			t.Fatal(err)
		}
		return imp
	}
	a.Configure(&Config{Limits: Unlimited, Services: []*ServiceImport{link(a, b, "y.*", "x.*")}})
	b.Configure(&Config{Limits: Unlimited, Services: []*ServiceImport{link(b, a, "x.*", "y.*")}})
	k := &sink{}
	subscribe(t, b, "y.1", "", k)
	var p Producer
	if !p.Route(a, &Msg{Subject: []byte("x.1"), Reply: []byte("in"), Payload: []byte("m")}) {
		t.Error("not delivered")
	}
	p.Flush()
	want(t, k, "y.1 y.1 m")
	if publish(&p, a, "x.2", "m") {
		t.Error("delivered to nobody")
	}
	if n := a.responses.waiting.n + b.responses.waiting.n; n != 1 {
		t.Errorf("%d requests wait, want the one that was taken", n)
	}
}

// TestEndedBeforeItBegan: a subscription that is removed while it is added is not left in the list.
func TestEndedBeforeItBegan(t *testing.T) {
	a := newSet(t).GetOrAdd("A", subjecttree.ListOptions{})
	s := a.NewSub("x", "", "1", &sink{})
	a.Unsubscribe(s)
	if err := a.Subscribe(s); err != nil || a.list.Len() != 0 {
		t.Errorf("%v, %d subscriptions", err, a.list.Len())
	}
}

// TestReconfigure: subscriptions follow imports that come and go.
func TestReconfigure(t *testing.T) {
	set := newSet(t)
	a, b := set.GetOrAdd("A", subjecttree.ListOptions{}), set.GetOrAdd("B", subjecttree.ListOptions{})
	k := &sink{}
	s := subscribe(t, b, "from.a.*", "", k)
	imp, err := NewStreamImport(b, a, "ev.*", "from.a.$1", false)
	if err != nil {
		t.Fatal(err)
	}
	var p Producer
	for range 3 {
		if publish(&p, a, "ev.1", "m") {
			t.Error("delivered without import")
		}
		b.Configure(&Config{Limits: Unlimited, Streams: []*StreamImport{imp}})
		publish(&p, a, "ev.1", "m")
		want(t, k, "from.a.* from.a.1 m")
		b.Configure(&Config{Limits: Unlimited})
	}
	b.Configure(&Config{Limits: Unlimited, Streams: []*StreamImport{imp}})
	b.Unsubscribe(s)
	if n := a.list.Len(); n != 0 {
		t.Errorf("%d subscriptions left", n)
	}
}

// TestResponsesExpire: requests that are never answered are forgotten, and the
// table has a limit.
func TestResponsesExpire(t *testing.T) {
	set := newSet(t)
	a, b := set.GetOrAdd("A", subjecttree.ListOptions{}), set.GetOrAdd("B", subjecttree.ListOptions{})
	imp, err := NewServiceImport(b, a, "svc", "", &Export{Service: true, Subject: "svc", Threshold: 10 * time.Millisecond}, false)
	if err != nil {
		t.Fatal(err)
	}
	b.Configure(&Config{Limits: Unlimited, Services: []*ServiceImport{imp}})
	subscribe(t, a, "svc", "", &sink{})
	subscribe(t, b, "in", "", &sink{})
	waiting := func() int {
		a.responses.mu.Lock()
		defer a.responses.mu.Unlock()
		return a.responses.waiting.n
	}
	var p Producer
	p.Route(b, &Msg{Subject: []byte("svc"), Reply: []byte("in")})
	for deadline := time.Now().Add(10 * time.Second); waiting() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the request is kept for ever")
		}
	}
	imp.Export.Threshold = time.Hour
	long := bytes.Repeat([]byte("x"), 1<<20)
	for range maxResponseBytes >> 20 {
		key, ok := a.responses.add(time.Now(), imp, long, nil)
		if !ok {
			t.Fatal("refused below the limit of bytes")
		}
		defer a.responses.drop(key)
	}
	if _, ok := a.responses.add(time.Now(), imp, []byte("in"), nil); ok {
		t.Error("taken beyond the limit of bytes")
	}
	a.responses.expireOf(keysOf(a))
	if n, kept := waiting(), a.responses.bytes; n != 0 || kept != 0 {
		t.Fatalf("%d requests with %d bytes are left of those that nobody waits for", n, kept)
	}
	for range maxResponses {
		if _, ok := a.responses.add(time.Now(), imp, []byte("in"), nil); !ok {
			t.Fatal("refused below the limit")
		}
	}
	if p.Route(b, &Msg{Subject: []byte("svc"), Reply: []byte("in")}) {
		t.Error("delivered beyond the limit")
	}
}

// TestUnwantedInSlices: who looks for requests that nobody waits for any more finds them all, while others come and go.
func TestUnwantedInSlices(t *testing.T) {
	set := newSet(t)
	a, b := set.GetOrAdd("A", subjecttree.ListOptions{}), set.GetOrAdd("B", subjecttree.ListOptions{})
	imp, err := NewServiceImport(b, a, "svc", "", &Export{Service: true, Subject: "svc"}, false)
	if err != nil {
		t.Fatal(err)
	}
	add := func(reply string) replyKey {
		key, ok := a.responses.add(time.Now(), imp, []byte(reply), nil)
		if !ok {
			t.Fatal("refused")
		}
		return key
	}
	inbox := subscribe(t, b, "in.box.*", "", &sink{})
	others := subscribe(t, b, "in.box.other.*", "", &sink{})
	for i := range 10 * awaitSlice {
		add(fmt.Sprintf("in.box.%d", i))
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			var keys []replyKey
			for i := range 3 * awaitSlice / 2 {
				keys = append(keys, add(fmt.Sprintf("in.box.other.%d", i)))
			}
			for _, k := range keys {
				a.responses.drop(k)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 20 {
		w := &b.awaiting
		if n := len(w.unwanted(b, "in.box.*")); n != 0 {
			t.Fatalf("%d requests are not wanted while somebody waits", n)
		}
	}
	b.Unsubscribe(inbox)
	close(stop)
	<-stopped
	if n, left := b.awaiting.n.Load(), a.responses.waiting.n; n != 0 || left != 0 {
		t.Errorf("%d requests are left, %d wait", n, left)
	}
	b.Unsubscribe(others)
	for _, r := range b.awaiting.chains {
		if r != nil {
			t.Fatal("a chain is not empty")
		}
	}
}

func keysOf(a *Account) (keys []replyKey) {
	for r := range a.responses.waiting.all {
		keys = append(keys, r.key)
	}
	return keys
}

// TestShadowsOfTheGone: a subscription that ends while imports are changed leaves no shadow behind.
func TestShadowsOfTheGone(t *testing.T) {
	set := newSet(t)
	a, b := set.GetOrAdd("A", subjecttree.ListOptions{}), set.GetOrAdd("B", subjecttree.ListOptions{})
	imp, err := NewStreamImport(a, b, "x.>", "", false)
	if err != nil {
		t.Fatal(err)
	}
	with, without := Config{Streams: []*StreamImport{imp}}, Config{}
	k := &sink{}
	for range 3000 {
		a.Configure(&without)
		s := subscribe(t, a, "x.1", "", k)
		ended := make(chan struct{})
		go func() {
			a.Unsubscribe(s)
			close(ended)
		}()
		a.Configure(&with)
		<-ended
		if n := b.List().Len(); n != 0 {
			t.Fatalf("%d shadows of a subscription that has ended", n)
		}
	}
}

// TestShadowsDoNotMultiply: two imports that overlap, in each of many accounts, are two to the number of accounts ways for a
// subscription.
func TestShadowsDoNotMultiply(t *testing.T) {
	set := newSet(t)
	const accounts = maxShadowDepth + 1
	for i := range accounts - 1 {
		a, b := set.GetOrAdd(fmt.Sprint(i), subjecttree.ListOptions{}), set.GetOrAdd(fmt.Sprint(i+1), subjecttree.ListOptions{})
		var c Config
		for _, subject := range []string{"p.>", "*.>"} {
			imp, err := NewStreamImport(a, b, subject, "", false)
			if err != nil {
				t.Fatal(err)
			}
			c.Streams = append(c.Streams, imp)
		}
		a.Configure(&c)
	}
	first := set.Get("0")
	s := subscribe(t, first, ">", "", &sink{})
	n := 0
	for _, a := range set.All() {
		n += a.List().Len()
	}
	if n != 1+maxShadows {
		t.Errorf("%d subscriptions, want %d", n, 1+maxShadows)
	}
	first.Unsubscribe(s)
	for _, a := range set.All() {
		if n := a.List().Len(); n != 0 {
			t.Errorf("%d are left", n)
		}
	}
}

// TestSubCount: the limit of a subscription counts from its beginning.
func TestSubCount(t *testing.T) {
	var s Sub
	for i := range 3 {
		if ok, last := s.Count(); !ok || last {
			t.Fatalf("message %d: %v %v", i, ok, last)
		}
	}
	if s.SetMax(3) {
		t.Error("3 of 3 are gone")
	}
	if !s.SetMax(5) {
		t.Error("2 of 5 are left")
	}
	for i, want := range [][2]bool{{true, false}, {true, true}, {false, false}, {false, false}} {
		if ok, last := s.Count(); ok != want[0] || last != want[1] {
			t.Errorf("message %d: %v %v, want %v", 4+i, ok, last, want)
		}
	}
	if n := s.Delivered(); n != 5 {
		t.Errorf("%d delivered", n)
	}
}

// TestEndedWhileAdded: whoever sees a subscription before it is in the list may end
// it, and nothing of it is left.
func TestEndedWhileAdded(t *testing.T) {
	set := newSet(t)
	a, b := set.GetOrAdd("A", subjecttree.ListOptions{}), set.GetOrAdd("B", subjecttree.ListOptions{})
	imp, err := NewStreamImport(a, b, "x.>", "", false)
	if err != nil {
		t.Fatal(err)
	}
	a.Configure(&Config{Limits: Unlimited, Streams: []*StreamImport{imp}})
	var p Producer
	k := &sink{}
	s := a.NewSub("x.*", "", "1", k)
	s.Account().Unsubscribe(s)
	if err := a.Subscribe(s); err != nil {
		t.Fatal(err)
	}
	for _, from := range []*Account{a, b} {
		if n := from.list.Len(); n != 0 {
			t.Errorf("%d subscriptions are left in account %s", n, from.Name())
		}
		publish(&p, from, "x.1", "m")
	}
	want(t, k)
}

// TestWatch: each subscription that comes is told of, and the end of the last one.
func TestWatch(t *testing.T) {
	a := newSet(t).GetOrAdd("A", subjecttree.ListOptions{})
	var told []bool
	stop := a.Watch("d", "", func(*Sub) bool { return false }, func(interest bool) { told = append(told, interest) })
	x, y, other := &Sub{Subject: "d", To: &sink{}}, &Sub{Subject: "d", To: &sink{}}, &Sub{Subject: "*", To: &sink{}}
	for _, s := range []*Sub{x, other, y} {
		if err := a.Subscribe(s); err != nil {
			t.Fatal(err)
		}
	}
	a.Unsubscribe(x)
	a.Unsubscribe(y)
	stop()
	if want := []bool{false, true, true, false}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	a.Unsubscribe(other)
}
