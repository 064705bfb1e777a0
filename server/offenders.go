package server

import (
	"net/netip"
	"sync"
	"time"

	"github.com/natsd/natsd/server/client"
)

const (
	// offencePrice is what a connection that broke the protocol costs its
	// address, in time until it is forgiven: 50 such connections a second are
	// all that an address gets served, which is 1 % of a processor.
	offencePrice = 20 * time.Millisecond
	// offenceCredit is how far an address may be in debt before its connections
	// wait: 200 offences, more than a fleet with a wrong password makes when it
	// starts.
	offenceCredit = 200 * offencePrice
	// maxOffenceDelay bounds how long a connection waits, so that others behind
	// the same address can still connect.
	maxOffenceDelay = time.Second
	// maxHeld bounds the connections of an address that wait; more are closed.
	maxHeld = 100
	// refusedPause follows a connection that was closed as one too many of its
	// address. To accept and close one costs the host some 50 µs, and who is refused
	// comes again at once. With 4,096 of them in the kernel's queue somebody else
	// gets in after four seconds.
	refusedPause = time.Millisecond
	// maxOffenders bounds the addresses that are remembered. More of them are not
	// slowed down: who has so many does not need to come twice from one.
	maxOffenders = 4096
)

// offenders slows down those whose connections break the protocol again and
// again: accepting, judging and closing a connection costs more than most of what
// can be sent on one. Safe for concurrent use.
type offenders struct {
	mu sync.Mutex
	m  map[netip.Prefix]*offender // made by the first offence
}

type offender struct {
	forgiven time.Time // when all that it did is
	held     int       // connections that wait
}

// source is what one host usually has: an IPv4 address, or an IPv6 network of 64
// bits. It is not valid for what is no address.
func source(ip string) netip.Prefix {
	a, _ := netip.ParseAddr(ip)
	return sourceOf(a)
}

func sourceOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap(); a.Is4() {
		bits = 32
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}

// note remembers an offence.
func (o *offenders) note(src netip.Prefix, now time.Time) {
	if !src.IsValid() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.m[src]
	if e == nil {
		if o.forget(now); len(o.m) >= maxOffenders {
			return
		}
		if o.m == nil {
			o.m = make(map[netip.Prefix]*offender)
		}
		e = new(offender)
		o.m[src] = e
	}
	if e.forgiven.Before(now) {
		e.forgiven = now
	}
	e.forgiven = e.forgiven.Add(offencePrice)
	if latest := now.Add(offenceCredit + maxOffenceDelay); e.forgiven.After(latest) {
		e.forgiven = latest
	}
}

// forget drops addresses that are forgiven once there are many; mu is held.
func (o *offenders) forget(now time.Time) {
	if len(o.m) < maxOffenders {
		return
	}
	for src, e := range o.m {
		if e.held == 0 && e.forgiven.Before(now) {
			delete(o.m, src)
		}
	}
}

// hold says how long a new connection has to wait. ok is false if there are too
// many that do; if it is true and delay is not 0, release has to follow.
func (o *offenders) hold(src netip.Prefix, now time.Time) (delay time.Duration, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.m[src]
	if e == nil {
		return 0, true
	}
	delay = min(e.forgiven.Sub(now)-offenceCredit, maxOffenceDelay)
	if delay <= 0 {
		return 0, true
	}
	if e.held >= maxHeld {
		return 0, false
	}
	e.held++
	return delay, true
}

// full tells that hold would refuse a connection, for those who can refuse it
// before they have spent much on it.
func (o *offenders) full(src netip.Prefix) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.m[src]
	return e != nil && e.held >= maxHeld
}

// release ends the wait of a connection.
func (o *offenders) release(src netip.Prefix) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.m[src].held--
}

// Hold makes a connection wait whose address sent many that broke the protocol.
// It returns false if the connection is to be closed without another word.
func (h *host) Hold(ip string) bool {
	src := source(ip)
	delay, ok := h.offenders.hold(src, time.Now())
	if delay == 0 {
		return ok
	}
	defer h.offenders.release(src)
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.ending:
		return false
	}
}

// offence tells whether a connection that was closed like this broke the
// protocol, or came for nothing.
func offence(c *client.Client) bool {
	switch c.Reason() {
	case client.ProtocolViolation, client.MaxControlLineExceeded, client.MaxPayloadExceeded, client.TLSHandshakeError,
		client.AuthenticationViolation, client.AuthenticationTimeout:
		return true
	case client.ClientClosed, client.ReadError, client.WriteError:
		return c.Silent()
	}
	return false
}
