package server

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestSource(t *testing.T) {
	for ip, want := range map[string]string{
		"10.1.2.3":        "10.1.2.3/32",
		"::ffff:10.1.2.3": "10.1.2.3/32",
		"2001:db8:1:2::5": "2001:db8:1:2::/64",
		"fe80::1%eth0":    "fe80::/64",
		"pipe":            "invalid Prefix",
		"":                "invalid Prefix",
	} {
		if got := source(ip).String(); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
}

func TestOffenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o offenders
		bad, good := source("10.0.0.1"), source("10.0.0.2")
		hold := func(want time.Duration, wantOK bool) {
			t.Helper()
			delay, ok := o.hold(bad, time.Now())
			if delay != want || ok != wantOK {
				t.Errorf("wait %v, %v, want %v, %v", delay, ok, want, wantOK)
			}
			if delay > 0 {
				o.release(bad)
			}
			if delay, ok := o.hold(good, time.Now()); delay != 0 || !ok {
				t.Errorf("the other address waits %v, %v", delay, ok)
			}
		}
		hold(0, true)
		for range 200 {
			o.note(bad, time.Now())
		}
		hold(0, true)
		o.note(bad, time.Now())
		hold(20*time.Millisecond, true)
		for range 1000 {
			o.note(bad, time.Now())
		}
		hold(time.Second, true)
		time.Sleep(600 * time.Millisecond)
		hold(400*time.Millisecond, true)
		for range 100 {
			o.hold(bad, time.Now())
		}
		hold(0, false)
		for range 100 {
			o.release(bad)
		}
		time.Sleep(400 * time.Millisecond)
		hold(0, true)
		// What is forgiven makes room; what is not is kept.
		for i := range 3 * maxOffenders {
			o.note(source(fmt.Sprintf("10.1.%d.%d", i/256, i%256)), time.Now())
		}
		if len(o.m) != maxOffenders {
			t.Errorf("%d addresses", len(o.m))
		}
		time.Sleep(offenceCredit + time.Second)
		o.note(source("10.2.0.1"), time.Now())
		if len(o.m) != 1 {
			t.Errorf("%d addresses", len(o.m))
		}
	})
}

// A connection that breaks the protocol too often waits before it gets INFO, and
// works then.
func TestHold(t *testing.T) {
	s := start(t, nil)
	for range 201 {
		s.offenders.note(source("127.0.0.1"), time.Now().Add(time.Hour))
	}
	began := time.Now()
	c := dial(t, s, plain)
	if took := time.Since(began); took < maxOffenceDelay {
		t.Errorf("waited %v", took)
	}
	c.send("PING\r\n")
	c.expect("PONG")
}

// What counts as an offence: the connection is closed, and the address in debt.
func TestOffence(t *testing.T) {
	s := start(t, nil)
	forgiven := func() (at time.Time) {
		s.offenders.mu.Lock()
		defer s.offenders.mu.Unlock()
		if e := s.offenders.m[source("127.0.0.1")]; e != nil {
			at = e.forgiven
		}
		return at
	}
	for _, send := range []string{"GET / HTTP/1.0\r\n", "PUB a 1 2 3 4\r\n", "PUB a 99999999\r\n", "SUB " + string(make([]byte, 5000))} {
		before := forgiven()
		c := dial(t, s, "")
		c.send("%s", send)
		waitFor(t, func() bool { return forgiven().After(before) })
	}
	before := forgiven()
	c := dial(t, s, plain)
	c.Close()
	waitFor(t, func() bool { return len(s.Clients()) == 0 })
	if after := forgiven(); !after.Equal(before) {
		t.Error("a client that came and went is no offender")
	}
}
