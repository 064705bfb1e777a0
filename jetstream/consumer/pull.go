package consumer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/nanos"
)

// Request is a pull request.
type Request struct {
	Reply    string
	Imported bool // Reply belongs to another account

	Batch         int
	Expires       int64 // ns; 0: never
	MaxBytes      int
	NoWait        bool
	Heartbeat     int64 // ns
	Group         string
	MinPending    int
	MinAckPending int
	ID            string // pin
	Priority      int
}

// maxRequestString bounds the strings that a waiting request keeps.
const maxRequestString = 256

// ParseRequest reads the body of a pull request. The error's text is for the
// client.
func ParseRequest(body []byte) (Request, error) {
	r := Request{Batch: 1}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return r, nil
	}
	if body[0] != '{' {
		if n, err := strconv.Atoi(string(body)); err == nil && n > 0 {
			r.Batch = n
		}
		return r, nil
	}
	var v requestBody
	if !v.scan(body) {
		// The name is part of error texts that clients know.
		type JSApiConsumerGetNextRequest requestBody
		var q JSApiConsumerGetNextRequest
		if err := json.Unmarshal(body, &q); err != nil {
			return r, err
		}
		v = requestBody(q)
	}
	r = Request{
		Batch: max(v.Batch, 1), Expires: max(int64(v.Expires), 0), MaxBytes: max(v.MaxBytes, 0), NoWait: v.NoWait,
		Heartbeat: max(int64(v.Heartbeat), 0), Group: v.Group, MinPending: v.MinPending, MinAckPending: v.MinAckPending,
		ID: v.ID, Priority: v.Priority,
	}
	if r.Heartbeat > 0 && (r.Heartbeat > r.Expires/2) {
		return r, errHeartbeatTooLarge
	}
	return r, nil
}

// requestBody is a pull request as JSON.
type requestBody struct {
	Batch         int           `json:"batch"`
	Expires       time.Duration `json:"expires"`
	MaxBytes      int           `json:"max_bytes"`
	NoWait        bool          `json:"no_wait"`
	Heartbeat     time.Duration `json:"idle_heartbeat"`
	Group         string        `json:"group"`
	MinPending    int           `json:"min_pending"`
	MinAckPending int           `json:"min_ack_pending"`
	ID            string        `json:"id"`
	Priority      int           `json:"priority"`
}

// scan reads what clients really send: a flat object of known members with
// short numbers, booleans and plain strings. It reports false for anything else,
// which encoding/json must judge.
func (v *requestBody) scan(b []byte) bool {
	i := 0
	space := func() {
		for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
			i++
		}
	}
	next := func(c byte) bool {
		space()
		if i < len(b) && b[i] == c {
			i++
			return true
		}
		return false
	}
	text := func() (string, bool) {
		if !next('"') {
			return "", false
		}
		start := i
		for ; i < len(b) && b[i] != '"'; i++ {
			if b[i] < ' ' || b[i] >= 0x7f || b[i] == '\\' {
				return "", false
			}
		}
		if i == len(b) {
			return "", false
		}
		i++
		return unsafe.String(unsafe.SliceData(b[start:]), i-1-start), true
	}
	integer := func() (n int, ok bool) {
		space()
		start := i
		for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
			n = n*10 + int(b[i]-'0')
		}
		digits := i - start
		return n, digits > 0 && digits <= 18 && (b[start] != '0' || digits == 1)
	}
	if !next('{') {
		return false
	}
	if next('}') {
		space()
		return i == len(b)
	}
	for {
		name, ok := text()
		if !ok || !next(':') {
			return false
		}
		number := &v.Batch
		switch name {
		case "batch":
		case "expires", "idle_heartbeat":
			n, ok := integer()
			if !ok {
				return false
			}
			if name == "expires" {
				v.Expires = time.Duration(n)
			} else {
				v.Heartbeat = time.Duration(n)
			}
			number = nil
		case "max_bytes":
			number = &v.MaxBytes
		case "min_pending":
			number = &v.MinPending
		case "min_ack_pending":
			number = &v.MinAckPending
		case "priority":
			number = &v.Priority
		case "group", "id":
			s, ok := text()
			if !ok {
				return false
			}
			if s = strings.Clone(s); name == "group" {
				v.Group = s
			} else {
				v.ID = s
			}
			number = nil
		case "no_wait":
			space()
			switch rest := b[i:]; {
			case bytes.HasPrefix(rest, []byte("true")):
				v.NoWait = true
				i += len("true")
			case bytes.HasPrefix(rest, []byte("false")):
				v.NoWait = false
				i += len("false")
			default:
				return false
			}
			number = nil
		default:
			return false
		}
		if number != nil {
			if *number, ok = integer(); !ok {
				return false
			}
		}
		if next('}') {
			space()
			return i == len(b)
		}
		if !next(',') {
			return false
		}
	}
}

type textError string

func (e textError) Error() string { return string(e) }

const errHeartbeatTooLarge = textError("heartbeat value too large")

// refuse answers a request with a status.
func (m *Machine) refuse(reply, status string) {
	m.emit(Effect{Kind: Status, Target: reply, Text: status})
}

// end answers a request that was queued, with what is left of it.
func (m *Machine) end(w *waiter, status string) {
	m.emit(Effect{Kind: Status, Remaining: true, Target: w.Reply, Text: status, Messages: w.left, Bytes: w.budget})
}

