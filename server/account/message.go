package account

import (
	"time"

	"github.com/natsd/natsd/server/msgtrace"
	"github.com/natsd/natsd/server/transport"
)

// Kind says what a producer or receiver is. The numbers are those of trace
// events.
type Kind uint8

const (
	Client Kind = iota
	Router
	Gateway
	System
	Leafnode
	JetStream
	Internal // an account itself: imports and exports
)

var kinds = [...]string{"Client", "Router", "Gateway", "System", "Leafnode", "JetStream", "Account"}

func (k Kind) String() string { return kinds[k] }

// Requester is the connection that a message came from.
type Requester interface {
	// AppendRequestInfo appends the JSON object that a service gets to know of
	// who asks: all of it, or with share false the account and the round trip
	// time.
	// svc, if not empty, is the last importing account of a chain; to is the
	// account of the service.
	AppendRequestInfo(dst []byte, share bool, svc string, to *Account) []byte
	// RTT is the connection's round trip time, 0 if it is not known.
	RTT() time.Duration
}

// Msg is a message on its way. Its slices are valid until the producer's flush;
// a receiver that keeps them longer copies them.
type Msg struct {
	Subject []byte
	Show    []byte // what receivers see instead of Subject; nil: Subject
	Reply   []byte // empty: none
	Header  []byte // the whole block; nil: none
	Payload []byte

	// From is the connection that the message came from; nil if it is the server
	// itself.
	From Requester

	// Trace collects what happens to the message; nil for most.
	Trace *msgtrace.Trace

	shared *transport.Shared // of Payload, once a receiver asked for it
	via    *passage          // the service imports that the message came through
}

// Set makes m another message of the connection that it is from.
func (m *Msg) Set(subject, reply, header, payload []byte) {
	m.Subject, m.Reply, m.Header, m.Payload = subject, reply, header, payload
	m.Show, m.Trace, m.shared, m.via = nil, nil, nil, nil
}

// Size of header and payload in bytes.
func (m *Msg) Size() int { return len(m.Header) + len(m.Payload) }

// Shared returns a reference to the payload that stages of p may hold.
func (m *Msg) Shared(p *Producer) *transport.Shared {
	if m.shared == nil {
		m.shared = p.Out.NewShared(m.Payload)
	}
	return m.shared
}

// passage is one service import that a message came through.
type passage struct {
	imp   *ServiceImport
	reply []byte // that the message came with
	prev  *passage
}

func (p *passage) through(imp *ServiceImport) bool {
	for ; p != nil; p = p.prev {
		if p.imp == imp {
			return true
		}
	}
	return false
}

// shares tells whether the service is told all about who asked: that is up to the
// import that the request came in by, the first of a chain that leads to imp.
func (p *passage) shares(imp *ServiceImport) bool {
	for ; p != nil; p = p.prev {
		imp = p.imp
	}
	return imp.Share
}

// Imported tells that the message came through a service import.
func (m *Msg) Imported() bool { return m.via != nil }

// Asked is the reply subject that an imported message had when it was published;
// Reply leads back to it.
func (m *Msg) Asked() []byte {
	p := m.via
	for p.prev != nil {
		p = p.prev
	}
	return p.reply
}

// Shown is the subject that receivers see.
func (m *Msg) Shown() []byte {
	if m.Show != nil {
		return m.Show
	}
	return m.Subject
}
