package jetstream

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// resters are consumers whose turns the pacer holds; one that may go on is found
// not running, since its inbox is closed.
type resters []*Consumer

func (r *resters) add() *Consumer {
	c := &Consumer{}
	c.in.running, c.in.closed = true, true
	*r = append(*r, c)
	return c
}

// wentOn are the numbers of those that may go on.
func (r resters) wentOn() []int {
	synctest.Wait()
	var list []int
	for i, c := range r {
		c.in.mu.Lock()
		if !c.in.running {
			list = append(list, i)
		}
		c.in.mu.Unlock()
	}
	return list
}

func (r resters) want(t *testing.T, when string, want ...int) {
	t.Helper()
	if got := r.wentOn(); !slices.Equal(got, want) {
		t.Fatalf("%s: %v went on, want %v", when, got, want)
	}
}

// turnOf is how long a turn of a replay must take on this machine for its share
// to be used up 4 ms after it ended.
func turnOf() time.Duration {
	return 4 * time.Millisecond * time.Duration(runtime.GOMAXPROCS(0)) / pacedShare
}

// TestPacerShares: while somebody publishes and waits, replays rest one behind the
// other, each for as long as its share of the processors asks.
func TestPacerShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		var r resters
		hurry := func() { p.published.Store(time.Now().UnixNano()) }
		hurry()
		for range 3 { // three turns that ended together
			p.rest(r.add(), time.Now().Add(-turnOf()))
		}
		r.want(t, "at once")
		time.Sleep(4*time.Millisecond - time.Nanosecond)
		r.want(t, "before the first one's time")
		time.Sleep(time.Nanosecond)
		r.want(t, "after 4 ms", 0)
		time.Sleep(4 * time.Millisecond)
		r.want(t, "after 8 ms", 0, 1)
		p.rest(r.add(), time.Now().Add(-turnOf())) // behind the third one
		time.Sleep(4 * time.Millisecond)
		r.want(t, "after 12 ms", 0, 1, 2)
		time.Sleep(4*time.Millisecond - time.Nanosecond)
		r.want(t, "before 16 ms", 0, 1, 2)
		time.Sleep(time.Nanosecond)
		r.want(t, "after 16 ms", 0, 1, 2, 3)

		// A share that nobody used is not saved up.
		time.Sleep(20 * time.Millisecond)
		hurry()
		p.rest(r.add(), time.Now().Add(-turnOf()))
		time.Sleep(4*time.Millisecond - time.Nanosecond)
		r.want(t, "a late one, too early", 0, 1, 2, 3)
		time.Sleep(time.Nanosecond)
		r.want(t, "a late one", 0, 1, 2, 3, 4)
	})
}

// TestPacerLetsGo: when the last publish is long enough ago, everybody in the line
// goes on as soon as the clock strikes, in any number.
func TestPacerLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		var r resters
		p.published.Store(time.Now().UnixNano())
		if !p.hurried(time.Now()) {
			t.Fatal("nobody is in a hurry right after a publish")
		}
		time.Sleep(hurry - 2*time.Millisecond)
		if !p.hurried(time.Now()) {
			t.Fatal("a publish is forgotten too early")
		}
		for range 100 {
			p.rest(r.add(), time.Now().Add(-turnOf()))
		}
		time.Sleep(4*time.Millisecond - time.Nanosecond)
		r.want(t, "before the first one's time")
		if p.hurried(time.Now()) {
			t.Fatal("a publish counts for too long")
		}
		time.Sleep(time.Nanosecond)
		if n := len(r.wentOn()); n != 100 {
			t.Fatalf("%d of 100 went on", n)
		}
	})
}

// TestReplayBesidePublishers: a replay that somebody's publishes make rest sends
// everything, in slices of pacedMsgs; without them the slices are long.
func TestReplayBesidePublishers(t *testing.T) {
	for _, beside := range []bool{false, true} {
		t.Run(fmt.Sprint("publishers: ", beside), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 20 * sliceMsgs
				bus := &countingBus{count: make(chan int, n)}
				a, c := countingEngine(t, Options{MaxMemory: -1}, bus)
				c.publish("$JS.API.STREAM.CREATE.S", "", `{"name":"S","subjects":["s"],"storage":"memory"}`)
				synctest.Wait()
				for range n {
					c.p.Publish([]byte("s"), nil, nil, []byte("x"))
				}
				c.p.Flush()
				c.publish("$JS.API.CONSUMER.CREATE.S.C", "", `{"stream_name":"S","config":{"name":"C","ack_policy":"none"}}`)
				time.Sleep(2 * hurry)
				synctest.Wait()
				ask := Msg{Subject: []byte("$JS.API.CONSUMER.MSG.NEXT.S.C"), Reply: []byte("in"), Data: []byte(strconv.Itoa(n))}
				if beside {
					a.engine.consumers.pacer.published.Store(time.Now().Add(time.Hour).UnixNano())
				}
				a.serveAPI([]Msg{ask})
				longest := 0
				for got := 0; got < n; {
					k := <-bus.count
					got, longest = got+k, max(longest, k)
				}
				if want := map[bool]int{false: sliceMsgs, true: pacedMsgs}[beside]; longest != want {
					t.Errorf("the longest slice has %d messages, want %d", longest, want)
				}
			})
		})
	}
}
