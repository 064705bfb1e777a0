package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/monitor"
	"github.com/natsd/natsd/server/operator"
	"github.com/natsd/natsd/server/options"
)

const (
	// monitorHeaderTimeout bounds how long a request's header may take, maxMonitorHeader its size in bytes.
	monitorHeaderTimeout = 5 * time.Second
	maxMonitorHeader     = 1 << 20
	// monitorIdle is how long a connection may wait for its next request.
	monitorIdle = 2 * time.Minute
	// maxMonitorConns bounds the connections, which are files as clients' are. One that is idle makes room for a new one.
	maxMonitorConns = 1000
	// monitorShutdown is how long requests under way may take when the server ends.
	monitorShutdown = time.Second
)

// startMonitoring opens the monitoring port, if there is one.
func (s *Server) startMonitoring(o *options.Options) error {
	if o.HTTPPort == 0 && o.HTTPSPort == 0 {
		return nil
	}
	l, err := listenMonitoring(o)
	if err != nil {
		return fmt.Errorf("Can't start monitoring: %w", err)
	}
	scheme := "http"
	if o.HTTPSPort != 0 {
		scheme = "https"
		l = tls.NewListener(l, &tls.Config{GetConfigForClient: s.monitoringTLS})
	}
	s.log.Noticef("Starting %s monitor on %s", scheme, listening(o.HTTPHost, l))
	server := &http.Server{
		Handler: s.monitor.Handler(o.HTTPBasePath), ReadHeaderTimeout: monitorHeaderTimeout, MaxHeaderBytes: maxMonitorHeader,
		IdleTimeout: monitorIdle, ConnState: new(monitorConns).changed, ErrorLog: stdlog.New(httpLog{s.log}, "", 0),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stopped {
		return l.Close()
	}
	s.monitoring = l
	s.tasks.start(func() {
		server.Serve(l) // until the listener is closed
		ctx, cancel := context.WithTimeout(context.Background(), monitorShutdown)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	})
	return nil
}

// monitorConns are the open connections of the monitoring port.
type monitorConns struct {
	mu   sync.Mutex // guards the rest
	n    int
	idle map[net.Conn]time.Time // since when
}

// changed is told of each connection's state.
func (m *monitorConns) changed(c net.Conn, state http.ConnState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.idle, c)
	switch state {
	case http.StateNew:
		if m.n++; m.n > maxMonitorConns {
			m.oldestOr(c).Close()
		}
	case http.StateIdle:
		if m.idle == nil {
			m.idle = map[net.Conn]time.Time{}
		}
		m.idle[c] = time.Now()
	case http.StateClosed, http.StateHijacked:
		m.n--
	}
}

// oldestOr is the connection that has been idle for the longest time, c if none is; mu
// is held.
func (m *monitorConns) oldestOr(c net.Conn) net.Conn {
	var since time.Time
	for idle, t := range m.idle {
		if since.IsZero() || t.Before(since) {
			c, since = idle, t
		}
	}
	delete(m.idle, c)
	return c
}

// httpLog takes what the library has to say about connections, which anybody can provoke.
type httpLog struct{ log Logger }

func (l httpLog) Write(line []byte) (int, error) {
	l.log.Debugf("Monitoring: %s", bytes.TrimSpace(line))
	return len(line), nil
}

func listenMonitoring(o *options.Options) (net.Listener, error) {
	port := o.HTTPPort
	switch {
	case o.HTTPPort != 0 && o.HTTPSPort != 0:
		return nil, fmt.Errorf("can't specify both HTTP (%d) and HTTPs (%d) ports", o.HTTPPort, o.HTTPSPort)
	case o.HTTPSPort != 0:
		if o.TLS == nil {
			return nil, errors.New("TLS cert and key required for HTTPS")
		}
		port = o.HTTPSPort
	}
	l, err := net.Listen("tcp", net.JoinHostPort(o.HTTPHost, strconv.Itoa(max(port, 0))))
	if err != nil {
		return nil, fmt.Errorf("can't listen to the monitor port: %w", err)
	}
	return l, nil
}

