package server

import (
	"fmt"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/subjecttree"
)

// configureAccounts makes the accounts of o and what they export and import.
func (s *Server) configureAccounts(o *options.Options) error {
	lo := s.listOptions()
	s.global = s.accounts.GetOrAdd(options.GlobalAccount, lo)
	if s.operator != nil {
		if err := s.operator.start(o); err != nil {
			return err
		}
	} else if n := o.SystemAccountName(); n != "" {
		s.system = s.accounts.GetOrAdd(n, lo)
	}
	plan, err := s.planAccounts(o)
	if err != nil {
		return err
	}
	plan.apply()
	return nil
}

// accountPlan is the accounts of options, ready to be used.
type accountPlan struct {
	configs map[*account.Account]*account.Config
	added   []*account.Account
	gone    []*account.Account // not configured any more; to be removed when their clients are
}

// apply configures the accounts.
func (p *accountPlan) apply() {
	for a, c := range p.configs {
		a.Configure(c)
	}
}

// planAccounts prepares the accounts of o. On an error nothing has changed; else those that are new exist, without
// configuration.
func (s *Server) planAccounts(o *options.Options) (plan *accountPlan, err error) {
	plan = &accountPlan{configs: make(map[*account.Account]*account.Config)}
	defer func() {
		if err != nil {
			for _, a := range plan.added {
				s.accounts.Remove(a)
			}
		}
	}()
	all := map[string]*options.Account{}
	for _, a := range o.Accounts {
		all[a.Name] = a
		if s.accounts.Get(a.Name) == nil {
			plan.added = append(plan.added, s.accounts.GetOrAdd(a.Name, s.listOptions()))
		}
	}
	configs := map[string]*account.Config{options.GlobalAccount: {Limits: account.Unlimited}}
	for name := range all {
		configs[name] = accountConfig(all[name])
	}
	for name, c := range configs {
		mappings := o.Mappings
		if a := all[name]; a != nil && (name != options.GlobalAccount || len(a.Mappings) > 0) {
			mappings = a.Mappings
		}
		if c.Mappings, err = newMappings(s.clusterNameOf(o), mappings); err != nil {
			return nil, err
		}
	}
	for _, a := range o.Accounts {
		if err = s.addImports(a, configs); err != nil {
			return nil, err
		}
	}
	for name, c := range configs {
		a := s.accounts.Get(name)
		c.Services = append(c.Services, s.systemImports(a, c.Services)...)
		plan.configs[a] = c
	}
	for _, a := range s.accounts.All() {
		if plan.configs[a] == nil && a != s.global && a != s.system && s.operator == nil {
			plan.gone = append(plan.gone, a)
		}
	}
	return plan, nil
}

func accountConfig(a *options.Account) *account.Config {
	c := &account.Config{Limits: account.Limits{
		MaxConnections: a.Limits.MaxConnections, MaxSubscriptions: a.Limits.MaxSubscriptions,
		MaxPayload: a.Limits.MaxPayload, MaxLeafNodes: a.Limits.MaxLeafNodes,
	}}
	if t := a.Trace; t != nil {
		c.Trace = &account.Trace{Destination: t.Destination, Sampling: t.Sampling}
	}
	for i := range a.Exports {
		c.Exports = append(c.Exports, newExport(&a.Exports[i]))
	}
	return c
}

func newMappings(cluster string, list []options.Mapping) (*subjecttree.Mappings, error) {
	var all []*subjecttree.Mapping
	for _, m := range list {
		dests := make([]subjecttree.Destination, 0, len(m.Destinations))
		for _, d := range m.Destinations {
			dests = append(dests, subjecttree.Destination{Subject: d.Subject, Weight: d.Weight, Cluster: d.Cluster})
		}
		mapping, err := subjecttree.NewMapping(m.Subject, dests...)
		if err != nil {
			return nil, fmt.Errorf("Error adding mapping for %q : %w", m.Subject, err)
		}
		all = append(all, mapping)
	}
	return subjecttree.NewMappings(cluster, all...), nil
}

func newExport(e *options.Export) *account.Export {
	x := &account.Export{
		Service: e.Service, Subject: e.Subject, TokenPosition: e.TokenPosition,
		Response: account.ResponseType(e.Response), Threshold: e.Threshold, AllowTrace: e.AllowTrace,
	}
	if len(e.Accounts) > 0 {
		x.Accounts = map[string]bool{}
		for _, n := range e.Accounts {
			x.Accounts[n] = true
		}
	}
	if l := e.Latency; l != nil {
		x.Latency = &account.Latency{Subject: l.Subject, Sampling: l.Sampling}
	}
	return x
}

// addImports resolves the imports of an account.
func (s *Server) addImports(a *options.Account, configs map[string]*account.Config) error {
	c := configs[a.Name]
	importer := s.accounts.Get(a.Name)
	for i := range a.Imports {
		imp := &a.Imports[i]
		exporter := s.accounts.Get(imp.Account)
		if exporter == nil {
			return fmt.Errorf("%q account not defined for %s import", imp.Account, kindOf(imp.Service))
		}
		var exports []*account.Export
		if ec := configs[imp.Account]; ec != nil {
			exports = ec.Exports
		}
		export := account.FindExport(exports, imp.Service, imp.Subject, a.Name)
		if export == nil && imp.Account != a.Name {
			return fmt.Errorf("Error adding %s import %q: %s import not authorized", kindOf(imp.Service), imp.Subject, kindOf(imp.Service))
		}
		local := imp.LocalSubject()
		if imp.Service {
			si, err := account.NewServiceImport(importer, exporter, imp.Subject, local, export, imp.Share)
			if err != nil {
				return fmt.Errorf("Error adding service import %q: %w", imp.Subject, err)
			}
			c.Services = append(c.Services, si)
			continue
		}
		st, err := account.NewStreamImport(importer, exporter, imp.Subject, local, imp.AllowTrace)
		if err != nil {
			return fmt.Errorf("Error adding stream import %q: %w", imp.Subject, err)
		}
		c.Streams = append(c.Streams, st)
	}
	return nil
}

func kindOf(service bool) string {
	if service {
		return "service"
	}
	return "stream"
}
