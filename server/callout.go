package server

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"github.com/nats-io/nuid"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/operator"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/server/version"
)

// calloutSubject is where the service listens. Users of its account may not
// publish to it.
const calloutSubject = "$SYS.REQ.USER.AUTH"

// callout is what an account's authorization service is asked with, and how its
// answers are judged.
type callout struct {
	s       *Server
	account *account.Account
	claims  *operator.Account // operator mode, nil in others
	issuer  string            // configuration mode: of the users
	subject string            // of requests: the issuer, or the account in operator mode
	xkey    string            // requests are sealed for it; empty: they are not
	allowed []string          // accounts that users may be put in; operator mode may have "*"
	users   []string          // who do without it
}

// outcome is how a login went before a callout is asked.
type outcome struct {
	id      auth.Identity // if it was accepted
	failure auth.Failure
	loaded  *loadedAccount // operator mode: that of the user JWT, nil if it is not known
}

// user is who has logged in, or who wanted to: its name or public key.
func (l *outcome) user(r *auth.Request) string {
	switch {
	case l.failure == auth.Accepted:
		return l.id.ID
	case r.NKey != "":
		return r.NKey
	}
	return r.User
}

// decide lets an auth callout decide about a login, where one is configured, and
// keeps users of its account from asking it themselves.
func (s *Server) decide(c *client.Client, r *auth.Request, l outcome) (auth.Identity, auth.Failure) {
	if l.failure == auth.ProxyNotTrusted || l.failure == auth.ProxyRequired {
		return l.id, l.failure
	}
	co := s.calloutFor(l.loaded)
	if co.decides(&l, r) {
		var err error
		if l.id, err = co.ask(c, r, l.id.Claims); err != nil {
			s.log.Warnf("%s - %s", c.Label(), firstUpper(err.Error()))
			if errors.Is(err, operator.ErrProxyRequired) {
				return l.id, auth.ProxyRequired
			}
			return l.id, auth.Refused
		}
		l.failure = auth.Accepted
	}
	l.id.Permissions = co.guard(l.id)
	return l.id, l.failure
}

// calloutFor returns the callout of the configuration, or of an account in
// operator mode; nil if there is none.
func (s *Server) calloutFor(l *loadedAccount) *callout {
	if s.operator != nil {
		if l == nil {
			return nil
		}
		claims, _ := s.operator.claimsOf(l)
		if !claims.Claims.HasExternalAuthorization() {
			return nil
		}
		a := &claims.Claims.Authorization
		return &callout{s: s, account: l.acc, claims: claims, subject: claims.Key(), xkey: a.XKey, allowed: a.AllowedAccounts, users: a.AuthUsers}
	}
	o := s.Options().Authorization.Callout
	if o == nil {
		return nil
	}
	acc := s.accounts.Get(o.Account)
	if acc == nil {
		acc = s.global
	}
	return &callout{s: s, account: acc, issuer: o.Issuer, subject: o.Issuer, xkey: o.XKey, allowed: o.AllowedAccounts, users: o.AuthUsers}
}

// decides tells whether the service decides about a login. There may be none.
func (co *callout) decides(l *outcome, r *auth.Request) bool {
	if co == nil {
		return false
	}
	if user := l.user(r); user != "" && slices.Contains(co.users, user) {
		return false
	}
	if co.claims != nil || l.failure != auth.Accepted || l.id.Account == options.GlobalAccount {
		return true
	}
	return len(co.allowed) == 0 || slices.Contains(co.allowed, l.id.Account)
}

// guard returns the permissions of a user; those of the service's account may not
// ask it themselves. There may be no service.
func (co *callout) guard(id auth.Identity) *auth.Permissions {
	if co == nil || id.Account != co.account.Name() || !id.Permissions.Publish([]byte(calloutSubject)) {
		return id.Permissions
	}
	return id.Permissions.DenyPublish(calloutSubject)
}

// Judge implements client.Host.
func (h *host) Judge(r *auth.Request) (auth.Identity, auth.Failure) {
	s := (*Server)(h)
	id, failure := s.users.Load().Login(r)
	if failure == auth.Accepted {
		id.Permissions = s.calloutFor(nil).guard(id)
	}
	return id, failure
}

// JudgeClaims implements client.Host.
func (h *host) JudgeClaims(id auth.Identity) (auth.Identity, auth.Failure) {
	s := (*Server)(h)
	if s.operator != nil {
		if !s.operator.pins(id.Claims) {
			return id, auth.Refused
		}
		return id, auth.Accepted
	}
	if !id.Claims.OwnPermissions {
		id.Permissions = s.users.Load().DefaultPermissions(id.Account)
		id.Permissions = s.calloutFor(nil).guard(id)
	}
	return id, auth.Accepted
}

