package server

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/operator"
	"github.com/natsd/natsd/server/options"
)

// addImport adds one import to c, if its exporter allows it. until is when that
// ends.
func (m *operatorMode) addImport(l *loadedAccount, c *account.Config, imp *operator.Import) (until time.Time, err error) {
	ex := l
	if imp.Exporter != l.claims.Key() {
		if ex = m.exporter(imp.Exporter); ex == nil {
			return until, fmt.Errorf("exporter %q of %q is not known", imp.Exporter, imp.Subject)
		}
	}
	i, until, ok := ex.claims.Authorizes(l.claims.Key(), imp, time.Now())
	export := m.builtIn(ex, imp, l.claims.Key())
	switch {
	case ok:
		export = ex.claims.Exports()[i]
	case export == nil && ex != l:
		return until, fmt.Errorf("import of %q from %q is not authorized", imp.Subject, imp.Exporter)
	}
	if err := m.checkCycle(l, c, imp); err != nil {
		return until, fmt.Errorf("import of %q from %q: %w", imp.Subject, imp.Exporter, err)
	}
	return until, addImport(c, l.acc, ex.acc, importOf{imp.Service, imp.Subject, imp.Local, imp.Share, imp.AllowTrace}, export)
}

// builtIn is the service that an import is of, if ex is the system account and offers it to the importer without its
// claims saying so; else nil.
func (m *operatorMode) builtIn(ex *loadedAccount, imp *operator.Import, importer string) *account.Export {
	if !imp.Service || imp.Exporter != m.system {
		return nil
	}
	e := exportOf(builtInExports(ex.claims.Exports()), imp.Subject)
	if e == nil || !e.Admits(imp.Subject, importer) {
		return nil
	}
	return e
}

// checkCycle refuses an import that leads back, through those that accounts have and those that c has already.
func (m *operatorMode) checkCycle(l *loadedAccount, c *account.Config, imp *operator.Import) error {
	edge := options.ImportEdge{Service: imp.Service, Exporter: imp.Exporter, Subject: imp.Subject, Local: imp.Local}
	return options.CheckCycle(l.acc.Name(), edge, importsInUse{m.s, l.acc.Name(), c})
}

// importsInUse are the imports of accounts as they are configured, except one that is being configured.
type importsInUse struct {
	s      *Server
	name   string
	config *account.Config // of that account
}

func (u importsInUse) of(name string) *account.Config {
	if name == u.name {
		return u.config
	}
	if a := u.s.accounts.Get(name); a != nil {
		return a.Config()
	}
	return &account.Config{}
}

func (u importsInUse) Imports(name string) []options.ImportEdge {
	c := u.of(name)
	var edges []options.ImportEdge
	for _, i := range c.Services {
		edges = append(edges, options.ImportEdge{Service: true, Exporter: i.Exporter.Name(), Subject: i.Subject, Local: i.Local})
	}
	for _, i := range c.Streams {
		edges = append(edges, options.ImportEdge{Exporter: i.Exporter.Name(), Subject: i.Subject, Local: i.Local})
	}
	return edges
}

func (u importsInUse) Streams(name string) []string {
	var list []string
	for _, x := range u.of(name).Exports {
		if !x.Service {
			list = append(list, x.Subject)
		}
	}
	return list
}

// exporter returns an account that another imports from, nil if it is not in use:
// then it is missing. wiring is held.
func (m *operatorMode) exporter(key string) *loadedAccount {
	l := m.get(key)
	if l == nil {
		if m.missing == nil {
			m.missing = map[string]bool{}
		}
		m.missing[key] = true
	}
	return l
}

// configureImporters configures the accounts again that import from key, which
// all do from the system account; wiring is held.
func (m *operatorMode) configureImporters(key string) {
	m.mu.Lock()
	var importers []*loadedAccount
	for _, l := range m.loaded {
		if l.claims.Key() != key && (key == m.system || slices.ContainsFunc(l.claims.Imports(), func(i operator.Import) bool { return i.Exporter == key })) {
			importers = append(importers, l)
		}
	}
	m.mu.Unlock()
	for _, l := range importers {
		m.configure(l)
	}
}

// maxLoading is how many accounts that others import from are asked for at a time.
const maxLoading = 8

// rewire calls configure with wiring held, and then brings the accounts into use that
// others import from and that were missing there; their importers are configured again.
// wiring is not held while the resolver is asked. This may wait for another goroutine
// that loads one of them, but only for one that came into use after its importer.
func (m *operatorMode) rewire(configure func()) {
	m.wiring.Lock()
	configure()
	missing := m.missing
	m.missing = nil
	if m.stopped {
		missing = nil
	}
	m.wiring.Unlock()
	places := make(chan struct{}, maxLoading)
	var loads sync.WaitGroup
	for key := range missing {
		places <- struct{}{}
		loads.Go(func() {
			m.load(key) // if that fails, the imports wait until somebody else loads it
			<-places
		})
	}
	loads.Wait()
}
