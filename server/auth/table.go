package auth

import (
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"regexp"
	"slices"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/options"
)

// Kinds of connections that a user may be restricted to.
const (
	Standard         = "STANDARD"
	WebSocket        = "WEBSOCKET"
	Leafnode         = "LEAFNODE"
	LeafnodeWS       = "LEAFNODE_WS"
	MQTT             = "MQTT"
	MQTTOverWS       = "MQTT_WS"
	InProcess        = "IN_PROCESS"
	maxNoncePlusSlop = 64
)

// Failure says how a refusal is recorded. On the wire all are an authorization
// violation.
type Failure uint8

const (
	Accepted Failure = iota
	Refused
	ProxyNotTrusted
	ProxyRequired
)

// Request is what a connection brings to its login.
type Request struct {
	User, Password, Token string
	NKey, Sig, JWT        string
	ProxySig              string
	Nonce                 string
	Type                  string // one of the kinds of connections
	TLS                   *tls.ConnectionState
	// MapCertificate: the listener takes the user from the client's certificate,
	// and has none for connections that show none.
	MapCertificate bool
	// Over replaces the single identity of the table, for listeners with one of
	// their own; NoAuthUser likewise.
	Over       *options.ListenerAuthorization
	NoAuthUser string
	// Before is who the same connection with the same credentials was before, nil
	// if this is its first login. What was proven then at some cost (a bcrypt hash,
	// a signature) is not computed again: a reload asks all connections.
	Before *Identity
}

// Identity is who a connection turned out to be.
type Identity struct {
	Account string
	// User is the entry that was found, nil for a single identity or none.
	User        *User
	Permissions *Permissions
	// ID is what lists of users name it by: the user's name, or its public key;
	// empty for a token or none.
	ID string
	// Label names the user in logs and events: the user's name, the public key,
	// or "[REDACTED]" for a token; Form is how it was proven: "user", "nkey",
	// "token" or "".
	Label, Form string
	// ProxyKey is the trusted proxy that vouched for the connection.
	ProxyKey string
	// Expires is when the login ends by itself, zero: never.
	Expires time.Time
	// Limits are the user's own, nil: none.
	Limits *Limits
	// Claims are set for a user that a JWT describes.
	Claims *Claims

	// proven is the configured password, token or nkey that the credentials were checked against.
	proven proof
}

// proof is a configured secret, or an nkey, that credentials were checked against.
type proof struct {
	by     string // the member of CONNECT
	secret string
}

// Limits of one user; negative means none.
type Limits struct{ Subscriptions, Payload int64 }

// Claims are what a user JWT says besides permissions and limits.
type Claims struct {
	JWT            string
	Key            string // of the user
	Issuer         string // the key that signed
	SignedFor      string // the account whose keys the issuer belongs to
	Name           string
	Tags           []string
	IssuedAt       int64 // Unix seconds
	Bearer         bool
	OwnPermissions bool // the permissions are not the account's default ones
	// Callout is the account whose authorization service made the claims, empty
	// if none did.
	Callout string
}

// User is an entry of the table.
type User struct {
	Name        string // empty for an nkey
	NKey        string
	Account     string
	Permissions *Permissions

	password      string
	types         map[string]bool // nil: all
	proxyRequired bool
	implicit      bool // stands in for a missing no_auth_user
}

func (u *User) allows(kind string) bool { return u.types == nil || u.types[kind] }

// Table is everything that can log in.
type Table struct {
	required   bool
	users      map[string]*User
	nkeys      map[string]*User
	single     options.Authorization
	noAuthUser string
	proxies    []nkeys.KeyPair
	proxyKeys  []string
	dns        []dnUser                // users whose name is a distinguished name
	defaults   map[string]*Permissions // by account
	nonce      bool
	mapped     []string // kinds of connections whose user comes from the certificate
}

// NewTable makes a table of opts. implicitUser, if not empty, is a user without
// password in the global account that stands in for a missing no_auth_user.
func NewTable(opts *options.Options, implicitUser string) *Table {
	t := &Table{
		users:      map[string]*User{},
		nkeys:      map[string]*User{},
		defaults:   map[string]*Permissions{},
		single:     opts.Authorization,
		noAuthUser: opts.NoAuthUser,
	}
	t.mapped = mappedKinds(opts)
	t.add(options.GlobalAccount, opts.Authorization.Users)
	for _, a := range opts.Accounts {
		t.add(a.Name, a.Users)
		if a.DefaultPermissions != nil {
			t.defaults[a.Name] = NewPermissions(a.DefaultPermissions)
		}
	}
	if implicitUser != "" {
		t.users[implicitUser] = &User{Name: implicitUser, Account: options.GlobalAccount, implicit: true}
		t.noAuthUser = implicitUser
	}
	for _, k := range opts.ProxyKeys {
		kp, err := nkeys.FromPublicKey(k)
		if err != nil {
			continue // validated by options
		}
		t.proxies = append(t.proxies, kp)
		t.proxyKeys = append(t.proxyKeys, k)
	}
	t.required = len(t.users) > 0 || len(t.nkeys) > 0 || t.single.Username != "" || t.single.Token != "" || len(opts.TrustedKeys) > 0 || len(opts.Operators) > 0
	t.nonce = len(t.nkeys) > 0 || len(t.proxies) > 0 || opts.AlwaysNonce || len(opts.TrustedKeys) > 0 || len(opts.Operators) > 0
	return t
}

