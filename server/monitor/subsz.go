package monitor

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/subjecttree"
)

// SubszOptions select subscriptions.
type SubszOptions struct {
	Subscriptions bool   `json:"subscriptions"`
	Offset        int    `json:"offset"`
	Limit         int    `json:"limit"`
	Account       string `json:"account"`
	Test          string `json:"test"` // a subject that the subscriptions must match
}

// limit restricts the options to an account, about which subscriptions are always listed.
func (o *SubszOptions) limit(account string) { o.Account, o.Subscriptions = account, true }

func subszQuery(q *query) SubszOptions {
	return SubszOptions{Subscriptions: q.bool("subs"), Offset: q.int("offset"), Limit: q.int("limit"), Account: q.string("acc"), Test: q.string("test")}
}

// Subsz is the document about subscriptions.
type Subsz struct {
	ID  string    `json:"server_id"`
	Now time.Time `json:"now"`
	subjecttree.Stats
	Total  int         `json:"total"`
	Offset int         `json:"offset"`
	Limit  int         `json:"limit"`
	Subs   []SubDetail `json:"subscriptions_list,omitempty"`
}

func (m *Monitor) subsz(o *SubszOptions) (any, error) {
	if o.Test != "" && !(subjecttree.Valid(o.Test) && subjecttree.Literal(o.Test)) {
		return nil, errors.New("invalid test subject, must be valid publish subject: " + o.Test)
	}
	doc := &Subsz{ID: m.src.ID(), Now: m.now(), Offset: max(o.Offset, 0), Limit: o.Limit}
	if doc.Limit <= 0 {
		doc.Limit = defaultLimit
	}
	accounts := m.accounts()
	if o.Account != "" {
		accounts = keep(accounts, func(a **account.Account) bool { return (*a).Name() == o.Account })
	}
	for _, a := range accounts {
		doc.Stats.Add(a.List().Stats())
		if o.Subscriptions {
			m.listSubs(doc, a, o.Test)
		}
	}
	return doc, nil
}

// listSubs counts the subscriptions of an account and lists those on the page.
func (m *Monitor) listSubs(doc *Subsz, a *account.Account, test string) {
	first := doc.Total
	pageEnd := doc.Offset + min(doc.Limit, math.MaxInt-doc.Offset)
	if test == "" {
		if n := a.List().Len(); first+n <= doc.Offset || first >= pageEnd {
			doc.Total += n // none of them is on the page
			return
		}
	}
	var subs []*account.Sub
	if test != "" {
		var r subjecttree.Result[*account.Sub]
		a.List().MatchInto(&r, []byte(test))
		subs = append(subs, r.Plain...)
		for _, g := range r.Groups {
			subs = append(subs, g.Members...)
		}
	} else {
		for _, s := range a.List().ReverseMatch(">") {
			subs = append(subs, s.Value)
		}
	}
	doc.Total += len(subs)
	slices.SortFunc(subs, func(x, y *account.Sub) int {
		return cmp.Or(strings.Compare(x.Subject, y.Subject), strings.Compare(x.Queue, y.Queue), cmp.Compare(subscriber(x), subscriber(y)), strings.Compare(x.SID, y.SID))
	})
	for _, s := range page(subs, doc.Offset-first, max(pageEnd-max(first, doc.Offset), 0)) {
		doc.Subs = append(doc.Subs, SubDetail{
			Account: a.Name(), AccountTag: m.src.Tag(a), Subject: s.Subject, Queue: s.Queue, SID: s.SID,
			Msgs: s.Delivered(), Max: s.Max(), CID: subscriber(s),
		})
	}
}

// accounts are all, sorted by name.
func (m *Monitor) accounts() []*account.Account {
	all := m.src.Accounts().All()
	slices.SortFunc(all, func(a, b *account.Account) int { return strings.Compare(a.Name(), b.Name()) })
	return all
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
