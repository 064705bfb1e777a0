package account

import (
	"testing"
	"time"

	"github.com/natsd/natsd/subjecttree"
)

// answering is a service: it keeps the way back of the last request.
type answering struct{ reply []byte }

func (*answering) Kind() Kind { return Client }

func (k *answering) Deliver(_ *Producer, _ *Sub, m *Msg) bool {
	k.reply = append(k.reply[:0], m.Reply...)
	return true
}

// counting is a requester's inbox.
type counting struct{ n int }

func (*counting) Kind() Kind { return Client }

func (k *counting) Deliver(*Producer, *Sub, *Msg) bool {
	k.n++
	return true
}

type asking struct{}

func (asking) AppendRequestInfo(dst []byte, _ bool, _ string, _ *Account) []byte {
	return append(dst, `{"acc":"C","rtt":100000}`...)
}

func (asking) RTT() time.Duration { return 0 }

// exchange is a requester and a service that it reaches, and their producers.
type exchange struct {
	from, to             *Account // the same, or with an import
	requester, responder Producer
	service              answering
	inbox                counting
	request, answer      Msg
}

func newExchange(t testing.TB, imported bool) *exchange {
	set := newSet(t)
	x := &exchange{to: set.GetOrAdd("A", subjecttree.ListOptions{})}
	x.from = x.to
	if imported {
		x.from = set.GetOrAdd("C", subjecttree.ListOptions{})
		imp, err := NewServiceImport(x.from, x.to, "svc.*", "asked.*", &Export{Service: true, Subject: "svc.*"}, false)
		if err != nil {
			t.Fatal(err)
		}
		x.from.Configure(&Config{Limits: Unlimited, Services: []*ServiceImport{imp}})
		x.request.Subject = []byte("asked.1")
	} else {
		x.request.Subject = []byte("svc.1")
	}
	x.request.Reply, x.request.From = []byte("_INBOX.x.1"), asking{}
	subscribe(t, x.to, "svc.1", "", &x.service)
	subscribe(t, x.from, "_INBOX.x.*", "", &x.inbox)
	return x
}

func (x *exchange) ask() {
	x.requester.Route(x.from, &x.request)
	x.requester.Flush()
}

func (x *exchange) reply() {
	x.answer.Subject = x.service.reply
	x.responder.Route(x.to, &x.answer)
	x.responder.Flush()
}

// TestServiceImportAllocations: a request through an import, its header and its way back are made in memory that is used
// again. Only requests that wait for answers at the same time need more: each its entry in the table of replies, and
// the reply subject in it. AllocsPerRun rounds down: the table doubles now and then, and the race detector makes pools
// forget a quarter of what they are given.
func TestServiceImportAllocations(t *testing.T) {
	const runs = 2000
	x := newExchange(t, true)
	answered := func() { x.ask(); x.reply() }
	for range 10 {
		answered()
	}
	if n := testing.AllocsPerRun(runs, answered); n != 0 {
		t.Errorf("%v allocations for a request that is answered, want none", n)
	}
	if want := 10 + 1 + runs; x.inbox.n != want {
		t.Errorf("%d answers, want %d", x.inbox.n, want)
	}
	const entry, subject = 1, 1
	if n := testing.AllocsPerRun(runs, x.ask); n != entry+subject {
		t.Errorf("%v allocations for a request that waits, want %d", n, entry+subject)
	}
	if n := x.to.responses.waiting.n; n != 1+runs {
		t.Errorf("%d requests wait, want %d", n, 1+runs)
	}
	imp := x.from.Config().Services[0]
	if n := testing.AllocsPerRun(runs, func() { x.to.responses.add(time.Now(), imp, x.request.Reply, nil) }); n != entry+subject {
		t.Errorf("%v allocations for an entry of the table alone, want %d", n, entry+subject)
	}
}

// BenchmarkServiceImport is a request and its answer inside an account, and through an import.
func BenchmarkServiceImport(b *testing.B) {
	for _, c := range []struct {
		name     string
		imported bool
	}{{"one account", false}, {"import", true}} {
		b.Run(c.name, func(b *testing.B) {
			x := newExchange(b, c.imported)
			b.ReportAllocs()
			for b.Loop() {
				x.ask()
				x.reply()
			}
			if x.inbox.n != b.N {
				b.Errorf("%d answers to %d requests", x.inbox.n, b.N)
			}
		})
	}
}
