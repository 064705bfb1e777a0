package server

import (
	"crypto/rand"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/logging"
	"github.com/natsd/natsd/server/operator"
	"github.com/natsd/natsd/server/options"
)

// LogConfig returns where the options say that log lines go.
func LogConfig(o *options.Options) logging.Config {
	return logging.Config{
		File: o.LogFile, SizeLimit: o.LogSizeLimit, MaxFiles: o.LogMaxNum,
		RemoteSyslog: o.RemoteSyslog, Syslog: o.Syslog,
		Time: o.Logtime, UTC: o.LogtimeUTC,
	}
}

var (
	errNoConfigFile = errors.New("can only reload config when a file is provided using -c or --config")
	errLameDuck     = errors.New("server is in lame duck mode")
	errNotRunning   = errors.New("server is not running")
)

// ReloadFile reads the configuration file again, with the flags of the command line over it, and makes the server use
// what changed. An error is logged, and means that nothing has changed.
func (s *Server) ReloadFile() error {
	err := s.reloadFile()
	if err != nil {
		s.log.Errorf("Failed to reload server configuration: %v", err)
	}
	return err
}

func (s *Server) reloadFile() error {
	src := s.Options().Source
	if src == nil || src.ConfigFile == "" {
		return errNoConfigFile
	}
	if err := s.mayReload(); err != nil {
		return err
	}
	o, err := src.Options()
	var d *options.Diagnostics
	if errors.As(err, &d) {
		return &options.Diagnostics{Errors: d.Errors}
	}
	if err != nil {
		return err
	}
	for _, w := range o.Warnings {
		s.log.Warnf("%s", w)
	}
	return s.Reload(o)
}

func (s *Server) mayReload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case running:
		return nil
	case lameDuck:
		return errLameDuck
	}
	return errNotRunning
}

// Reload makes a running server use other options, which must be complete. An error means that nothing has changed:
// options that cannot be changed differ, or the new ones are not valid. What fails afterwards is logged. Reloads are made
// one at a time.
func (s *Server) Reload(o *options.Options) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if err := s.mayReload(); err != nil {
		return err
	}
	if err := o.Validate(); err != nil {
		return err
	}
	old := s.inUse()
	if s.js.Load() == nil {
		old.JetStream.Enabled = false // or it could not be started, and is tried again
	}
	changes, err := options.Diff(old, o)
	if err != nil {
		return err
	}
	if err := o.Unavailable(); err != nil {
		return err
	}
	sink, err := s.newSink(old, o)
	if err != nil {
		return err
	}
	plan, err := s.planAccounts(o)
	var resolver operator.Resolver
	if err == nil && s.operator != nil {
		resolver, err = s.operator.planResolver(old, o)
	}
	if err != nil {
		if sink != nil {
			sink.Close()
		}
		return err
	}
	staples, ocspErr := s.planOCSP(o)
	s.opts.Store(o)
	for _, c := range changes {
		s.apply(c, old, o)
		for _, line := range c.Lines {
			s.log.Noticef("%s", line)
		}
	}
	s.applyLogging(sink, o)
	if s.operator != nil {
		s.operator.reload(o, resolver)
	}
	s.applyUsers(o, plan)
	s.applyOCSP(staples, old, o)
	if ocspErr != nil {
		s.log.Warnf("Can't restart OCSP features: %v", ocspErr)
	}
	s.log.Noticef("Reloaded server configuration (%s)", o.ConfigDigest)
	s.dropUnpinned(o)
	s.configTime.Store(time.Now().UTC().UnixNano())
	if s.events != nil {
		s.events.Announce() // tags and the like may have changed
	}
	return nil
}

// ConfigTime is when the present options were loaded.
func (s *Server) ConfigTime() time.Time { return time.Unix(0, s.configTime.Load()).UTC() }

