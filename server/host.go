package server

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"slices"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/options"
)

// host is the server as its connections see it.
type host Server

func (h *host) Noticef(format string, v ...any) { h.log.Noticef(format, v...) }
func (h *host) Warnf(format string, v ...any)   { h.log.Warnf(format, v...) }
func (h *host) Errorf(format string, v ...any)  { h.log.Errorf(format, v...) }
func (h *host) Debugf(format string, v ...any)  { h.log.Debugf(format, v...) }
func (h *host) Tracef(format string, v ...any)  { h.log.Tracef(format, v...) }
func (h *host) Tracing() bool                   { return h.tracing.Load() }

func (h *host) Options() *options.Options            { return h.opts.Load() }
func (h *host) Users() *auth.Table                   { return h.users.Load() }
func (h *host) Account(name string) *account.Account { return h.accounts.Get(name) }
func (h *host) SystemAccount() *account.Account      { return h.system }
func (h *host) Info(c *client.Client) natsproto.Info { return (*Server)(h).info(c) }
func (h *host) ListenerTLS() *options.TLS            { return h.opts.Load().TLS }
func (h *host) Go(f func())                          { h.tasks.start(f) }
func (h *host) ServerName() string                   { return (*Server)(h).Name() }
func (h *host) ClusterName() string                  { return (*Server)(h).clusterName() }

func (h *host) ServerTLS(t *options.TLS) *tls.Config { return (*Server)(h).serverTLS(t, ocspClient) }

// Pinned tells whether the peer's certificate is one of those that t names, if
// it names any.
func Pinned(t *options.TLS, cs *tls.ConnectionState) bool {
	if len(t.PinnedCerts) == 0 {
		return true
	}
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return false
	}
	sum := sha256.Sum256(cs.PeerCertificates[0].RawSubjectPublicKeyInfo)
	_, ok := t.PinnedCerts[hex.EncodeToString(sum[:])]
	return ok
}

func (h *host) AllowTLS() bool {
	t := h.opts.Load().TLS
	ok, refused := h.tlsLimit.allow(t.RateLimit)
	if refused > 0 {
		h.log.Warnf("Rejected %d connections due to TLS rate limiting", refused)
	}
	return ok
}

// Admit registers a connection.
func (h *host) Admit(c *client.Client) bool {
	o := h.opts.Load()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != running {
		c.Close(client.ServerShutdown)
		return false
	}
	if int64(len(h.clients)) >= o.MaxConnections {
		h.log.Errorf("%s - maximum connections exceeded", c.Label())
		return false
	}
	h.clients[c.ID()] = c
	h.totalClients.Add(1)
	h.log.Debugf("%s - Client connection created", c.Label())
	return true
}

func (h *host) LoggedIn(c *client.Client, first bool) {
	if h.events != nil && first {
		h.events.Connected(c.Snapshot(false))
	}
}

func (h *host) LoginFailed(c *client.Client, a *account.Account, r client.Reason) {
	if h.events != nil {
		snap := c.Snapshot(false)
		snap.Account = a
		h.events.LoginFailed(snap, r)
	}
}

func (h *host) Left(c *client.Client) {
	snap := c.Snapshot(true)
	if len(snap.Subs) > maxClosedSubs {
		snap.Subs = slices.Clone(snap.Subs[:maxClosedSubs]) // the rest is not to stay in memory
	}
	h.mu.Lock()
	delete(h.clients, c.ID())
	h.closed.add(snap)
	h.mu.Unlock()
	if offence(c) {
		h.offenders.note(source(c.IP()), snap.Stop)
	}
	if h.events != nil {
		h.events.Disconnected(snap)
	}
	h.log.Debugf("%s - %s connection closed: %s", c.Label(), c.Kind(), snap.Reason)
}

func (h *host) SlowConsumer(*client.Client) { h.slow.Add(1) }
func (h *host) Stalled()                    { h.stalled.Add(1) }
func (h *host) Stale()                      { h.stale.Add(1) }

// maxClosedSubs bounds the subscriptions that are kept of a closed connection: there may be as many such connections as
// max_closed_clients allows.
const maxClosedSubs = 100

// closedRing keeps the newest closed connections.
type closedRing struct {
	max   int
	total uint64
	conns []client.Snapshot
	next  int // where the next one goes once the ring is full
}

func (r *closedRing) add(s client.Snapshot) {
	r.total++
	if r.max <= 0 {
		return
	}
	if len(r.conns) < r.max {
		r.conns = append(r.conns, s)
		return
	}
	r.conns[r.next] = s
	r.next = (r.next + 1) % r.max
}

// all returns the connections, oldest first.
func (r *closedRing) all() []client.Snapshot {
	out := make([]client.Snapshot, 0, len(r.conns))
	out = append(out, r.conns[r.next:]...)
	return append(out, r.conns[:r.next]...)
}

// Clients are the open client connections, in no order.
func (s *Server) Clients() []*client.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*client.Client, 0, len(s.clients))
	for _, c := range s.clients {
		all = append(all, c)
	}
	return all
}

// Client is the open connection with a number, nil if there is none.
func (s *Server) Client(id uint64) *client.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[id]
}

// ClosedClients are the newest closed connections, oldest first, and the number
// of all that were closed.
func (s *Server) ClosedClients() ([]client.Snapshot, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed.all(), s.closed.total
}
