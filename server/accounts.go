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
		if err = s.addImports(a, all, configs); err != nil {
			return nil, err
		}
	}
	exports := s.systemExports(configs)
	for name, c := range configs {
		a := s.accounts.Get(name)
		c.Services = append(c.Services, s.systemImports(a, c.Services, exports)...)
		plan.configs[a] = c
	}
	for _, a := range s.accounts.All() {
		if plan.configs[a] == nil && a != s.global && a != s.system && s.operator == nil {
			plan.gone = append(plan.gone, a)
		}
	}
	return plan, nil
}

// systemExports are the services that the system account offers, which its
// configuration gets to say.
func (s *Server) systemExports(configs map[string]*account.Config) []*account.Export {
	if s.system == nil {
		return nil
	}
	if s.operator != nil {
		return s.system.Config().Exports
	}
	c := configs[s.system.Name()]
	if c == nil {
		c = &account.Config{Limits: account.Unlimited}
		configs[s.system.Name()] = c
	}
	c.Exports = append(c.Exports, builtInExports(c.Exports)...)
	return c.Exports
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
	all := make([]*subjecttree.Mapping, 0, len(list))
	for i := range list {
		m, err := list[i].Compile()
		if err != nil {
			return nil, fmt.Errorf("Error adding mapping for %q : %w", list[i].Subject, err)
		}
		all = append(all, m)
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

// addImports makes the imports of an account, whose options were resolved.
func (s *Server) addImports(a *options.Account, all map[string]*options.Account, configs map[string]*account.Config) error {
	c := configs[a.Name]
	importer := s.accounts.Get(a.Name)
	for i := range a.Imports {
		imp := &a.Imports[i]
		exporter := all[imp.Account]
		if exporter == nil {
			return fmt.Errorf("%q account not defined for %s import", imp.Account, kindOf(imp.Service))
		}
		var export *account.Export
		switch x := exporter.Authorizes(imp.Service, imp.Subject, a.Name); {
		case x >= 0:
			export = configs[imp.Account].Exports[x]
		case exporter != a:
			return fmt.Errorf("Error adding %s import %q: %s import not authorized", kindOf(imp.Service), imp.Subject, kindOf(imp.Service))
		}
		if err := addImport(c, importer, s.accounts.Get(imp.Account), importOf{
			service: imp.Service, subject: imp.Subject, local: imp.LocalSubject(), share: imp.Share, allowTrace: imp.AllowTrace,
		}, export); err != nil {
			return fmt.Errorf("Error adding %s import %q: %w", kindOf(imp.Service), imp.Subject, err)
		}
	}
	return nil
}

// importOf is what an import is of.
type importOf struct {
	service           bool
	subject, local    string
	share, allowTrace bool
}

// addImport adds an import to the configuration of the importing account.
func addImport(c *account.Config, importer, exporter *account.Account, i importOf, export *account.Export) error {
	if i.service {
		si, err := account.NewServiceImport(importer, exporter, i.subject, i.local, export, i.share)
		if err == nil {
			c.Services = append(c.Services, si)
		}
		return err
	}
	st, err := account.NewStreamImport(importer, exporter, i.subject, i.local, i.allowTrace)
	if err == nil {
		c.Streams = append(c.Streams, st)
	}
	return err
}

func kindOf(service bool) string {
	if service {
		return "service"
	}
	return "stream"
}
