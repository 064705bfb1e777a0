package auth

import (
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/subjecttree"
)

// Permissions are what a connection may publish and subscribe to. They are
// immutable and safe for concurrent use. A nil *Permissions restricts nothing.
type Permissions struct {
	pubAllow, pubDeny []string
	subAllow, subDeny []entry
	responsesOnly     bool // no publish allow list, and responses are

	// Responses, if not nil, allows to publish to the reply subjects of what was
	// received.
	Responses *Responses

	source *options.Permissions
}

// Responses bounds what may be published to a reply subject.
type Responses struct {
	Max     int           // messages; negative or 0: unlimited
	Expires time.Duration // since the request; negative or 0: never
}

// entry is one of a subscribe list: a subject, and perhaps a queue name with
// wildcards.
type entry struct{ subject, queue string }

// NewPermissions compiles p; nil gives nil.
func NewPermissions(p *options.Permissions) *Permissions {
	if p == nil {
		return nil
	}
	c := &Permissions{
		pubAllow: p.Publish.Allow,
		pubDeny:  p.Publish.Deny,
		subAllow: entries(p.Subscribe.Allow),
		subDeny:  entries(p.Subscribe.Deny),
		source:   p,
	}
	if r := p.Responses; r != nil {
		c.Responses = &Responses{Max: int(r.MaxMsgs), Expires: r.Expires}
		c.responsesOnly = len(c.pubAllow) == 0
	}
	return c
}

// Source is what the permissions were made of, for monitoring.
func (p *Permissions) Source() *options.Permissions {
	if p == nil {
		return nil
	}
	return p.source
}

func entries(list []string) []entry {
	var out []entry
	for _, s := range list {
		f := strings.Fields(s)
		switch len(f) {
		case 1:
			out = append(out, entry{subject: f[0]})
		case 2:
			out = append(out, entry{subject: f[0], queue: f[1]})
		}
	}
	return out
}

// LimitsPublish tells whether any subject might be refused.
func (p *Permissions) LimitsPublish() bool {
	return p != nil && (len(p.pubAllow) > 0 || len(p.pubDeny) > 0 || p.responsesOnly)
}

// Publish tells whether subject, taken literally, may be published to, response
// grants apart.
func (p *Permissions) Publish(subject []byte) bool {
	if p == nil {
		return true
	}
	if p.responsesOnly || (len(p.pubAllow) > 0 && !matchesAny(subject, p.pubAllow)) {
		return false
	}
	return !matchesAny(subject, p.pubDeny)
}

func matchesAny(subject []byte, patterns []string) bool {
	for _, e := range patterns {
		if subjecttree.Matches(subject, e) {
			return true
		}
	}
	return false
}

// Subscribe tells whether a subscription to subject, in the queue group queue if
// that is not empty, may be made.
//
// An allow entry covers a subject if every subject that it matches is matched by
// the entry. A queue subscription is judged by the entries with a queue name, if
// any of those covers the subject; else by the plain ones.
func (p *Permissions) Subscribe(subject, queue string) bool {
	if p == nil {
		return true
	}
	if len(p.subAllow) > 0 {
		if !subjecttree.Matches(subject, ">") {
			return false // An empty token: nothing allows that.
		}
		var plain, queues, named bool
		for _, e := range p.subAllow {
			if !subjecttree.Subset(subject, e.subject) {
				continue
			}
			if e.queue == "" {
				plain = true
			} else {
				queues = true
				named = named || queueMatches(queue, e.queue)
			}
		}
		if queue != "" && queues {
			if !named {
				return false
			}
		} else if !plain {
			return false
		}
	}
	for _, e := range p.subDeny {
		if !subjecttree.Matches(subject, e.subject) {
			continue
		}
		if e.queue == "" || (queue != "" && queueMatches(queue, e.queue)) {
			return false
		}
	}
	return true
}

func queueMatches(queue, pattern string) bool {
	return queue == pattern || subjecttree.Matches(queue, pattern)
}

// Filters tells whether deliveries to a subscription that Subscribe allowed must
// be checked one by one: it overlaps what is denied.
func (p *Permissions) Filters(subject, queue string) bool {
	if p == nil || len(p.subDeny) == 0 || (queue == "" && subjecttree.Literal(subject)) {
		return false
	}
	for _, e := range p.subDeny {
		if subjecttree.Collide(subject, e.subject) {
			return true
		}
	}
	return false
}

// Deliver tells whether a message on subject may be given to a subscription in
// the queue group queue (empty: a plain one) of a connection that filters.
func (p *Permissions) Deliver(subject []byte, queue string) bool {
	for _, e := range p.subDeny {
		if (e.queue == "" || (queue != "" && queueMatches(queue, e.queue))) && subjecttree.Matches(subject, e.subject) {
			return false
		}
	}
	return true
}

// DenyPublish returns p with one more subject that may not be published to; nil
// is no restriction.
func (p *Permissions) DenyPublish(subject string) *Permissions {
	o := new(options.Permissions)
	if p != nil {
		*o = *p.source
	}
	o.Publish.Deny = append(slices.Clone(o.Publish.Deny), subject)
	return NewPermissions(o)
}
