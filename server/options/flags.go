package options

import (
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// flagRow describes a flag of the command line.
type flagRow struct {
	names  []string // the first is the short one
	arg    string   // what stands for the value in the usage text; "" is a boolean
	number int      // bits of an integer; 0 is text
	option string   // path of the option it sets, whose doc line it takes
	doc    string   // instead
	hidden bool     // not in the usage text
	apply  func(*commandFlags, string)
}

// flagGroup is flags that the usage text shows together.
type flagGroup struct {
	title string
	flags []flagRow
}

// commandFlags is what flags set.
type commandFlags struct {
	*Options
	cmd *CommandLine

	tls, tlsVerify         *bool // nil: not given
	tlsCert, tlsKey, tlsCA *string
	cluster, routes        *string
}

func boolOf(s string) bool { b, _ := strconv.ParseBool(s); return b }

func int64Of(s string) int64 { n, _ := strconv.ParseInt(s, 0, 64); return n }

// flagText is a flag for a string, flagInt for an integer and flagBool for a switch.
func flagText(arg, option string, at func(*Options) *string, names ...string) flagRow {
	return flagRow{names: names, arg: arg, option: option, apply: func(c *commandFlags, s string) { *at(c.Options) = s }}
}

func flagInt[I int | int64](arg, option string, at func(*Options) *I, names ...string) flagRow {
	return flagRow{names: names, arg: arg, number: 64, option: option, apply: func(c *commandFlags, s string) { *at(c.Options) = I(int64Of(s)) }}
}

func flagBool(option string, at func(*Options) *bool, names ...string) flagRow {
	return flagRow{names: names, option: option, apply: func(c *commandFlags, s string) { *at(c.Options) = boolOf(s) }}
}

// flagSwitches is a flag that sets several switches.
func flagSwitches(doc string, at func(*Options) []*bool, names ...string) flagRow {
	return flagRow{names: names, doc: doc, apply: func(c *commandFlags, s string) {
		for _, b := range at(c.Options) {
			*b = boolOf(s)
		}
	}}
}

func (f flagRow) described(doc string) flagRow { f.doc = doc; return f }

// flagGroups are all flags.
var flagGroups = []flagGroup{
	{"Server options", []flagRow{
		flagText("HOST", "host", func(o *Options) *string { return &o.Host }, "a", "addr", "net"),
		flagInt("PORT", "port", func(o *Options) *int { return &o.Port }, "p", "port"),
		flagText("NAME", "server_name", func(o *Options) *string { return &o.ServerName }, "n", "name", "server_name"),
		flagText("FILE", "pid_file", func(o *Options) *string { return &o.PidFile }, "P", "pid"),
		flagInt("PORT", "http_port", func(o *Options) *int { return &o.HTTPPort }, "m", "http_port"),
		flagInt("PORT", "https_port", func(o *Options) *int { return &o.HTTPSPort }, "ms", "https_port"),
		{names: []string{"c", "config"}, arg: "FILE", doc: "configuration file", apply: func(c *commandFlags, s string) { c.cmd.ConfigFile = s }},
		{names: []string{"t"}, doc: "check the configuration file and exit", apply: func(c *commandFlags, s string) { c.cmd.Test = boolOf(s) }},
		{names: []string{"sl", "signal"}, arg: "CMD[=PID]", doc: "send a signal to a running server and exit: stop, quit, term, reopen, reload, ldm; PID is a process id or a file with one",
			apply: func(c *commandFlags, s string) { c.cmd.Signal = s }},
		flagText("ADDR", "client_advertise", func(o *Options) *string { return &o.ClientAdvertise }, "client_advertise"),
		flagText("DIR", "ports_file_dir", func(o *Options) *string { return &o.PortsFileDir }, "ports_file_dir"),
	}},
	{"Logging options", []flagRow{
		flagText("FILE", "log_file", func(o *Options) *string { return &o.LogFile }, "l", "log"),
		flagBool("logtime", func(o *Options) *bool { return &o.Logtime }, "T", "logtime").described("log lines begin with the time (default true)"),
		{names: []string{"logtime_utc"}, option: "logtime_utc", hidden: true, apply: func(c *commandFlags, s string) { c.LogtimeUTC = boolOf(s) }},
		flagBool("syslog", func(o *Options) *bool { return &o.Syslog }, "s", "syslog"),
		flagText("ADDR", "remote_syslog", func(o *Options) *string { return &o.RemoteSyslog }, "r", "remote_syslog"),
		flagBool("debug", func(o *Options) *bool { return &o.Debug }, "D", "debug"),
		flagBool("trace", func(o *Options) *bool { return &o.Trace }, "V", "trace"),
		flagSwitches("trace, and trace the system account, too", func(o *Options) []*bool { return []*bool{&o.Trace, &o.TraceVerbose} }, "VV"),
		flagSwitches("debug and trace", func(o *Options) []*bool { return []*bool{&o.Debug, &o.Trace} }, "DV"),
		flagSwitches("debug and trace, and trace the system account, too", func(o *Options) []*bool { return []*bool{&o.Debug, &o.Trace, &o.TraceVerbose} }, "DVV"),
		flagInt("BYTES", "log_size_limit", func(o *Options) *int64 { return &o.LogSizeLimit }, "log_size_limit"),
		flagInt("BYTES", "max_traced_msg_len", func(o *Options) *int64 { return &o.MaxTracedMsgLen }, "max_traced_msg_len"),
	}},
	{"JetStream options", []flagRow{
		flagBool("jetstream", func(o *Options) *bool { return &o.JetStream.Enabled }, "js", "jetstream"),
		flagText("DIR", "jetstream.store_dir", func(o *Options) *string { return &o.JetStream.StoreDir }, "sd", "store_dir"),
	}},
	{"Authorization options", []flagRow{
		flagText("NAME", "authorization.user", func(o *Options) *string { return &o.Authorization.Username }, "user"),
		flagText("PASSWORD", "authorization.pass", func(o *Options) *string { return &o.Authorization.Password }, "pass"),
		flagText("TOKEN", "authorization.token", func(o *Options) *string { return &o.Authorization.Token }, "auth"),
	}},
	{"TLS options", []flagRow{
		{names: []string{"tls"}, doc: "TLS for clients, without verifying them", apply: func(c *commandFlags, s string) { c.tls = new(boolOf(s)) }},
		{names: []string{"tlscert"}, arg: "FILE", option: "tls.cert_file", apply: func(c *commandFlags, s string) { c.tlsCert = &s }},
		{names: []string{"tlskey"}, arg: "FILE", option: "tls.key_file", apply: func(c *commandFlags, s string) { c.tlsKey = &s }},
		{names: []string{"tlsverify"}, option: "tls.verify", apply: func(c *commandFlags, s string) { c.tlsVerify = new(boolOf(s)) }},
		{names: []string{"tlscacert"}, arg: "FILE", option: "tls.ca_file", apply: func(c *commandFlags, s string) { c.tlsCA = &s }},
	}},
	{"Cluster options", []flagRow{
		{names: []string{"routes"}, arg: "URLS", option: "cluster.routes", apply: func(c *commandFlags, s string) { c.routes = &s }},
		{names: []string{"cluster", "cluster_listen"}, arg: "URL", doc: "URL for routes: nats://[user:pass@]host:port", apply: func(c *commandFlags, s string) { c.cluster = &s }},
		flagText("NAME", "cluster.name", func(o *Options) *string { return &o.Cluster.Name }, "cluster_name"),
		flagBool("cluster.no_advertise", func(o *Options) *bool { return &o.Cluster.NoAdvertise }, "no_advertise"),
		flagText("ADDR", "cluster.advertise", func(o *Options) *string { return &o.Cluster.Advertise }, "cluster_advertise"),
		flagInt("N", "cluster.connect_retries", func(o *Options) *int64 { return &o.Cluster.ConnectRetries }, "connect_retries"),
	}},
	{"Profiling options", []flagRow{
		flagInt("PORT", "prof_port", func(o *Options) *int { return &o.ProfPort }, "profile"),
	}},
	{"Common options", []flagRow{
		{names: []string{"h", "help"}, doc: "show this text", apply: func(c *commandFlags, s string) { c.cmd.Help = boolOf(s) }},
		{names: []string{"help_tls"}, doc: "show the help for TLS", apply: func(c *commandFlags, s string) { c.cmd.HelpTLS = boolOf(s) }},
		{names: []string{"v", "version"}, doc: "show the version", apply: func(c *commandFlags, s string) { c.cmd.Version = boolOf(s) }},
	}},
}

// CommandLine is a parsed command line.
type CommandLine struct {
	ConfigFile string
	Signal     string // "command" or "command=pid"
	Test       bool
	Help       bool
	HelpTLS    bool
	Version    bool
	Args       []string // what follows the flags

	given []givenFlag
}

// givenFlag is a flag with its value.
type givenFlag struct {
	row   *flagRow
	value string
}

// flagValue collects the uses of a flag.
type flagValue struct {
	cmd *CommandLine
	row *flagRow
}

func (v flagValue) String() string   { return "" }
func (v flagValue) IsBoolFlag() bool { return v.row != nil && v.row.arg == "" }

func (v flagValue) Set(s string) error {
	var err error
	switch {
	case v.row.arg == "":
		_, err = strconv.ParseBool(s)
	case v.row.number != 0:
		_, err = strconv.ParseInt(s, 0, v.row.number)
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		return errors.New("value out of range")
	case err != nil:
		return errors.New("parse error")
	}
	v.cmd.given = append(v.cmd.given, givenFlag{v.row, s})
	return nil
}

// ParseArgs parses the arguments behind the name of the program. An error is about how they are written; what they mean
// is checked by Options.
func ParseArgs(args []string) (*CommandLine, error) {
	cmd := &CommandLine{}
	set := flag.NewFlagSet("natsd", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	for g := range flagGroups {
		for f := range flagGroups[g].flags {
			row := &flagGroups[g].flags[f]
			for _, name := range row.names {
				set.Var(flagValue{cmd, row}, name, "")
			}
		}
	}
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	cmd.Args = set.Args()
	scratch := &commandFlags{Options: &Options{}, cmd: cmd}
	for _, g := range cmd.given {
		g.row.apply(scratch, g.value)
	}
	return cmd, nil
}

// Options reads the configuration file, if there is one, and lays the flags over it. It is what a reload calls again. An
// error of the file is a *Diagnostics.
func (cmd *CommandLine) Options() (*Options, error) {
	o := unset()
	if cmd.ConfigFile != "" {
		var err error
		if o, err = readFile(cmd.ConfigFile); err != nil {
			return nil, err
		}
	}
	c := &commandFlags{Options: o, cmd: &CommandLine{}}
	for _, g := range cmd.given {
		g.row.apply(c, g.value)
	}
	for _, apply := range []func() error{c.applyTLS, c.applyCluster, c.applyRoutes} {
		if err := apply(); err != nil {
			return nil, err
		}
	}
	o.Source = cmd
	o.Complete()
	return o, nil
}

// valueOf is what p points to; nil stands for the zero value.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// applyTLS replaces the TLS of the file. Any of the flags switches TLS on, whatever its value is, unless -tls=false.
func (c *commandFlags) applyTLS() error {
	switch {
	case c.tls != nil && !*c.tls:
		c.TLS = nil
		return nil
	case c.tls == nil && c.tlsVerify == nil && c.tlsCert == nil && c.tlsKey == nil && c.tlsCA == nil:
		return nil
	case valueOf(c.tlsCert) == "":
		return errorText("TLS Server certificate must be present and valid")
	case valueOf(c.tlsKey) == "":
		return errorText("TLS Server private key must be present and valid")
	}
	b := &tlsBlock{minVersion: tls.VersionTLS12, TLS: TLS{
		CertFile: *c.tlsCert, KeyFile: *c.tlsKey, CAFile: valueOf(c.tlsCA), Verify: valueOf(c.tlsVerify), Timeout: defaultTLSTimeout,
	}}
	config, err := b.config(tlsServer)
	if err != nil {
		return err
	}
	b.TLS.Config = config
	c.TLS = &b.TLS
	return nil
}

// applyCluster replaces the address for routes and its credentials.
func (c *commandFlags) applyCluster() error {
	if c.cluster == nil {
		return nil
	}
	if *c.cluster == "" {
		c.Cluster.Port, c.Cluster.Routes = 0, nil
		return nil
	}
	text, random := strings.CutSuffix(*c.cluster, ":-1")
	if random {
		text += ":0"
	}
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	if random {
		n = -1
	}
	c.Cluster.Host, c.Cluster.Port = host, n
	c.Cluster.Authorization.Username, c.Cluster.Authorization.Password = "", ""
	if u.User != nil {
		pass, ok := u.User.Password()
		if !ok {
			return errorText("expected cluster password to be set")
		}
		c.Cluster.Authorization.Username, c.Cluster.Authorization.Password = u.User.Username(), pass
	}
	return nil
}

// applyRoutes replaces the routes.
func (c *commandFlags) applyRoutes() error {
	if c.routes == nil {
		return nil
	}
	c.Cluster.Routes = nil
	for s := range strings.SplitSeq(*c.routes, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		u, err := url.Parse(s)
		if err != nil {
			return err
		}
		c.Cluster.Routes = append(c.Cluster.Routes, u)
	}
	if len(c.Cluster.Routes) > 0 && c.Cluster.Port == 0 {
		return errorText("solicited routes require cluster capabilities, e.g. --cluster")
	}
	return nil
}

// RedactArgs returns the arguments without passwords and tokens.
func RedactArgs(args []string) []string {
	out := make([]string, len(args))
	hide := "" // the flag whose value comes next
	for i, arg := range args {
		name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case hide != "":
			out[i] = redactFlag(hide, arg)
			hide = ""
		case !strings.HasPrefix(arg, "-") || !isSecretFlag(name):
			out[i] = arg
		case hasValue:
			out[i] = arg[:len(arg)-len(value)] + redactFlag(name, value)
		default:
			out[i] = arg
			hide = name
		}
	}
	return out
}

func isSecretFlag(name string) bool {
	switch name {
	case "user", "pass", "auth", "routes", "cluster", "cluster_listen":
		return true
	}
	return false
}

// redactFlag hides a value, or the credentials of the URLs in it.
func redactFlag(name, value string) string {
	switch name {
	case "user", "pass", "auth":
		return "[REDACTED]"
	}
	urls := strings.Split(value, ",")
	for i, u := range urls {
		if scheme, rest, ok := strings.Cut(u, "://"); ok {
			if at := strings.LastIndexByte(rest, '@'); at >= 0 {
				urls[i] = scheme + "://[REDACTED]@" + rest[at+1:]
			}
		}
	}
	return strings.Join(urls, ",")
}
