package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"github.com/nats-io/nuid"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/operator"
	"github.com/natsd/natsd/server/options"
)

// operatorMode is what a server has whose accounts come as JWTs.
type operatorMode struct {
	s      *Server
	trust  *operator.Trust
	claims *claimsService // nil: there is no system account
	inbox  string         // answers to this server's questions about claims come on subjects that begin so
	system string         // the key of the system account; empty: none

	// wiring is held while accounts are configured: an account's imports depend
	// on the claims of others. It is taken before mu. A login may wait for it, so
	// nobody who holds it waits for one.
	wiring  sync.Mutex
	stopped bool // no timer is to be set any more; guarded by wiring
	// judging is held while connections are judged by new claims, so that the last
	// ones count in the end. It waits for logins; no login waits for it.
	judging sync.Mutex
	// missing are accounts that others import from and that are not in use: those that
	// the present call of rewire has met; guarded by wiring.
	missing map[string]bool

	mu       sync.Mutex        // guards the rest
	pinned   map[string]bool   // nil: all accounts may log in
	resolver operator.Resolver // nil: no account is known
	loaded   map[string]*loadedAccount
	loading  map[string]*loading // accounts that somebody asks the resolver for
	fails    int64               // logins of accounts that are not pinned
}

// loadedAccount is an account in use.
type loadedAccount struct {
	acc     *account.Account
	claims  *operator.Account
	deleted bool      // its claims were deleted: nobody may log in
	ended   bool      // the time of its claims has passed, and its connections were closed
	fetched time.Time // when the resolver was last asked
	// incomplete: an import is not authorized or its exporter not known.
	incomplete bool
	expiry     *time.Timer // of its claims; nil: they do not expire
	recheck    *time.Timer // when an activation ends; nil: none does
}

// loading is a question to the resolver. All who log in to the account meanwhile
// wait for it, so that clients that come back together make one request. l and err
// are there once done is closed.
type loading struct {
	done chan struct{}
	l    *loadedAccount
	err  error
}

func (l *loadedAccount) expired(now time.Time) bool {
	return l.deleted || l.ended || l.claims.Expired(now)
}

// refetchAfter bounds how often the resolver is asked for one account.
const refetchAfter = time.Second

// newOperatorMode makes the operator mode of options, nil in others.
func (s *Server) newOperatorMode(o *options.Options) (*operatorMode, error) {
	trust := operator.NewTrust(o)
	if trust == nil {
		return nil, nil
	}
	m := &operatorMode{s: s, trust: trust, inbox: "_INBOX." + nuid.Next() + ".", pinned: pinnedAccounts(o), loaded: map[string]*loadedAccount{}, loading: map[string]*loading{}}
	var err error
	m.resolver, err = openResolver(o)
	return m, err
}

// start loads the system account.
func (m *operatorMode) start(o *options.Options) error {
	name := o.SystemAccount
	if name == "" {
		return nil
	}
	m.system = name
	l, err := m.load(name)
	if err != nil {
		if r := o.Resolver; r != nil && r.Type != "mem" && len(o.Operators) == 1 {
			m.s.log.Warnf("Fetched system account failed: %v; a temporary one is in its place", err)
			l, _ = m.use(name, operator.Temporary(name))
		} else {
			return errors.New("error resolving system account: account missing")
		}
	}
	m.s.system = l.acc
	return nil
}

// pinnedAccounts are those that may log in, nil for all.
func pinnedAccounts(o *options.Options) map[string]bool {
	if len(o.ResolverPinnedAccounts) == 0 {
		return nil
	}
	pinned := map[string]bool{o.SystemAccount: true}
	for _, k := range o.ResolverPinnedAccounts {
		pinned[k] = true
	}
	return pinned
}

// stop ends the timers.
func (m *operatorMode) stop() {
	m.wiring.Lock()
	defer m.wiring.Unlock()
	m.stopped = true
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.loaded {
		l.stopTimers()
	}
}

