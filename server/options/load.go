package options

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/server/conf"
)

// Diagnostics is what is wrong with a file: warnings first, then errors, each with its position where it has one.
type Diagnostics struct {
	Warnings []string
	Errors   []string
}

// Error returns one line for each, every one ended by a line feed.
func (d *Diagnostics) Error() string {
	var b strings.Builder
	for _, list := range [][]string{d.Warnings, d.Errors} {
		for _, line := range list {
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// ReadFile returns the options of a configuration file, without those of the command line. The error is a *Diagnostics,
// or what kept the file from being parsed. It loads the certificates and operator JWTs that are named, and makes the
// directory of a resolver.
func ReadFile(path string) (*Options, error) {
	o, err := readFile(path)
	if err != nil {
		return nil, err
	}
	o.Complete()
	return o, nil
}

// readFile is ReadFile without what follows from several options.
func readFile(path string) (*Options, error) {
	tree, err := conf.ParseFile(path)
	if err != nil {
		return nil, err
	}
	o := unset()
	o.ConfigFile = path
	if o.ConfigDigest, err = tree.Digest(); err != nil {
		return nil, err
	}
	r := &reader{}
	if len(tree.Items) == 0 {
		r.warnings = append(r.warnings, path+": config has no values or is empty")
	}
	r.read(tree, o)
	o.Warnings = r.warnings
	if len(r.errors) > 0 {
		return nil, &Diagnostics{Warnings: r.warnings, Errors: r.errors}
	}
	return o, nil
}

// unset returns the default options with what Complete fills left open.
func unset() *Options {
	o := Default()
	o.Authorization.Timeout = 0
	o.JetStream.InfoQueueLimit = 0
	return o
}

// read interprets the tree. The system account is read first, since others depend on it.
func (r *reader) read(tree *conf.Value, o *Options) {
	isSystem := func(e *conf.Entry) bool {
		key := strings.ToLower(e.Key)
		return key == "system_account" || key == "system"
	}
	first := &conf.Value{Kind: conf.Map}
	rest := &conf.Value{Kind: conf.Map}
	for _, e := range tree.Items {
		if isSystem(e) {
			first.Items = append(first.Items, e)
		} else {
			rest.Items = append(rest.Items, e)
		}
	}
	top.read(r, &conf.Entry{Value: first}, o)
	top.read(r, &conf.Entry{Value: rest}, o)
	if r.callout == nil {
		return
	}
	for _, name := range r.callout.AllowedAccounts {
		if !o.HasAccount(name) {
			r.add(conf.Pos{}, errPlain{errors.New(`auth_callout allowed account "` + name + `" not found in configured accounts`)})
		}
	}
}

// HasAccount tells whether an account is configured.
func (o *Options) HasAccount(name string) bool { return o.Account(name) != nil }

// Account returns a configured account; nil if there is none of the name.
func (o *Options) Account(name string) *Account {
	for _, a := range o.Accounts {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// SystemAccountName returns the name of the system account; empty without one.
func (o *Options) SystemAccountName() string {
	switch {
	case o.SystemAccount != "":
		return o.SystemAccount
	case o.NoSystemAccount && !o.HasAccount(DefaultSystemAccount):
		return ""
	}
	return DefaultSystemAccount
}

// Complete replaces zeros that mean the default, and fills what follows from other options. It may be called again after
// options were changed.
func (o *Options) Complete() {
	def := Default()
	for _, t := range []*table[Options]{top, jetStreamTable, clusterTable, gatewayTable, leafNodesTable, webSocketTable, mqttTable} {
		t.resetZeros(o, def)
	}
	if o.MQTT.MaxAckPending == 0 {
		o.MQTT.MaxAckPending = def.MQTT.MaxAckPending
	}
	o.Authorization.Timeout = authTimeoutFor(o.Authorization.Timeout, o.TLS)
	o.Cluster.Authorization.Timeout = authTimeoutFor(o.Cluster.Authorization.Timeout, o.Cluster.TLS)
	o.Gateway.Authorization.Timeout = authTimeoutFor(o.Gateway.Authorization.Timeout, o.Gateway.TLS)
	o.LeafNodes.Authorization.Timeout = authTimeoutFor(o.LeafNodes.Authorization.Timeout, o.LeafNodes.TLS)
	if o.HTTPHost == "" {
		o.HTTPHost = o.Host
	}
	for _, l := range []*Listener{&o.Cluster.Listener, &o.Gateway.Listener, &o.LeafNodes.Listener, &o.WebSocket.Listener, &o.MQTT.Listener} {
		if l.Port != 0 && l.Host == "" {
			l.Host = DefaultBlockHost
		}
	}
	if o.Cluster.Name == "" {
		o.Cluster.Name = o.Gateway.Name
	}
	o.pinSystemAccount()
	o.adoptOperator()
	if o.JetStream.RequestQueueLimit <= 0 {
		o.JetStream.RequestQueueLimit = def.JetStream.RequestQueueLimit
	}
	if o.JetStream.InfoQueueLimit <= 0 {
		o.JetStream.InfoQueueLimit = o.JetStream.RequestQueueLimit
	}
}

// authTimeoutFor returns the time for authentication: as configured, or a second more than TLS takes.
func authTimeoutFor(configured time.Duration, t *TLS) time.Duration {
	switch {
	case configured != 0:
		return configured
	case t != nil:
		return t.Timeout + time.Second
	}
	return defaultTLSTimeout
}

// pinSystemAccount gives the system account routes of its own.
func (o *Options) pinSystemAccount() {
	c, system := &o.Cluster, o.SystemAccountName()
	if c.Port != 0 && c.PoolSize >= 0 && system != "" && !slices.Contains(c.Accounts, system) {
		c.Accounts = append(c.Accounts[:len(c.Accounts):len(c.Accounts)], system)
	}
}

// adoptOperator takes what a single operator's JWT says where nothing is configured.
func (o *Options) adoptOperator() {
	if len(o.Operators) != 1 {
		return
	}
	claims := o.Operators[0].Claims
	if o.Resolver == nil && claims.AccountServerURL != "" {
		o.Resolver = &Resolver{Type: "url", URL: strings.TrimSuffix(claims.AccountServerURL, "/") + "/accounts/", Timeout: defaultResolverTimeout}
	}
	if o.SystemAccount == "" {
		o.SystemAccount = claims.SystemAccount
	}
}
