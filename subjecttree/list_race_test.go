package subjecttree

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// Readers match while writers change: no result changes under its reader, and what
// a valid ticket vouches for is never old.
func TestListRace(t *testing.T) {
	type sub struct{ closed atomic.Bool }
	l := NewList[*sub](ListOptions{})
	always := new(sub)
	for _, s := range []string{"a.1", "a.*", ">"} {
		if err := l.Insert(s, "", always); err != nil {
			t.Fatal(err)
		}
	}
	var writers, readers sync.WaitGroup
	var stop atomic.Bool
	for w := range 4 {
		writers.Go(func() {
			for i := range 100 {
				s := new(sub)
				subject := []string{"a.1", "a.*", "*.1", fmt.Sprint("a.", w, i)}[i%4]
				queue := []string{"", "q"}[i/4%2]
				if err := l.Insert(subject, queue, s); err != nil {
					t.Error(err)
				}
				if queue != "" {
					if err := l.SetWeight(subject, queue, s, int32(i%3)+1); err != nil {
						t.Error(err)
					}
				}
				if err := l.Remove(subject, queue, s); err != nil {
					t.Error(err)
				}
				s.closed.Store(true)
			}
		})
	}
	for range 4 {
		readers.Go(func() {
			var into, held Result[*sub]
			var ticket Ticket
			for !stop.Load() {
				r := l.Match([]byte("a.1"))
				n := 0
				for _, s := range r.Plain {
					if s == always {
						n++
					}
				}
				if n != 3 {
					t.Errorf("%d of 3 subscriptions", n)
					return
				}
				l.MatchInto(&into, []byte("a.1"))
				if len(into.Plain) < 3 || !l.HasInterest([]byte("b")) {
					t.Error("lost a subscription")
					return
				}
				if !ticket.Valid() {
					l.MatchHeld(&held, &ticket, []byte("a.1"))
				}
				if len(held.Plain) < 3 {
					t.Error("lost a subscription")
					return
				}
				l.Stats()
				l.ReverseMatch("a.*")
			}
		})
	}
	// Once Remove has returned, no later match finds the subscription.
	checked := new(sub)
	var own Result[*sub]
	var mine Ticket
	for range 100 {
		if err := l.Insert("a.1", "", checked); err != nil {
			t.Fatal(err)
		}
		if !contains(l.Match([]byte("a.1")).Plain, checked) {
			t.Fatal("not there after Insert")
		}
		if !mine.Valid() {
			l.MatchHeld(&own, &mine, []byte("a.1"))
		}
		if !contains(own.Plain, checked) {
			t.Fatal("not there after Insert, for the ticket")
		}
		if err := l.Remove("a.1", "", checked); err != nil {
			t.Fatal(err)
		}
		if contains(l.Match([]byte("a.1")).Plain, checked) {
			t.Fatal("still there after Remove")
		}
		if mine.Valid() {
			t.Fatal("the ticket is valid after Remove")
		}
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	if l.Len() != 3 {
		t.Errorf("%d subscriptions left", l.Len())
	}
}

func contains[V comparable](list []V, v V) bool {
	for _, o := range list {
		if o == v {
			return true
		}
	}
	return false
}
