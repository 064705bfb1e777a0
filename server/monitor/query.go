package monitor

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// query reads the parameters of a URL. Its methods return the zero value for a parameter that is missing or empty; the
// first parameter that cannot be read sets err.
type query struct {
	values url.Values
	err    error
}

func (q *query) fail(kind, name string, err error) {
	if q.err == nil {
		q.err = fmt.Errorf("Error decoding %s for '%s': %w", kind, name, err)
	}
}

func (q *query) string(name string) string { return q.values.Get(name) }

func (q *query) bool(name string) bool {
	s := q.values.Get(name)
	if s == "" {
		return false
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		q.fail("boolean", name, err)
	}
	return v
}

func (q *query) int(name string) int {
	s := q.values.Get(name)
	if s == "" {
		return 0
	}
	v, err := strconv.Atoi(s)
	if err != nil {
		q.fail("int", name, err)
		return 0
	}
	return v
}

func (q *query) uint64(name string) uint64 {
	s := q.values.Get(name)
	if s == "" {
		return 0
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		q.fail("uint64", name, err)
		return 0
	}
	return v
}

// subs reads whether subscriptions are wanted: a boolean, or the word "detail" for all about them.
func (q *query) subs(name string) Subscriptions {
	if strings.EqualFold(q.values.Get(name), "detail") {
		return Subscriptions{Detail: true}
	}
	return Subscriptions{List: q.bool(name)}
}

func (q *query) state(name string) ConnState {
	s := q.values.Get(name)
	switch strings.ToLower(s) {
	case "", "open":
		return ConnOpen
	case "closed":
		return ConnClosed
	case "any", "all":
		return ConnAll
	}
	if q.err == nil {
		q.err = fmt.Errorf("Error decoding state for %s", s)
	}
	return ConnOpen
}
