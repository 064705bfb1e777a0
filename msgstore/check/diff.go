package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/msgstore/consumerstate"
)

// Diff is the result of Compare.
type Diff struct {
	Identical   bool         `json:"identical"`
	Messages    uint64       `json:"messages"` // compared
	Differences []Difference `json:"differences"`
}

// Difference is a range of messages, or something else of a stream, that is not
// the same in both directories.
type Difference struct {
	Account  string `json:"account"`
	Stream   string `json:"stream"`
	Kind     string `json:"kind"` // only-in-a, only-in-b, differs, config, consumer, last-seq
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	Detail   string `json:"detail"`
}

func (d Difference) String() string {
	s := fmt.Sprintf("%s > %s: %s", d.Account, d.Stream, d.Kind)
	if d.LastSeq > 0 {
		s += fmt.Sprintf(" %d", d.FirstSeq)
		if d.LastSeq > d.FirstSeq {
			s += fmt.Sprintf(" to %d", d.LastSeq)
		}
	}
	if d.Detail != "" {
		s += ": " + d.Detail
	}
	return s
}

// maxDifferences bounds what Compare reports.
const maxDifferences = 10_000

// Compare compares two directories by what they hold: messages, configurations
// and consumers, not by how it is stored. The directories may be encrypted with
// different keys.
func Compare(a, b string, optsA, optsB Options) (*Diff, error) {
	d := &Diff{Differences: []Difference{}}
	left, err := collect(a, optsA)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	right, err := collect(b, optsB)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b, err)
	}
	for _, s := range left {
		i := slices.IndexFunc(right, func(o *stream) bool { return o.account == s.account && o.stream == s.stream })
		if i < 0 {
			d.add(s, "only-in-a", 0, 0, "the stream")
			continue
		}
		if err := d.streams(s, right[i]); err != nil {
			return nil, err
		}
	}
	for _, s := range right {
		if !slices.ContainsFunc(left, func(o *stream) bool { return o.account == s.account && o.stream == s.stream }) {
			d.add(s, "only-in-b", 0, 0, "the stream")
		}
	}
	d.Identical = len(d.Differences) == 0
	return d, nil
}

func collect(path string, opts Options) (list []*stream, err error) {
	err = examine(path, twoPasses, &opts, func(s *stream) error {
		list = append(list, s)
		return nil
	})
	return list, err
}

func (d *Diff) add(s *stream, kind string, first, last uint64, detail string) {
	if n := len(d.Differences); n > 0 && first > 0 {
		if p := &d.Differences[n-1]; p.Stream == s.stream && p.Account == s.account && p.Kind == kind && p.LastSeq+1 == first && p.Detail == detail {
			p.LastSeq = last
			return
		}
	}
	if len(d.Differences) < maxDifferences {
		d.Differences = append(d.Differences, Difference{s.account, s.stream, kind, first, last, detail})
	}
}

func (d *Diff) streams(a, b *stream) error {
	// Compression is how a stream is stored, and no part of what it holds.
	if diff := membersDiffer(a.metaRaw, b.metaRaw, "Created", "compression"); diff != "" {
		d.add(a, "config", 0, 0, "the configurations differ"+diff)
	}
	if a.state.LastSeq != b.state.LastSeq {
		d.add(a, "last-seq", 0, 0, fmt.Sprintf("%d and %d", a.state.LastSeq, b.state.LastSeq))
	}
	if err := d.messages(a, b); err != nil {
		return err
	}
	left, right := a.consumers(), b.consumers()
	for _, c := range left {
		i := slices.IndexFunc(right, func(o *consumer) bool { return o.name == c.name })
		if i < 0 {
			d.add(a, "consumer", 0, 0, c.name+" is only in a")
			continue
		}
		diff := membersDiffer(c.inf, right[i].inf, "Created")
		switch {
		case diff != "":
			d.add(a, "consumer", 0, 0, c.name+": the configurations differ"+diff)
		case !sameState(c.state, right[i].state):
			d.add(a, "consumer", 0, 0, c.name+": the states differ")
		}
	}
	for _, c := range right {
		if !slices.ContainsFunc(left, func(o *consumer) bool { return o.name == c.name }) {
			d.add(a, "consumer", 0, 0, c.name+" is only in b")
		}
	}
	return nil
}

// sameState compares the states of a consumer; nil is that of a new one. o.dat has the
// times of deliveries in whole seconds, and the journal in nanoseconds.
func sameState(a, b *consumerstate.State) bool {
	if a == nil {
		a = new(consumerstate.State)
	}
	if b == nil {
		b = new(consumerstate.State)
	}
	return a.Delivered == b.Delivered && a.AckFloor == b.AckFloor && maps.Equal(a.Redelivered, b.Redelivered) &&
		maps.EqualFunc(a.Pending, b.Pending, func(x, y consumerstate.Pending) bool {
			return x.Sequence == y.Sequence && time.Duration(x.Timestamp-y.Timestamp).Abs() <= time.Second
		})
}

// messages walks both streams side by side.
func (d *Diff) messages(a, b *stream) error {
	var errA, errB error
	nextA, stopA := iter.Pull(a.all(&errA))
	defer stopA()
	nextB, stopB := iter.Pull(b.all(&errB))
	defer stopB()
	x, okA := nextA()
	y, okB := nextB()
	for okA || okB {
		switch {
		case !okB || okA && x.Seq < y.Seq:
			d.add(a, "only-in-a", x.Seq, x.Seq, "")
			x, okA = nextA()
		case !okA || y.Seq < x.Seq:
			d.add(a, "only-in-b", y.Seq, y.Seq, "")
			y, okB = nextB()
		default:
			d.Messages++
			if what := differs(x, y); what != "" {
				d.add(a, "differs", x.Seq, x.Seq, what)
			}
			x, okA = nextA()
			y, okB = nextB()
		}
	}
	return errors.Join(errA, errB)
}

// errStop ends a walk that nobody wants to go on.
var errStop = errors.New("stop")

// all yields the live messages; an error is left in err.
func (s *stream) all(err *error) iter.Seq[*Message] {
	return func(yield func(*Message) bool) {
		*err = s.each(func(m *Message) error {
			if !yield(m) {
				return errStop
			}
			return nil
		})
		if errors.Is(*err, errStop) {
			*err = nil
		}
	}
}

func differs(x, y *Message) string {
	switch {
	case x.Subject != y.Subject:
		return "subject"
	case x.Time != y.Time:
		return "time"
	case !bytes.Equal(x.Header, y.Header):
		return "headers"
	case !bytes.Equal(x.Data, y.Data):
		return "payload"
	}
	return ""
}

// membersDiffer says in which members two JSON objects differ, but for some: "" in
// none, ": a, b" in those.
func membersDiffer(a, b []byte, without ...string) string {
	var x, y map[string]any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		if bytes.Equal(a, b) {
			return ""
		}
		return ": one is no JSON object"
	}
	var names []string
	for name := range x {
		if v, ok := y[name]; !slices.Contains(without, name) && (!ok || !reflect.DeepEqual(x[name], v)) {
			names = append(names, name)
		}
	}
	for name := range y {
		if _, ok := x[name]; !slices.Contains(without, name) && !ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return ": " + strings.Join(names, ", ")
}