func (l *loadedAccount) stopTimers() {
	for _, t := range []*time.Timer{l.expiry, l.recheck} {
		if t != nil {
			t.Stop()
		}
	}
}

// get returns an account in use, nil if it is not.
func (m *operatorMode) get(key string) *loadedAccount {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.loaded[key]
}

// load returns an account, from the resolver if it is not in use or has expired.
func (m *operatorMode) load(key string) (*loadedAccount, error) {
	now := time.Now()
	m.mu.Lock()
	l := m.loaded[key]
	if l != nil && (!l.expired(now) || now.Sub(l.fetched) < refetchAfter) {
		m.mu.Unlock()
		return l, nil
	}
	if asked := m.loading[key]; asked != nil {
		m.mu.Unlock()
		<-asked.done
		return asked.l, asked.err
	}
	ask := &loading{done: make(chan struct{})}
	m.loading[key] = ask
	if l != nil {
		l.fetched = now
	}
	m.mu.Unlock()
	ask.l, ask.err = m.ask(key, l)
	m.mu.Lock()
	delete(m.loading, key)
	m.mu.Unlock()
	close(ask.done)
	return ask.l, ask.err
}

// ask gets an account from the resolver. l is what it was, nil if it is not in
// use.
func (m *operatorMode) ask(key string, l *loadedAccount) (*loadedAccount, error) {
	if m.accounts() == nil {
		return nil, operator.ErrNoAccount
	}
	token, err := m.fetch(key)
	if err != nil {
		if l != nil {
			return l, nil // expired; its users are refused
		}
		return nil, err
	}
	if l != nil && m.ended(l, token) {
		return l, nil
	}
	a, err := m.trust.Open(key, token)
	if err != nil {
		if l != nil {
			return l, nil
		}
		return nil, err
	}
	l, before := m.use(key, a)
	if before != nil {
		// Not here: this is the login of a connection that may be one of them.
		m.s.tasks.start(func() { m.reconsider(l, before) })
	}
	return l, nil
}

// claimsOf are the present claims of an account in use; expired tells that nobody may log in by them.
func (m *operatorMode) claimsOf(l *loadedAccount) (a *operator.Account, expired bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return l.claims, l.expired(time.Now())
}

// ended tells whether a token is that of an account whose time has passed.
func (m *operatorMode) ended(l *loadedAccount, token string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return l.ended && !l.deleted && l.claims.JWT == token
}

// use makes claims count, for a new account or one in use, and for those that
// import from it. before are the claims until then, nil of a new account: its
// connections are to be reconsidered.
func (m *operatorMode) use(key string, a *operator.Account) (l *loadedAccount, before *operator.Account) {
	m.rewire(func() {
		m.mu.Lock()
		if l = m.loaded[key]; l == nil {
			l = &loadedAccount{acc: m.s.accounts.GetOrAdd(key, m.s.listOptions())}
			m.loaded[key] = l
		}
		before = l.claims
		l.claims, l.fetched = a, time.Now()
		l.deleted, l.ended = false, false
		m.mu.Unlock()
		m.configure(l)
		m.armExpiry(l)
		m.configureImporters(key)
		m.s.accountJetStream(l.acc, a.JetStream())
	})
	return l, before
}