// PullBody takes a pull request as it came in.
func (m *Machine) PullBody(body []byte, reply string, imported bool, now int64) {
	if reply == "" {
		return
	}
	if m.closed {
		m.refuse(reply, "409 Consumer Deleted")
		return
	}
	m.activity = now
	if m.cfg.Push() {
		m.refuse(reply, "409 Consumer is push based")
		return
	}
	r, err := ParseRequest(body)
	if err != nil {
		m.refuse(reply, "400 Bad Request - "+err.Error())
		return
	}
	r.Reply, r.Imported = reply, imported
	m.Pull(r, now)
}

// Pull admits a pull request: it is refused with a status or waits.
func (m *Machine) Pull(r Request, now int64) {
	m.blocked = false
	if status := m.admit(&r); status != "" {
		m.refuse(r.Reply, status)
		return
	}
	if m.wait.len() >= m.cfg.MaxWaiting && !m.makeRoom(now) {
		if r.Heartbeat == 0 {
			m.refuse(r.Reply, "409 Exceeded MaxWaiting")
		}
		return
	}
	if r.NoWait {
		avail := m.count + uint64(m.pend.queued)
		if avail == 0 && r.Expires == 0 {
			m.refuse(r.Reply, "404 No Messages")
			return
		}
		if avail > 0 {
			m.dropDead(now)
			if uint64(m.wait.outstanding()) > avail {
				m.refuse(r.Reply, "408 Requests Pending")
				return
			}
		}
	}
	if r.ID != "" && r.ID == m.pin.id {
		m.pin.renew(m.cfg, now)
	}
	w := m.wait.new()
	*w = waiter{Request: r, left: r.Batch, budget: r.MaxBytes, active: now}
	if r.Expires > 0 {
		w.deadline = nanos.After(now, r.Expires)
	}
	if m.cfg.PriorityPolicy == jsapi.PriorityPrioritized {
		m.wait.insert(w)
	} else {
		m.wait.push(w)
	}
	m.wait.watch(w)
}

// admit checks a request against the configuration; the result is a status, or
// empty.
func (m *Machine) admit(r *Request) string {
	c := m.cfg
	switch {
	case c.MaxRequestBatch > 0 && r.Batch > c.MaxRequestBatch:
		return fmt.Sprintf("409 Exceeded MaxRequestBatch of %d", c.MaxRequestBatch)
	case c.MaxRequestExpires > 0 && r.Expires > int64(c.MaxRequestExpires):
		return fmt.Sprintf("409 Exceeded MaxRequestExpires of %v", c.MaxRequestExpires)
	case c.MaxRequestBytes > 0 && r.MaxBytes > c.MaxRequestBytes:
		return fmt.Sprintf("409 Exceeded MaxRequestMaxBytes of %d", c.MaxRequestBytes)
	case (r.MinPending != 0 || r.MinAckPending != 0) && c.PriorityPolicy != jsapi.PriorityOverflow:
		return "400 Bad Request - Not a Overflow Priority consumer"
	case r.ID != "" && c.PriorityPolicy != jsapi.PriorityPinnedClient:
		return "400 Bad Request - Not a Pinned Client Priority consumer"
	case r.Priority < 0 || r.Priority > 9:
		return "400 Bad Request - Priority must be between 0 and 9"
	}
	if c.PriorityPolicy == jsapi.PriorityNone {
		return ""
	}
	switch {
	case r.Group == "":
		return "400 Bad Request - Priority Group missing"
	case !slices.Contains(c.PriorityGroups, r.Group):
		return "400 Bad Request - Invalid Priority Group"
	case r.ID != "" && m.pin.id != "" && r.ID != m.pin.id || len(r.ID) > maxRequestString:
		return "423 Nats-Pin-Id mismatch"
	}
	return ""
}

// fullScan is how often a full queue is searched for dead requests at most.
const fullScan = int64(time.Second)

// makeRoom drops dead requests from a full queue.
func (m *Machine) makeRoom(now int64) bool {
	if now-m.wait.scanned < fullScan && m.wait.scanned != 0 {
		return false
	}
	m.wait.scanned = now
	m.dropDead(now)
	return m.wait.len() < m.cfg.MaxWaiting
}

// dropDead drops requests that expired or that nobody listens to.
func (m *Machine) dropDead(now int64) {
	m.wait.keep(func(w *waiter) bool {
		if w.deadline != 0 && w.deadline <= now {
			m.end(w, "408 Request Timeout")
			return false
		}
		return m.listening(w)
	})
}

// listening reports whether somebody waits for the request's messages. An
// importer that does not is told, for its request came through a service.
func (m *Machine) listening(w *waiter) bool {
	if m.world.Interest(w.Reply) {
		return true
	}
	if w.Imported {
		m.end(w, "408 Interest Expired")
	}
	return false
}

// endOneShots ends the no_wait requests that have waited enough: nothing is
// left to deliver.
func (m *Machine) endOneShots() {
	m.wait.keep(func(w *waiter) bool {
		if w.NoWait && (w.deadline == 0 || w.served) {
			m.refuse(w.Reply, "404 No Messages")
			return false
		}
		return true
	})
}

// EndRequests ends all requests with a status: "409 Consumer Deleted", "409
// Leadership Change", "409 Server Shutdown" (with what is left of them).
func (m *Machine) EndRequests(status string, remaining bool) {
	m.wait.keep(func(w *waiter) bool {
		if remaining {
			m.end(w, status)
		} else {
			m.refuse(w.Reply, status)
		}
		return false
	})
}

// Close ends everything; later inputs have no effect.
func (m *Machine) Close() {
	m.closed = true
	m.wait = waiting{}
}
