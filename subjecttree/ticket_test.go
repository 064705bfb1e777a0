package subjecttree

import (
	"strconv"
	"strings"
	"testing"
)

// Which changes make a ticket invalid: those below the same first two tokens, and
// wildcards there.
func TestTicket(t *testing.T) {
	long := strings.Repeat("x", 2*maxBeginning)
	for _, tt := range []struct {
		subject string
		changes string
		valid   bool
	}{
		{"a.b.c", "a.b.c", false},
		{"a.b.c", "a.b", false},
		{"a.b.c", "a.b.>", false},
		{"a.b.c", "a.*.c", false},
		{"a.b.c", "a.>", false},
		{"a.b.c", "*.b.c", false},
		{"a.b.c", ">", false},
		{"a.b.c", "a", true},
		{"a.b.c", "a.x.*", true},
		{"a.b.c", "a.b*.c", true},
		{"a.b.c", "a.*b.c", true},
		{"a.b.c", "b.>", true},
		{"a.b.c", "*x.b.c", true},
		{"a", "a", false},
		{"a", "*", false},
		{"a", ">", false},
		{"a", "a.b", true},
		{"a", "a.>", true},
		{"a", "*x", true},
		{"a.b", "a.*", false},
		{"a.b", "a.b", false},
		{"a.b", "a.c", true},
		{long + ".a", long + ".a", false},
		{long + ".a", long + ".*", false},
		{"a." + long, "a." + long, false},
		{"a." + long, "a.*", false},
		{"a." + long, "a.x", true},
		{long, long, false},
	} {
		l := NewList[string](ListOptions{})
		var r Result[string]
		var ticket Ticket
		for what, change := range map[string]func() error{
			"insert": func() error { return l.Insert(tt.changes, "q", "x") },
			"weight": func() error { return l.SetWeight(tt.changes, "q", "x", 2) },
			"remove": func() error { return l.Remove(tt.changes, "q", "x") },
		} {
			if what != "insert" {
				if err := l.Insert(tt.changes, "q", "x"); err != nil {
					t.Fatal(err)
				}
			}
			l.MatchHeld(&r, &ticket, []byte(tt.subject))
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if ticket.Valid() != tt.valid {
				t.Errorf("%s of %s: ticket for %s is valid: %v", what, tt.changes, tt.subject, !tt.valid)
			}
			if err := l.RemoveBatch([]Sub[string]{{tt.changes, "q", "x"}}); what != "remove" && err != nil {
				t.Fatal(err)
			}
		}
	}
	var l List[string]
	var r Result[string]
	var ticket Ticket
	if ticket.Valid() {
		t.Error("a ticket for nothing is valid")
	}
	l.MatchHeld(&r, &ticket, []byte("a.b"))
	if err := l.Insert("a.b", "", "x"); err != nil || ticket.Valid() {
		t.Error("valid after an insert", err)
	}
	l.MatchHeld(&r, &ticket, []byte("a.b"))
	if l.Insert("a.b", "", "x"); !ticket.Valid() {
		t.Error("the same subscription again is no change")
	}
	// Too many beginnings end all tickets, and the list keeps no more of them.
	for i := range maxZones {
		var other Ticket
		l.MatchHeld(&r, &other, []byte("b."+strconv.Itoa(i)))
		if !other.Valid() {
			t.Fatalf("ticket %d is not valid", i)
		}
	}
	if ticket.Valid() || len(l.zones.m) > maxZones+2 {
		t.Errorf("old ticket %v, %d zones", ticket.Valid(), len(l.zones.m))
	}
	l.MatchHeld(&r, &ticket, []byte(long+"."+long))
	for s := range l.zones.m {
		if len(s) > maxBeginning {
			t.Fatalf("a beginning of %d bytes", len(s))
		}
	}
}
