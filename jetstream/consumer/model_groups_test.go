package consumer

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/natsd/natsd/jetstream/jsapi"
)

// groupModel is the queue of requests of a consumer with priority groups, as the
// specification tells it. Each request has an inbox of its own.
type groupModel struct {
	queue    []*modelRequest
	statuses map[string]string // by inbox
	gone     map[string]bool   // inboxes that nobody listens to any more
	n        int
	pin      string
	until    int64 // of the pin
	admin    bool  // an unpin is under way
}

// modelRequest is a pull request and what is left of it.
type modelRequest struct {
	Batch         int    `json:"batch"`
	Expires       int64  `json:"expires,omitempty"`
	MaxBytes      int    `json:"max_bytes,omitempty"`
	Group         string `json:"group,omitempty"`
	MinPending    int    `json:"min_pending,omitempty"`
	MinAckPending int    `json:"min_ack_pending,omitempty"`
	ID            string `json:"id,omitempty"`
	Priority      int    `json:"priority,omitempty"`

	inbox    string
	deadline int64
}

func newGroupModel() *groupModel {
	return &groupModel{statuses: map[string]string{}, gone: map[string]bool{}}
}

// restart forgets what does not survive one.
func (g *groupModel) restart() { g.queue, g.pin, g.until = nil, "", 0 }

func (g *groupModel) find(inbox string) int {
	return slices.IndexFunc(g.queue, func(w *modelRequest) bool { return w.inbox == inbox })
}

// add puts a request behind those that go before it.
func (g *groupModel) add(w *modelRequest) {
	i := len(g.queue)
	for i > 0 && g.queue[i-1].Priority > w.Priority {
		i--
	}
	g.queue = slices.Insert(g.queue, i, w)
}

// pull makes a random request.
func (m *model) pull() {
	r, g := m.r, m.groups
	w := &modelRequest{Batch: 1 + r.IntN(4), Group: []string{"A", "A", "A", "A", "B", "X", ""}[r.IntN(7)]}
	if r.IntN(4) > 0 {
		w.Expires = int64(1+r.IntN(3)) * 1e9
	}
	if r.IntN(6) == 0 {
		w.MaxBytes = 40 + r.IntN(200)
	}
	switch m.s.cfg.PriorityPolicy {
	case jsapi.PriorityOverflow:
		w.MinPending, w.MinAckPending = max(r.IntN(8)-2, 0), max(r.IntN(8)-4, 0)
	case jsapi.PriorityPrioritized:
		w.Priority = []int{0, 0, 1, 2, 9, 10, -1}[r.IntN(7)]
	case jsapi.PriorityPinnedClient:
		w.ID = []string{"", "", g.pin, g.pin, "another"}[r.IntN(5)]
	}
	m.request(w)
}

// request sends a request: it is refused, or it waits.
func (m *model) request(w *modelRequest) {
	s, g := m.s, m.groups
	g.n++
	w.inbox = fmt.Sprint("g", g.n)
	if w.Expires > 0 {
		w.deadline = s.now + w.Expires
	}
	body, err := json.Marshal(w)
	if err != nil {
		m.fail("%v", err)
	}
	m.note("pull %s %s", w.inbox, body)
	want := ""
	switch {
	case w.Priority < 0 || w.Priority > 9:
		want = "400 Bad Request - Priority must be between 0 and 9"
	case w.Group == "":
		want = "400 Bad Request - Priority Group missing"
	case w.Group == "X":
		want = "400 Bad Request - Invalid Priority Group"
	case w.ID != "" && g.pin != "" && w.ID != g.pin:
		want = "423 Nats-Pin-Id mismatch"
	default:
		g.add(w)
		if w.ID != "" && w.ID == g.pin {
			g.until = s.now + int64(s.cfg.PriorityTimeout)
		}
	}
	s.m.PullBody(body, w.inbox, false, s.now)
	s.turn()
	if got := g.statuses[w.inbox]; want != "" && got != want {
		m.fail("request %s is answered with %q, want %q", w.inbox, got, want)
	}
}

// leave has somebody stop to listen, or the pin taken away.
func (m *model) leave() {
	s, g := m.s, m.groups
	if s.cfg.PriorityPolicy == jsapi.PriorityPinnedClient && m.r.IntN(2) == 0 {
		m.note("unpin %s", g.pin)
		g.admin = true
		s.m.Unpin("A", "admin")
		s.turn()
		if g.admin {
			m.fail("nobody is told of the unpin")
		}
		return
	}
	if len(g.queue) == 0 {
		return
	}
	in := g.queue[m.r.IntN(len(g.queue))].inbox
	m.note("leave %s", in)
	s.deaf[in], g.gone[in] = true, true
	g.queue = slices.Delete(g.queue, g.find(in), g.find(in)+1)
}

// eligible tells whether a request may get the next message, of which there are
// left with it.
func (m *model) eligible(w *modelRequest, left uint64) bool {
	switch m.s.cfg.PriorityPolicy {
	case jsapi.PriorityOverflow:
		return w.MinPending == 0 && w.MinAckPending == 0 || w.MinPending > 0 && left >= uint64(w.MinPending) ||
			w.MinAckPending > 0 && len(m.pending) >= w.MinAckPending
	case jsapi.PriorityPinnedClient:
		return w.ID == m.groups.pin // also a candidate, while there is no pin
	}
	return true
}