// ask puts a request to the service and waits for the answer. claims are those
// that the connection came with, nil for none.
func (co *callout) ask(c *client.Client, r *auth.Request, claims *auth.Claims) (auth.Identity, error) {
	var none auth.Identity
	user, err := nkeys.CreateUser()
	if err != nil {
		return none, err
	}
	userKey, err := user.PublicKey()
	if err != nil {
		return none, err
	}
	timeout := co.s.Options().Authorization.Timeout
	body, header, err := co.request(c, r, claims, userKey, timeout)
	if err != nil {
		return none, err
	}
	bus := Bus(co.account)
	inbox := "_INBOX." + nuid.Next()
	answers := make(chan []byte, 1)
	sub, err := bus.Subscribe(inbox, "", func(msgs []jetstream.Msg) {
		select {
		case answers <- bytes.Clone(msgs[0].Data):
		default:
		}
	})
	if err != nil {
		return none, err
	}
	defer sub.Unsubscribe()
	pub := bus.Publisher()
	taken := pub.Publish([]byte(calloutSubject), []byte(inbox), header, body)
	pub.Flush()
	if !taken {
		return none, fmt.Errorf("auth callout service is not available on account %q", co.account.Name())
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case answer := <-answers:
		return co.judge(c, r, userKey, answer)
	case <-timer.C:
		return none, fmt.Errorf("auth callout on account %q timed out", co.account.Name())
	case <-co.s.ending:
		return none, errors.New("server is shutting down")
	}
}

// request is the signed question, and its headers.
func (co *callout) request(c *client.Client, r *auth.Request, claims *auth.Claims, userKey string, timeout time.Duration) (body, header []byte, err error) {
	s := co.s
	info := c.Info()
	opts := c.ConnectOptions()
	q := jwt.NewAuthorizationRequestClaims(co.subject)
	q.Audience = "nats-authorization-request"
	q.Expires = time.Now().Add(timeout).Unix()
	host, _ := s.advertised(s.Options())
	q.Server = jwt.ServerID{Name: s.Name(), Host: host, ID: s.id, Version: version.Compatible, Cluster: s.clusterName(), Tags: s.Options().ServerTags}
	q.UserNkey = userKey
	q.ClientInformation = jwt.ClientInformation{
		Host: info.Host, ID: info.ID, User: r.User, Name: info.Name, Kind: c.Kind().String(), Type: info.ClientType,
	}
	if claims != nil {
		q.ClientInformation.NameTag, q.ClientInformation.Tags = claims.Name, claims.Tags
	}
	if r.Sig != "" {
		q.ClientInformation.Nonce = r.Nonce
	}
	q.ConnectOptions = jwt.ConnectOptions{
		JWT: r.JWT, Nkey: r.NKey, SignedNonce: r.Sig, Token: r.Token, Username: r.User, Password: r.Password,
		Name: opts.Name, Lang: opts.Lang, Version: opts.Version, Protocol: opts.Protocol,
	}
	if s.operator == nil {
		q.ConnectOptions.JWT = ""
	}
	q.TLS = clientTLS(r.TLS)
	if co.xkey != "" {
		q.Server.XKey = s.xpub
	}
	token, err := q.Encode(s.key)
	if err != nil || co.xkey == "" {
		return []byte(token), nil, err
	}
	sealed, err := s.xkey.Seal([]byte(token), co.xkey)
	return sealed, natsproto.SetHeader(nil, "Nats-Server-Xkey", s.xpub), err
}

func clientTLS(cs *tls.ConnectionState) *jwt.ClientTLS {
	if cs == nil {
		return nil
	}
	t := &jwt.ClientTLS{Version: tls.VersionName(cs.Version)[len("TLS "):], Cipher: tls.CipherSuiteName(cs.CipherSuite)}
	encode := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	if len(cs.VerifiedChains) > 0 {
		for _, chain := range cs.VerifiedChains {
			var list jwt.StringList
			for _, cert := range chain {
				list = append(list, encode(cert.Raw))
			}
			t.VerifiedChains = append(t.VerifiedChains, list)
		}
		return t
	}
	for _, cert := range cs.PeerCertificates {
		t.Certs = append(t.Certs, encode(cert.Raw))
	}
	return t
}

