package account

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/natsd/natsd/subjecttree"
)

// awaitChains is the number of chains that awaiting has for the beginnings of
// reply subjects. A power of two.
const awaitChains = 1024

// awaitSlice is how many requests of a chain are looked at before others get a turn.
const awaitSlice = 512

// awaiting are the requests to services of other accounts that an account waits
// for answers to, by where the answers go. They are forgotten as soon as nobody
// subscribes to that any more; so each unsubscription looks here.
type awaiting struct {
	n atomic.Int64 // requests; changed with mu held

	mu     sync.Mutex              // guards the rest, and the links; taken after that of responses
	chains *[awaitChains]*response // by the first two tokens; nil until the first request
}

// link is where a response is in the chains of awaiting. One without an import is no
// request: it keeps the place of somebody who looks through the chain.
type link struct {
	in           bool // else the rest says nothing
	chain        uint32
	before, next *response
}

var awaitSeed = maphash.MakeSeed()

// awaitChain is the chain of a beginning. Clients put their name into the second
// token of their inboxes, and give these up together.
func awaitChain(beginning []byte) uint32 {
	return uint32(maphash.Bytes(awaitSeed, beginning)) % awaitChains
}

// beginning is what stands before the second dot of a subject.
func beginning(subject []byte) []byte {
	dots := 0
	for i := range len(subject) {
		if subject[i] == '.' {
			if dots++; dots == 2 {
				return subject[:i]
			}
		}
	}
	return subject
}

// add notes a request. One whose answer goes on through another import has no
// subscription to wait for. The lock of its responses is held, as for remove.
func (w *awaiting) add(r *response) {
	if isServiceReply(r.reply) {
		return
	}
	chain := awaitChain(beginning(r.reply))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.chains == nil {
		w.chains = new([awaitChains]*response)
	}
	w.link(r, chain, nil)
	w.n.Add(1)
}

// link puts r behind before, which may be nil, in a chain; mu is held, as for unlink.
func (w *awaiting) link(r *response, chain uint32, before *response) {
	next := &w.chains[chain]
	if before != nil {
		next = &before.awaited.next
	}
	r.awaited = link{in: true, chain: chain, before: before, next: *next}
	if *next != nil {
		(*next).awaited.before = r
	}
	*next = r
}

func (w *awaiting) unlink(r *response) {
	l := r.awaited
	if l.before == nil {
		w.chains[l.chain] = l.next
	} else {
		l.before.awaited.next = l.next
	}
	if l.next != nil {
		l.next.awaited.before = l.before
	}
	r.awaited = link{}
}

func (w *awaiting) remove(r *response) {
	if !r.awaited.in {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(r)
	w.n.Add(-1)
}

// unwanted is a request whose answer nobody waits for.
type unwanted struct {
	at    *responses
	key   replyKey
	probe *probe
}

// interestGone is called after a subscription of a was removed.
func (w *awaiting) interestGone(a *Account, subject string) {
	if w.n.Load() == 0 {
		return
	}
	for _, u := range w.unwanted(a, subject) {
		if u.at.drop(u.key) && u.probe != nil {
			u.probe.reportAlone(latencyNoInterest)
		}
	}
}

func (w *awaiting) unwanted(a *Account, subject string) (gone []unwanted) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.chains == nil {
		return nil
	}
	look := func(r *response) {
		for n := 1; r != nil; n++ {
			if r.imp != nil && subjecttree.Matches(r.reply, subject) && !a.list.HasInterest(r.reply) {
				gone = append(gone, unwanted{&r.imp.Exporter.responses, r.key, r.probe})
			}
			if n%awaitSlice == 0 {
				r = w.rest(r)
			} else {
				r = r.awaited.next
			}
		}
	}
	if b := beginning([]byte(subject)); bytes.IndexByte(b, '*') < 0 && bytes.IndexByte(b, '>') < 0 {
		look(w.chains[awaitChain(b)])
		return gone
	}
	for _, r := range w.chains {
		look(r)
	}
	return gone
}

// rest lets others have the lock. What follows r then may be other requests.
func (w *awaiting) rest(r *response) (next *response) {
	place := new(response)
	w.link(place, r.awaited.chain, r)
	w.mu.Unlock()
	w.mu.Lock()
	next = place.awaited.next
	w.unlink(place)
	return next
}