// groupSent compares who gets a message with who should.
func (m *model) groupSent(d *Delivery) {
	g, cfg := m.groups, m.s.cfg
	left := m.undelivered()
	if d.Count > 1 {
		left++ // of a redelivery the reference counts the message as well
	}
	for n := len(g.queue); n > 0 && !m.eligible(g.queue[0], left); n-- {
		g.queue = append(g.queue[1:], g.queue[0])
	}
	if len(g.queue) == 0 || g.queue[0].inbox != d.Target || !m.eligible(g.queue[0], left) {
		m.fail("%s gets %d; queue %s, %d left", d.Target, d.Seq, g.describe(), left)
	}
	if d.PinID != g.pin {
		m.fail("delivered with pin %q, want %q", d.PinID, g.pin)
	}
	w := g.queue[0]
	msg := m.s.msgs[d.Seq]
	size := len(msg.subject) + len(d.Reply) + msg.size
	limited := w.MaxBytes > 0
	if w.Batch--; limited {
		if w.MaxBytes -= size; w.MaxBytes < 0 {
			m.fail("%s gets %d bytes too many", w.inbox, -w.MaxBytes)
		}
	}
	switch {
	case w.Batch == 0 || limited && w.MaxBytes == 0:
		g.queue = g.queue[1:]
	case cfg.PriorityPolicy != jsapi.PriorityPinnedClient:
		g.queue = g.queue[1:]
		g.add(w)
	}
}

func (g *groupModel) describe() string {
	text := ""
	for _, w := range g.queue {
		text += fmt.Sprintf("%s%+v ", w.inbox, *w)
	}
	return text
}

// groupEffect hears what becomes of requests and of the pin.
func (m *model) groupEffect(e *Effect) {
	s, g := m.s, m.groups
	switch e.Kind {
	case Status:
		m.note("  %s: %s", e.Target, e.Text)
		g.statuses[e.Target] = e.Text
		i := g.find(e.Target)
		if i < 0 {
			return
		}
		w := g.queue[i]
		right := false
		switch e.Text {
		case "408 Request Timeout":
			right = w.deadline != 0 && w.deadline <= s.now && e.Messages == w.Batch
		case "409 Message Size Exceeds MaxBytes":
			right = w.MaxBytes > 0 && e.Messages == w.Batch && e.Bytes == w.MaxBytes
		case "423 Nats-Wrong-Pin-Id":
			right = w.ID != "" && w.ID != g.pin && e.Messages == w.Batch
		}
		if !right {
			m.fail("%s ends with %q, %d messages, %d bytes: %+v", w.inbox, e.Text, e.Messages, e.Bytes, *w)
		}
		g.queue = slices.Delete(g.queue, i, i+1)
	case Pinned:
		m.note("  pinned %s", e.Text)
		i := slices.IndexFunc(g.queue, func(w *modelRequest) bool { return w.ID == "" })
		if g.pin != "" || i < 0 || s.cfg.PriorityPolicy != jsapi.PriorityPinnedClient {
			m.fail("pinned %s, pin %q, queue %s", e.Text, g.pin, g.describe())
		}
		g.pin, g.until = e.Text, s.now+int64(s.cfg.PriorityTimeout)
		g.queue[i].ID = g.pin
	case Unpinned:
		m.note("  unpinned: %s", e.Text)
		if timeout := e.Text == "timeout"; timeout && (g.pin == "" || s.now < g.until) || !timeout && !g.admin {
			m.fail("unpinned by %s, pin %q until %d, now %d", e.Text, g.pin, g.until, s.now)
		}
		g.pin, g.admin = "", false
	}
}

// pullRest has somebody wait who may get all that is left.
func (m *model) pullRest() {
	g := m.groups
	if slices.ContainsFunc(g.queue, func(w *modelRequest) bool { return w.Batch > 50 && m.eligible(w, 1) }) {
		return
	}
	m.request(&modelRequest{Batch: 100, Group: "A", ID: g.pin})
}

// checkGroups: nobody waits for what could be delivered.
func (m *model) checkGroups(i *Info) {
	s, g := m.s, m.groups
	if i.Pinned != g.pin {
		m.fail("pin %q, want %q", i.Pinned, g.pin)
	}
	if g.pin != "" && s.now >= g.until {
		m.fail("pin %s lives at %d, until %d", g.pin, s.now, g.until)
	}
	if i.Waiting != len(g.queue) {
		m.fail("%d requests wait, want %s", i.Waiting, g.describe())
	}
	left := m.undelivered()
	if full := s.cfg.MaxAckPending > 0 && s.cfg.AckPolicy != jsapi.AckNone && len(m.pending) >= s.cfg.MaxAckPending; left == 0 || full || i.PausedFor > 0 || i.Queued > 0 {
		return
	}
	for _, w := range g.queue {
		if m.eligible(w, left) {
			m.fail("%s waits with %d left: %+v", w.inbox, left, *w)
		}
	}
}