// inUse returns the present options with the ports that were obtained for random ones.
func (s *Server) inUse() *options.Options {
	o := *s.Options()
	if a, ok := s.Addr().(*net.TCPAddr); ok {
		o.Port = a.Port
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.profiler != nil {
		o.ProfPort = s.profiler.Addr().(*net.TCPAddr).Port
	}
	if s.monitoring != nil {
		port := s.monitoring.Addr().(*net.TCPAddr).Port
		if o.HTTPSPort != 0 {
			o.HTTPSPort = port
		} else {
			o.HTTPPort = port
		}
	}
	return &o
}

// newSink opens another log sink if the options want one.
func (s *Server) newSink(old, o *options.Options) (*logging.Sink, error) {
	if _, ok := s.log.(*logging.Logger); !ok || LogConfig(old) == LogConfig(o) {
		return nil, nil
	}
	return logging.Open(LogConfig(o))
}

func (s *Server) applyLogging(sink *logging.Sink, o *options.Options) {
	s.tracing.Store(o.Trace)
	l, ok := s.log.(*logging.Logger)
	if !ok {
		return
	}
	l.SetLevels(o.Debug, o.Trace)
	if sink == nil {
		return
	}
	if err := l.Replace(sink); err != nil {
		l.Errorf("Closing the log: %v", err)
	}
}

// apply does what a change needs besides other options.
func (s *Server) apply(c options.Change, old, o *options.Options) {
	switch c.Path {
	case "max_connections":
		s.closeSurplus(o.MaxConnections)
	case "prof_block_rate":
		setBlockProfileRate(s.log, o.ProfBlockRate)
	case "pid_file":
		if err := writePidFile(o.PidFile); err != nil {
			s.log.Errorf("Failed to write pidfile: %v", err)
		}
	case "ports_file_dir":
		s.removePortsFile(old.PortsFileDir)
		s.writePortsFile(o.PortsFileDir)
	}
}

// closeSurplus closes clients until no more than limit are left.
func (s *Server) closeSurplus(limit int64) {
	clients := s.Clients()
	surplus := int64(len(clients)) - max(limit, 0)
	if surplus <= 0 {
		return
	}
	for _, c := range clients[:surplus] {
		s.log.Errorf("%s - maximum connections exceeded - Account:%s", c.Label(), c.Account().Name())
		c.CloseErr("maximum connections exceeded", client.MaxConnectionsExceeded)
	}
	s.log.Noticef("Closed %d connections to fall within max_connections", surplus)
}

// applyUsers replaces accounts and users, and judges all clients again.
func (s *Server) applyUsers(o *options.Options, plan *accountPlan) {
	implicit := ""
	if needsImplicitUser(o) {
		if s.implicitUser == "" {
			s.implicitUser = "nats-" + rand.Text()[:8]
		}
		implicit = s.implicitUser
	}
	users := auth.NewTable(o, implicit)
	s.users.Store(users)
	plan.apply()
	clients := s.Clients()
	// Ordered, so that of too many clients of an account the newest go.
	slices.SortFunc(clients, func(a, b *client.Client) int { return int(int64(a.ID()) - int64(b.ID())) })
	left := make(map[*account.Account]int64)
	for _, c := range clients {
		c.Revise(users)
		if slices.Contains(plan.gone, c.Account()) {
			c.Close(client.ClientClosed) // a callout had put it there
		}
		if c.Reason() != 0 {
			continue
		}
		a := c.Account()
		left[a]++
		if limit := a.Config().Limits.MaxConnections; limit >= 0 && left[a] > limit {
			s.log.Errorf("%s - maximum account active connections exceeded", c.Label())
			c.CloseErr("maximum account active connections exceeded", client.MaxAccountConnectionsExceeded)
		}
	}
	s.reloadJetStream(o, plan.gone)
	for _, a := range plan.gone {
		s.accounts.Remove(a)
	}
}

// dropUnpinned closes clients whose certificates are not among the pinned ones.
func (s *Server) dropUnpinned(o *options.Options) {
	if o.TLS == nil || len(o.TLS.PinnedCerts) == 0 {
		return
	}
	n := 0
	for _, c := range s.Clients() {
		if state := c.TLSState(); state != nil && !Pinned(o.TLS, state) {
			c.Close(client.TLSHandshakeError)
			n++
		}
	}
	if n > 0 {
		s.log.Noticef("Disconnect %d clients due to pinned certs reload", n)
	}
}