// mappedKinds are the kinds of connections to listeners that take the user from the certificate.
func mappedKinds(o *options.Options) (kinds []string) {
	for _, l := range []struct {
		open  bool
		tls   *options.TLS
		kinds []string
	}{
		{true, o.TLS, []string{Standard}}, {o.WebSocket.Port != 0, o.WebSocket.TLS, []string{WebSocket, LeafnodeWS}},
		{o.MQTT.Port != 0, o.MQTT.TLS, []string{MQTT, MQTTOverWS}}, {o.LeafNodes.Port != 0, o.LeafNodes.TLS, []string{Leafnode}},
	} {
		if l.open && l.tls != nil && l.tls.VerifyAndMap {
			kinds = append(kinds, l.kinds...)
		}
	}
	return kinds
}

// byCertificate tells whether a user without password is one for certificates.
func (t *Table) byCertificate(u *User) bool {
	return u.password == "" && slices.ContainsFunc(t.mapped, u.allows)
}

// PlainSecrets tells whether a password or token is not hashed. A user without password counts, unless it is one for
// certificates.
func (t *Table) PlainSecrets() bool {
	plain := func(secret string) bool { return secret != "" && !IsBcrypt(secret) }
	if plain(t.single.Password) || plain(t.single.Token) {
		return true
	}
	for _, u := range t.users {
		if u.implicit {
			continue
		}
		if plain(u.password) || u.password == "" && !t.byCertificate(u) {
			return true
		}
	}
	return false
}

func (t *Table) add(account string, users []*options.User) {
	for _, u := range users {
		e := &User{
			Name: u.Username, NKey: u.NKey, Account: account, password: u.Password,
			Permissions: NewPermissions(u.Permissions), proxyRequired: u.ProxyRequired,
		}
		if len(u.ConnectionTypes) > 0 {
			e.types = map[string]bool{}
			for _, k := range u.ConnectionTypes {
				e.types[k] = true
			}
		}
		if u.NKey != "" {
			t.nkeys[u.NKey] = e
			continue
		}
		t.users[u.Username] = e
		if dn, ok := parseDN(u.Username); ok {
			t.dns = append(t.dns, dnUser{dn, e})
		}
	}
}

// DefaultPermissions are those of users of an account who come with none, nil for
// no restriction. Users of the table have them already.
func (t *Table) DefaultPermissions(account string) *Permissions { return t.defaults[account] }

// Required tells whether a connection must log in.
func (t *Table) Required() bool { return t.required }

// Nonce tells whether a connection needs something to sign.
func (t *Table) Nonce() bool { return t.nonce }

// NoAuthUser is the user of connections that name none, if any.
func (t *Table) NoAuthUser() string { return t.noAuthUser }

// NoAuthNamed tells that the no-auth user has a name (is not an nkey), so that a
// first verb other than CONNECT logs in as it.
func (t *Table) NoAuthNamed(name string) bool { return name != "" && t.users[name] != nil }

// TrustsProxy tells whether key is that of a trusted proxy.
func (t *Table) TrustsProxy(key string) bool {
	for _, k := range t.proxyKeys {
		if k == key {
			return true
		}
	}
	return false
}