// configure gives an account what its claims say; wiring is held.
func (m *operatorMode) configure(l *loadedAccount) {
	a := l.claims
	c := &account.Config{Limits: a.Limits(), Exports: a.Exports(), Trace: a.Trace()}
	if a.Key() == m.system {
		c.Exports = append(c.Exports, builtInExports(c.Exports)...)
	}
	if l.deleted {
		c = &account.Config{}
	}
	var err error
	if c.Mappings, err = a.Mappings(m.s.clusterName()); err != nil {
		m.s.log.Errorf("Account %q: mappings: %v", a.Key(), err)
	}
	incomplete := false
	var next time.Time // when the first activation ends
	if !l.deleted {
		for _, imp := range a.Imports() {
			until, err := m.addImport(l, c, &imp)
			if err != nil {
				incomplete = true
				m.s.log.Debugf("Account %q: %v", a.Key(), err)
				continue
			}
			if !until.IsZero() && (next.IsZero() || until.Before(next)) {
				next = until
			}
		}
		var exports []*account.Export
		if sys := m.s.system; sys != nil {
			exports = sys.Config().Exports
		}
		c.Services = append(c.Services, m.s.systemImports(l.acc, c.Services, exports)...)
	}
	l.acc.Configure(c)
	m.mu.Lock()
	defer m.mu.Unlock()
	l.incomplete = incomplete
	if l.recheck != nil {
		l.recheck.Stop()
		l.recheck = nil
	}
	if !next.IsZero() {
		l.recheck = time.AfterFunc(time.Until(next), func() {
			m.rewire(func() {
				if !m.stopped {
					m.configure(l)
				}
			})
		})
	}
}

// armExpiry ends the account's connections when its claims expire.
func (m *operatorMode) armExpiry(l *loadedAccount) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.expiry != nil {
		l.expiry.Stop()
		l.expiry = nil
	}
	if e := l.claims.Claims.Expires; e != 0 {
		a := l.claims
		l.expiry = time.AfterFunc(time.Until(time.Unix(e, 0)), func() { m.endLogins(l, a) })
	}
}

// endLogins closes all connections of an account whose claims a do not hold any
// more. Until there are others nobody may log in: who did in the rest of the
// second would stay.
func (m *operatorMode) endLogins(l *loadedAccount, a *operator.Account) {
	m.mu.Lock()
	current := l.claims == a
	l.ended = l.ended || current
	m.mu.Unlock()
	if !current {
		return
	}
	for _, c := range m.s.clientsOf(l.acc) {
		c.CloseErr("Account Authentication Expired", client.AuthenticationExpired)
	}
}

func (s *Server) clientsOf(a *account.Account) []*client.Client {
	all := slices.DeleteFunc(s.Clients(), func(c *client.Client) bool { return c.Account() != a })
	slices.SortFunc(all, func(a, b *client.Client) int { return int(int64(a.ID()) - int64(b.ID())) })
	return all
}

// reconsider makes new claims count for the account's connections.
func (m *operatorMode) reconsider(l *loadedAccount, before *operator.Account) {
	m.judging.Lock()
	defer m.judging.Unlock()
	a, _ := m.claimsOf(l)
	defaults := a.DefaultPermissions()
	co := m.s.calloutFor(l)
	left := int64(0)
	for _, c := range m.s.clientsOf(l.acc) {
		c.Reconsider(func(id auth.Identity) client.Claimed {
			switch u := id.Claims; {
			case a.Revoked(u.Key, u.IssuedAt):
				return client.Claimed{Close: client.CredentialsRevoked, Error: "User Authentication Revoked"}
			case u.Bearer && a.Claims.Limits.DisallowBearer:
				return client.Claimed{Close: client.AuthenticationViolation, Error: "Authorization Violation"}
			case u.SignedFor == a.Key() && !a.SameSigner(before, u.Issuer):
				return client.Claimed{Close: client.AuthenticationViolation}
			}
			if !id.Claims.OwnPermissions {
				id.Permissions = defaults
			}
			return client.Claimed{Permissions: co.guard(id)}
		})
		if c.Reason() != 0 {
			continue
		}
		left++
		if limit := a.Claims.Limits.Conn; limit >= 0 && left > limit {
			m.s.log.Errorf("%s - maximum account active connections exceeded", c.Label())
			c.CloseErr("maximum account active connections exceeded", client.MaxAccountConnectionsExceeded)
		}
	}
}

// jetStreamConfigs are what the accounts in use may store.
func (m *operatorMode) jetStreamConfigs() map[string]*jetstream.AccountConfig {
	m.mu.Lock()
	defer m.mu.Unlock()
	configs := make(map[string]*jetstream.AccountConfig)
	for key, l := range m.loaded {
		if c := jetStreamConfig(l.claims.JetStream()); c != nil && !l.deleted {
			configs[key] = c
		}
	}
	return configs
}