// judge makes an identity of the service's answer.
func (co *callout) judge(c *client.Client, r *auth.Request, userKey string, answer []byte) (auth.Identity, error) {
	var none auth.Identity
	name := co.account.Name()
	if len(answer) == 0 {
		return none, fmt.Errorf("auth callout violation: %q on account %q", "no reason supplied", name)
	}
	sealed := false
	if co.xkey != "" && !bytes.HasPrefix(answer, []byte("eyJ")) {
		opened, err := co.s.xkey.Open(answer, co.xkey)
		if err != nil {
			return none, fmt.Errorf("error decrypting auth callout response on account %q: %w", name, err)
		}
		answer, sealed = opened, true
	}
	res, err := jwt.DecodeAuthorizationResponseClaims(string(answer))
	if err != nil {
		return none, err
	}
	vr := jwt.CreateValidationResults()
	res.Validate(vr)
	switch {
	case res.Subject != userKey:
		return none, errors.New("auth callout violation: auth callout response is not for expected user")
	case res.Audience != co.s.id:
		return none, errors.New("auth callout violation: auth callout response is not for server")
	case co.claims != nil && !sealed && !co.signs(res):
		return none, errors.New("auth callout signing key is unknown")
	case res.Error != "":
		return none, fmt.Errorf("auth callout service returned an error: %v", res.Error)
	case res.Jwt == "":
		return none, fmt.Errorf("auth callout violation: %q on account %q", "no reason supplied", name)
	case vr.IsBlocking(true):
		return none, fmt.Errorf("error validating auth callout response: %w", errors.Join(vr.Errors()...))
	}
	u, err := jwt.DecodeUserClaims(res.Jwt)
	if err != nil {
		return none, err
	}
	if u.Subject != userKey {
		return none, fmt.Errorf("expected authorized user of %q but got %q on account %q", userKey, u.Subject, name)
	}
	if err := operator.CheckUser(u); err != nil {
		return none, fmt.Errorf("error validating user JWT: %w", err)
	}
	proxy, _ := co.s.users.Load().Proxy(r)
	login := &operator.Login{Type: r.Type, IP: c.IP(), Proxied: proxy != "", Trusted: true, Now: time.Now()}
	var id auth.Identity
	if co.claims == nil {
		id, err = co.configured(u, res.Jwt, login)
	} else {
		id, err = co.operated(u, res.Jwt, login)
	}
	if err != nil {
		return none, err
	}
	id.ProxyKey = proxy
	id.Claims.Callout = co.account.Name()
	if u.Name != "" {
		id.Label = u.Name
	}
	return id, nil
}

// signs tells whether the service's account signed an answer.
func (co *callout) signs(res *jwt.AuthorizationResponseClaims) bool {
	if res.IssuerAccount != "" && res.IssuerAccount != co.claims.Key() {
		return false
	}
	_, ok := co.claims.Signer(res.Issuer)
	return ok
}

// configured judges a user where accounts are those of the configuration.
func (co *callout) configured(u *jwt.UserClaims, token string, login *operator.Login) (auth.Identity, error) {
	name := co.account.Name()
	switch {
	case u.IssuerAccount != "":
		return auth.Identity{}, fmt.Errorf("error non operator mode account %q: attempted to use issuer_account", name)
	case u.Issuer != co.issuer:
		return auth.Identity{}, fmt.Errorf("wrong issuer for auth callout response on account %q, expected %q got %q", name, co.issuer, u.Issuer)
	}
	target := co.s.accounts.Get(u.Audience)
	if u.Audience == "" || target == nil {
		return auth.Identity{}, fmt.Errorf("no valid account %q for auth callout response on account %q: account missing", u.Audience, name)
	}
	// An account without claims that matter: its issuer signs its users.
	a := operator.Temporary(co.issuer)
	id, err := a.Identify(u, token, login)
	if err != nil {
		return id, co.reword(err)
	}
	id.Account = target.Name()
	if !id.Claims.OwnPermissions {
		id.Permissions = co.s.users.Load().DefaultPermissions(id.Account)
	}
	return id, nil
}

// operated judges a user where accounts have JWTs.
func (co *callout) operated(u *jwt.UserClaims, token string, login *operator.Login) (auth.Identity, error) {
	key := operator.IssuerAccount(u)
	name := co.account.Name()
	target := co.claims
	if key != co.claims.Key() {
		if !slices.Contains(co.allowed, key) && !slices.Contains(co.allowed, "*") {
			return auth.Identity{}, fmt.Errorf("account %q not permitted as valid account option for auth callout for account %q", key, name)
		}
		l, err := co.s.operator.load(key)
		if err != nil {
			return auth.Identity{}, fmt.Errorf("no valid account %q for auth callout response on account %q: account missing", key, name)
		}
		expired := false
		if target, expired = co.s.operator.claimsOf(l); expired {
			return auth.Identity{}, fmt.Errorf("no valid account %q for auth callout response on account %q: account expired", key, name)
		}
	}
	if _, ok := target.Signer(u.Issuer); !ok {
		return auth.Identity{}, fmt.Errorf("user JWT issuer %q is not known", u.Issuer)
	}
	id, err := target.Identify(u, token, login)
	return id, co.reword(err)
}

// reword gives the refusals of a delegated login their own texts.
func (co *callout) reword(err error) error {
	switch {
	case errors.Is(err, operator.ErrOutsideTimes):
		return fmt.Errorf("authorized user on account %q outside of valid connect times", co.account.Name())
	case errors.Is(err, operator.ErrConnectionType):
		return fmt.Errorf("authorized user on account %q using invalid connection type", co.account.Name())
	}
	return err
}