// Login judges a request, in the order of the checks of the protocol: proxy,
// nkeys, users (from the certificate if the listener maps), token, single user.
func (t *Table) Login(r *Request) (Identity, Failure) {
	var id Identity
	proxy, failure := t.Proxy(r)
	if failure != Accepted {
		return id, failure
	}
	id.ProxyKey = proxy
	single := &t.single
	required := t.required
	if o := r.Over; o != nil && (o.Username != "" || o.Token != "") {
		single = &options.Authorization{Username: o.Username, Password: o.Password, Token: o.Token}
		required = true
	}
	if !required {
		id.Account = options.GlobalAccount
		return id, Accepted
	}
	noAuth := t.noAuthUser
	if r.NoAuthUser != "" {
		noAuth = r.NoAuthUser
	}
	// An nkey counts only where there are some.
	anonymous := r.User == "" && r.Password == "" && r.Token == ""
	var u *User
	if len(t.nkeys) > 0 {
		key := r.NKey
		if anonymous && key == "" && t.nkeys[noAuth] != nil && !r.MapCertificate {
			key = noAuth
		}
		if key != "" {
			u = t.nkeys[key]
			if u == nil || !u.allows(r.Type) {
				return id, Refused
			}
			if key != noAuth {
				if !r.proved(proof{"nkey", key}) && !verifyNonce(key, r.Sig, r.Nonce) {
					return id, Refused
				}
				id.proven = proof{"nkey", key}
			}
			id.ID, id.Label, id.Form = key, key, "nkey"
		}
	}
	if u == nil && len(t.users) > 0 {
		name := r.User
		switch {
		case r.MapCertificate:
			u = t.fromCertificate(r)
			if u == nil {
				return id, Refused
			}
		case anonymous && t.users[noAuth] != nil:
			u = t.users[noAuth]
		default:
			if name == "" && (single.Username != "" || single.Token != "") {
				break
			}
			u = t.users[name]
			if u == nil {
				return id, Refused
			}
		}
		if u != nil {
			if !u.allows(r.Type) {
				return id, Refused
			}
			if !(anonymous && u.Name == noAuth) {
				if !r.MapCertificate && u.Name != noAuth && t.byCertificate(u) {
					return id, Refused // without a certificate anybody could take the name
				}
				if !r.knows(proof{"pass", u.password}, r.Password) {
					return id, Refused
				}
				id.proven = proof{"pass", u.password}
			}
			id.ID, id.Label, id.Form = u.Name, u.Name, "user"
		}
	}
	if u != nil {
		if u.proxyRequired && id.ProxyKey == "" {
			return id, ProxyRequired
		}
		id.User, id.Account, id.Permissions = u, u.Account, u.Permissions
		return id, Accepted
	}
	switch {
	case single.Token != "":
		if !r.knows(proof{"auth_token", single.Token}, r.Token) {
			return id, Refused
		}
		id.proven = proof{"auth_token", single.Token}
		id.Label, id.Form = "[REDACTED]", "token"
	case single.Username != "":
		if subtle.ConstantTimeCompare([]byte(single.Username), []byte(r.User)) != 1 || !r.knows(proof{"pass", single.Password}, r.Password) {
			return id, Refused
		}
		id.proven = proof{"pass", single.Password}
		id.ID, id.Label, id.Form = r.User, r.User, "user"
	default:
		return id, Refused
	}
	if single.ProxyRequired && id.ProxyKey == "" {
		return id, ProxyRequired
	}
	id.Account = options.GlobalAccount
	return id, Accepted
}

// Proxy returns the key of the trusted proxy that vouched for a connection,
// empty if none did.
func (t *Table) Proxy(r *Request) (key string, f Failure) {
	if r.ProxySig == "" || len(t.proxies) == 0 {
		return "", Accepted
	}
	key, ok := t.proxySigner(r)
	if !ok {
		return "", ProxyNotTrusted
	}
	return key, Accepted
}

func (t *Table) proxySigner(r *Request) (string, bool) {
	sig, err := base64.RawURLEncoding.DecodeString(r.ProxySig)
	if err != nil {
		return "", false
	}
	for i, kp := range t.proxies {
		if kp.Verify([]byte(r.Nonce), sig) == nil {
			return t.proxyKeys[i], true
		}
	}
	return "", false
}

// verifyNonce checks the signature of a nonce: base64 raw URL, or padded
// standard base64.
func verifyNonce(key, sig, nonce string) bool {
	if sig == "" || nonce == "" || len(nonce) > maxNoncePlusSlop {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		if raw, err = base64.StdEncoding.DecodeString(sig); err != nil {
			return false
		}
	}
	pub, err := nkeys.FromPublicKey(key)
	return err == nil && pub.Verify([]byte(nonce), raw) == nil
}

var bcryptForm = regexp.MustCompile(`^\$2[abxy]\$\d{2}\$.*`)

// IsBcrypt tells whether a configured secret is a bcrypt hash.
func IsBcrypt(secret string) bool { return bcryptForm.MatchString(secret) }

// proved tells whether the credentials were checked against p before.
func (r *Request) proved(p proof) bool {
	return r.Before != nil && p.secret != "" && r.Before.proven.by == p.by && subtle.ConstantTimeCompare([]byte(r.Before.proven.secret), []byte(p.secret)) == 1
}

// knows tells whether given is the secret of p.
func (r *Request) knows(p proof, given string) bool {
	return IsBcrypt(p.secret) && r.proved(p) || secretEqual(p.secret, given)
}

// secretEqual compares a configured secret (plain or bcrypt) with what a client
// sent.
func secretEqual(secret, given string) bool {
	if IsBcrypt(secret) {
		h := []byte(secret)
		// x and y name the same algorithm as a, with its bugs fixed.
		if h[2] == 'x' || h[2] == 'y' {
			h[2] = 'a'
		}
		return bcrypt.CompareHashAndPassword(h, []byte(given)) == nil
	}
	return subtle.ConstantTimeCompare([]byte(secret), []byte(given)) == 1
}
