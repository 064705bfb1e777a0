package options

import (
	"fmt"
	"slices"

	"github.com/natsd/natsd/subjecttree"
)

// resolve checks exports against accounts and imports against exports.
func resolve(o *Options) []error {
	accounts := make(map[string]*Account, len(o.Accounts))
	for _, a := range o.Accounts {
		accounts[a.Name] = a
	}
	var errs []error
	for _, a := range o.Accounts {
		for i := range a.Exports {
			if err := checkExport(o, accounts, a, &a.Exports[i]); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if errs != nil {
		return errs
	}
	g := &importGraph{accounts: accounts, accepted: make(map[string][]*Import), edges: make(map[string][]ImportEdge)}
	for _, a := range o.Accounts {
		for i := range a.Imports {
			if err := g.add(a, &a.Imports[i]); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// kind names an export or import in errors.
func kind(service bool) string {
	if service {
		return "service"
	}
	return "stream"
}

func checkExport(o *Options, accounts map[string]*Account, a *Account, x *Export) error {
	for _, name := range x.Accounts {
		if accounts[name] == nil {
			return fmt.Errorf("%q account not defined for %s export", name, kind(x.Service))
		}
	}
	if !subjecttree.Valid(x.Subject) {
		return fmt.Errorf("Error adding %s export %q: invalid subject", kind(x.Service), x.Subject)
	}
	if n := x.TokenPosition; n != 0 && (n < 0 || n > subjecttree.NumTokens(x.Subject) || subjecttree.Token(x.Subject, n-1) != "*") {
		return fmt.Errorf("Error adding %s export %q: sublist: invalid subject", kind(x.Service), x.Subject)
	}
	if x.Latency == nil {
		return nil
	}
	switch {
	case o.SystemAccount == "" && accounts[DefaultSystemAccount] == nil:
		return fmt.Errorf("Error adding service latency sampling for %q: system account not setup", x.Subject)
	case x.Response != ResponseSingleton:
		return fmt.Errorf("Error adding service latency sampling for %q on subject %q: bad service response type", x.Subject, x.Latency.Subject)
	case !subjecttree.ValidPublish(x.Latency.Subject) || a.exportsService(x.Latency.Subject):
		return fmt.Errorf("Error adding service latency sampling for %q on subject %q: invalid publish subject", x.Subject, x.Latency.Subject)
	}
	return nil
}

// exportsService tells whether a subject is one of the account's services.
func (a *Account) exportsService(subject string) bool {
	for _, x := range a.Exports {
		if x.Service && subjecttree.Subset(subject, x.Subject) {
			return true
		}
	}
	return false
}

// Authorizes returns the index of the export that covers an import by the named account: one of exactly its subject
// decides, else any that contains it and admits the account. It is negative if the import is not authorized.
func (a *Account) Authorizes(service bool, subject, importer string) int {
	for i := range a.Exports {
		if x := &a.Exports[i]; x.Service == service && x.Subject == subject {
			if x.admits(subject, importer) {
				return i
			}
			return -1
		}
	}
	return slices.IndexFunc(a.Exports, func(x Export) bool {
		return x.Service == service && subjecttree.Subset(subject, x.Subject) && x.admits(subject, importer)
	})
}

// admits tells whether the named account may import the subject.
func (x *Export) admits(subject, importer string) bool {
	if n := x.TokenPosition; n > 0 && (n > subjecttree.NumTokens(subject) || subjecttree.Token(subject, n-1) != importer) {
		return false
	}
	if len(x.Accounts) == 0 {
		return true
	}
	for _, name := range x.Accounts {
		if name == importer {
			return true
		}
	}
	return false
}

// importGraph is the imports that were accepted so far. It has no cycles.
type importGraph struct {
	accounts map[string]*Account
	accepted map[string][]*Import // by importing account
	edges    map[string][]ImportEdge
}

// add checks an import and accepts it.
func (g *importGraph) add(a *Account, m *Import) error {
	exporter := g.accounts[m.Account]
	if exporter == nil {
		return fmt.Errorf("%q account not defined for %s import", m.Account, kind(m.Service))
	}
	if err := g.check(a, exporter, m); err != nil {
		return fmt.Errorf("Error adding %s import %q: %w", kind(m.Service), m.Subject, err)
	}
	g.accepted[a.Name] = append(g.accepted[a.Name], m)
	g.edges[a.Name] = append(g.edges[a.Name], ImportEdge{m.Service, m.Account, m.Subject, m.LocalSubject()})
	return nil
}

func (g *importGraph) check(a, exporter *Account, m *Import) error {
	if a != exporter && exporter.Authorizes(m.Service, m.Subject, a.Name) < 0 {
		return fmt.Errorf("%s import not authorized", kind(m.Service))
	}
	if m.Prefix != "" && (!subjecttree.Valid(m.Prefix) || !subjecttree.Literal(m.Prefix)) {
		return errorText("stream import prefix can not contain wildcard tokens")
	}
	local := m.LocalSubject()
	if !subjecttree.Literal(local) {
		local = subjecttree.Placeholders(local)
	}
	t, err := subjecttree.NewStrictTransform(m.Subject, local)
	if err != nil {
		if m.Service {
			return fmt.Errorf("failed to create mapping transform for service import subject from %q to %q: %w", local, m.Subject, err)
		}
		return fmt.Errorf("failed to create mapping transform for stream import subject from %q to %q: %w", m.Subject, local, err)
	}
	if !m.Service {
		for _, other := range g.accepted[a.Name] {
			if !other.Service && other.Account == m.Account && other.Subject == m.Subject {
				return errorText("stream import already exists")
			}
		}
	}
	edge := ImportEdge{m.Service, exporter.Name, m.Subject, t.Pattern()}
	return CheckCycle(a.Name, edge, importOrder{g})
}

// importOrder is the graph as CheckCycle looks at it.
type importOrder struct{ *importGraph }

func (o importOrder) Imports(account string) []ImportEdge { return o.edges[account] }

func (o importOrder) Streams(account string) []string {
	var list []string
	for _, x := range o.accounts[account].Exports {
		if !x.Service {
			list = append(list, x.Subject)
		}
	}
	return list
}

// Imports are what the accounts that exist import, and the streams that they export.
type Imports interface {
	Imports(account string) []ImportEdge
	Streams(account string) []string
}

// ImportEdge is an import that an account has.
type ImportEdge struct {
	Service  bool
	Exporter string
	Subject  string // in the exporting account
	Local    string // in the importing account
}

// maxImportPath is the number of accounts that messages may pass through by imports: a longer chain is taken for a mistake.
const maxImportPath = 1024

// CheckCycle returns an error if messages that the named account gets through a new import could come to it again, through
// the imports that accounts have: the new one is not among them, and they have no cycle. Streams come no further than to
// accounts that export them. A path of imports that is too long is an error, too.
func CheckCycle(importer string, edge ImportEdge, have Imports) error {
	if edge.Exporter == importer {
		return nil
	}
	type place struct{ account, subject string }
	path := make(map[place]int) // the number of accounts on the way to it
	var open []place
	visit := func(p place, accounts int) {
		if path[p] == 0 {
			path[p] = accounts
			open = append(open, p)
		}
	}
	visit(place{edge.Exporter, edge.Local}, 1)
	if !edge.Service {
		visit(place{edge.Exporter, edge.Subject}, 1)
	}
	for len(open) > 0 {
		p := open[len(open)-1]
		open = open[:len(open)-1]
		if p.account == importer {
			return errorText("import forms a cycle")
		}
		if path[p] >= maxImportPath {
			return errorText("search cycle depth exhausted")
		}
		if !edge.Service && !slices.ContainsFunc(have.Streams(p.account), func(x string) bool { return subjecttree.Collide(x, p.subject) }) {
			continue
		}
		for _, e := range have.Imports(p.account) {
			if e.Service != edge.Service || e.Exporter == p.account || !subjecttree.Collide(e.Subject, p.subject) {
				continue
			}
			next := p.subject
			if subjecttree.Subset(p.subject, e.Local) {
				next = e.Local
			}
			visit(place{e.Exporter, next}, path[p]+1)
		}
	}
	return nil
}