// login judges a connection by its user JWT.
func (m *operatorMode) login(c *client.Client, r *auth.Request, proxyKey string) (auth.Identity, *loadedAccount, error) {
	token := r.JWT
	u, err := jwt.DecodeUserClaims(token)
	if err != nil {
		if token = m.s.Options().DefaultSentinel; token == "" {
			return auth.Identity{}, nil, errors.New("authentication requires a user JWT")
		}
		if u, err = jwt.DecodeUserClaims(token); err != nil {
			return auth.Identity{}, nil, err
		}
	}
	if u.ProxyRequired && proxyKey == "" {
		return auth.Identity{}, nil, operator.ErrProxyRequired
	}
	if err := operator.CheckUser(u); err != nil {
		return auth.Identity{}, nil, fmt.Errorf("user JWT is not valid: %w", err)
	}
	key := operator.IssuerAccount(u)
	m.mu.Lock()
	refused := m.pinned != nil && !m.pinned[key]
	if refused {
		m.fails++
	}
	m.mu.Unlock()
	if refused {
		return auth.Identity{}, nil, fmt.Errorf("account %q is not pinned", key)
	}
	if !nkeys.IsValidPublicAccountKey(key) {
		return auth.Identity{}, nil, errors.New("issuer account is not valid")
	}
	l, err := m.load(key)
	if err != nil {
		return auth.Identity{}, nil, err
	}
	a, expired := m.claimsOf(l)
	if expired {
		return auth.Identity{}, l, errors.New("account JWT has expired")
	}
	id, err := a.Identify(u, token, &operator.Login{
		Sig: r.Sig, Nonce: r.Nonce, Type: r.Type, IP: c.IP(), Proxied: proxyKey != "", Now: time.Now(),
	})
	id.ProxyKey = proxyKey
	return id, l, err
}

// pins tells whether users of the account that claims come from may log in.
func (m *operatorMode) pins(u *auth.Claims) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pinned == nil {
		return true
	}
	if u.Callout != "" {
		return m.pinned[u.Callout]
	}
	return m.pinned[u.SignedFor]
}

// PinnedAccountFails counts logins of accounts that are not pinned.
func (s *Server) PinnedAccountFails() int64 {
	if s.operator == nil {
		return 0
	}
	s.operator.mu.Lock()
	defer s.operator.mu.Unlock()
	return s.operator.fails
}

// AccountClaims are the claims of an account in operator mode, nil in others.
// complete is false if an import of it is missing.
func (s *Server) AccountClaims(name string) (claims *operator.Account, complete, expired bool) {
	if s.operator == nil {
		return nil, true, false
	}
	l := s.operator.get(name)
	if l == nil {
		return nil, true, false
	}
	s.operator.mu.Lock()
	defer s.operator.mu.Unlock()
	return l.claims, !l.incomplete, l.expired(time.Now())
}

// Login implements client.Host.
func (h *host) Login(c *client.Client, r *auth.Request) (auth.Identity, auth.Failure) {
	s := (*Server)(h)
	users := s.users.Load()
	if s.operator == nil {
		id, failure := users.Login(r)
		return s.decide(c, r, outcome{id: id, failure: failure})
	}
	proxyKey, failure := users.Proxy(r)
	if failure != auth.Accepted {
		return auth.Identity{}, failure
	}
	id, l, err := s.operator.login(c, r, proxyKey)
	switch {
	case errors.Is(err, operator.ErrProxyRequired):
		return id, auth.ProxyRequired
	case err != nil:
		s.log.Debugf("%s - %s", c.Label(), firstUpper(err.Error()))
		return id, auth.Refused
	}
	return s.decide(c, r, outcome{id: id, failure: auth.Accepted, loaded: l})
}

func firstUpper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