// monitoringTLS is the present configuration of the client port, without asking for certificates.
func (s *Server) monitoringTLS(*tls.ClientHelloInfo) (*tls.Config, error) {
	t := s.Options().TLS
	if t == nil {
		return nil, errors.New("no TLS")
	}
	c := t.Config.Clone()
	c.Certificates = s.revocation.staples.Load().Certificates(c.Certificates)
	c.ClientAuth, c.ClientCAs, c.VerifyConnection = tls.NoClientCert, nil, nil
	return c, nil
}

// MonitorAddr is the address of the monitoring port, nil if there is none.
func (s *Server) MonitorAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.monitoring == nil {
		return nil
	}
	return s.monitoring.Addr()
}

// Monitor makes the documents about the server.
func (s *Server) Monitor() *monitor.Monitor { return s.monitor }

// monitored is the server as monitoring sees it.
type monitored Server

func (m *monitored) server() *Server { return (*Server)(m) }

func (m *monitored) ID() string                      { return m.id }
func (m *monitored) Name() string                    { return m.server().Name() }
func (m *monitored) ClusterName() string             { return m.server().clusterName() }
func (m *monitored) StartTime() time.Time            { return m.start }
func (m *monitored) ConfigTime() time.Time           { return m.server().ConfigTime() }
func (m *monitored) InUse() *options.Options         { return m.server().inUse() }
func (m *monitored) FeatureFlags() map[string]bool   { return m.server().FeatureFlags() }
func (m *monitored) Accounts() *account.Set          { return m.accounts }
func (m *monitored) SystemAccount() *account.Account { return m.system }
func (m *monitored) JetStream() *jetstream.Engine    { return m.server().JetStream() }
func (m *monitored) Warnf(format string, v ...any)   { m.log.Warnf(format, v...) }
func (m *monitored) Leafs() []monitor.Conn           { return nil } // this version has none

func (m *monitored) Advertised() (string, int) { return m.server().advertised(m.server().Options()) }

func (m *monitored) AuthRequired() bool {
	users := m.users.Load()
	return users.Required() && users.NoAuthUser() == ""
}

func (m *monitored) Conns() []monitor.Conn {
	s := m.server()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]monitor.Conn, 0, len(s.clients))
	for _, c := range s.clients {
		all = append(all, c)
	}
	return all
}

func (m *monitored) Closed() []client.Snapshot {
	closed, _ := m.server().ClosedClients()
	return closed
}

func (m *monitored) Counters() monitor.Counters {
	return monitor.Counters{
		TotalConnections: m.totalClients.Load(),
		SlowClients:      m.slow.Load(), StaleClients: m.stale.Load(), PinnedAccountFails: (*Server)(m).PinnedAccountFails(), StalledClients: m.stalled.Load(),
	}
}

func (m *monitored) NotReady() error {
	s := m.server()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == running && (s.listener != nil || s.Options().InProcessOnly) {
		return nil
	}
	return errors.New("client listener is not open")
}

func (m *monitored) Ending() <-chan struct{} { return m.ending }

func (m *monitored) Queues() map[string]monitor.Queue {
	queues := map[string]monitor.Queue{}
	if m.events != nil {
		queues = m.events.Queues()
	}
	if js := m.JetStream(); js != nil {
		u := js.Usage()
		queues["JetStream API queue"] = monitor.Queue{Pending: u.QueuedRequests}
		queues["JetStream API info queue"] = monitor.Queue{Pending: u.QueuedInfos}
		for _, a := range js.Accounts() {
			for _, st := range a.Streams() {
				n, running := st.Queue()
				q := monitor.Queue{Pending: n}
				if running {
					q.InProgress = 1
				}
				queues[fmt.Sprintf("[ACC:%s] stream '%s' messages", a.Name(), st.Name())] = q
			}
		}
	}
	return queues
}

// Tag is the name that an account's JWT gives it, or what it is called here.
func (m *monitored) Tag(a *account.Account) string {
	if c, _, _ := m.AccountClaims(a.Name()); c != nil && c.Claims.Name != "" {
		return c.Claims.Name
	}
	return a.Name()
}

// AccountClaims implements monitor.Source.
func (m *monitored) AccountClaims(name string) (*operator.Account, bool, bool) {
	return (*Server)(m).AccountClaims(name)
}
