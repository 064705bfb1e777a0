package options

import (
	"fmt"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/conf"
)

// highAuthTimeout is where a timeout looks like a mistake.
const highAuthTimeout = 60 * time.Second

// authBlock is an authorization block while it is read.
type authBlock struct {
	Authorization
	usersKey    *conf.Entry // of the key users
	tokenSet    bool
	defaults    *Permissions
	permissions bool // the block has default permissions
}

// authTimeout reads the time until CONNECT; what begins the error.
func authTimeout[T any](what string, at func(*T) *time.Duration) *row[T] {
	return custom("timeout", "seconds or duration", func(r *reader, e *conf.Entry, dst *T) error {
		d, err := asTimeout(e.Value)
		if err != nil {
			return fmt.Errorf("error parsing %s config, 'timeout' %w", what, err)
		}
		if d > highAuthTimeout {
			r.misuse(e.Pos, "timeout", "timeout of %v (%f seconds) is high, consider keeping it under 60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example", e.Value, d.Seconds())
		}
		*at(dst) = d
		return nil
	}).doc("time until a connection must have authenticated").def("2s, with TLS 1s more than its timeout")
}

var authorizationTable = newTable("authorization",
	str("user", func(a *authBlock) *string { return &a.Username }).alias("username").
		doc("name of the only user").live("authorization username"),
	str("pass", func(a *authBlock) *string { return &a.Password }).alias("password").secret().
		doc("password, plain or bcrypt").live("authorization password"),
	str("token", func(a *authBlock) *string { return &a.Token }).secret().
		doc("token, plain or bcrypt").live("authorization token").
		check(func(_ string, a *authBlock) error { a.tokenSet = true; return nil }),
	authTimeout("authorization", func(a *authBlock) *time.Duration { return &a.Timeout }).
		live("authorization timeout"),
	custom("users", "list of blocks", func(r *reader, e *conf.Entry, a *authBlock) (err error) {
		if a.Users, err = r.users(e); a.Users != nil {
			a.usersKey = e
		}
		return err
	}).of(userTable).doc("users").live("authorization users"),
	custom("default_permissions", "block", func(r *reader, e *conf.Entry, a *authBlock) (err error) {
		a.permissions = true
		a.defaults, err = r.permissions(e)
		return err
	}).alias("default_permission", "permissions").of(permissionsTable).
		doc("permissions of users that have none of their own").live("authorization users"),
	custom("auth_callout", "block", readCallout).alias("auth_hook").of(calloutTable).since("2.10").
		doc("a service that decides who may connect").fixed("AuthCallout"),
	boolean("proxy_required", func(a *authBlock) *bool { return &a.ProxyRequired }).since("2.12").
		doc("the only user must come through a trusted proxy").fixed("ProxyRequired"),
)

// applyDefaults gives the users without permissions the default ones.
func applyDefaults(users []*User, defaults *Permissions) {
	for _, u := range users {
		if u.Permissions == nil {
			u.Permissions = defaults
		}
	}
}

func readAuthorization(r *reader, e *conf.Entry, o *Options) error {
	if err := asMap(e.Value); err != nil {
		return err
	}
	a := &authBlock{Authorization: Authorization{Defined: true}}
	authorizationTable.read(r, e, a)
	applyDefaults(a.Users, a.defaults)
	r.callout = a.Callout
	single := a.Username != "" || a.Password != ""
	switch {
	case single && a.Token != "":
		r.errorf(e.Pos, "Cannot have a user/pass and token")
	case a.Username != "" && (a.usersKey != nil || r.accountUsers):
		r.errorf(e.Pos, "Can not have a single user/pass and a users array")
	case a.Token != "" && (a.usersKey != nil || r.accountUsers):
		r.errorf(e.Pos, "Can not have a token and a users array")
	}
	r.singleUser, r.token = a.Username != "", a.Token != ""
	r.claimNames(e.Pos, a.Users)
	o.Authorization = a.Authorization
	return nil
}

// claimNames takes the names of users, which must be unique.
func (r *reader) claimNames(pos conf.Pos, users []*User) {
	if r.names == nil {
		r.names = make(map[string]struct{})
	}
	for _, u := range users {
		kind, name := "user", u.Username
		if u.NKey != "" {
			kind, name = "nkey", u.NKey
		}
		id := kind + " " + name
		if _, ok := r.names[id]; ok {
			r.errorf(pos, "Duplicate %s %q detected", kind, name)
		}
		r.names[id] = struct{}{}
	}
}

var calloutTable = func() *table[AuthCallout] {
	t := newTable("auth_callout",
		custom("issuer", "string", func(_ *reader, e *conf.Entry, c *AuthCallout) error {
			s, err := asString(e.Value)
			if err != nil {
				return err
			}
			if !nkeys.IsValidPublicAccountKey(s) {
				return fmt.Errorf("Expected callout user to be a valid public account nkey, got %q", s)
			}
			c.Issuer = s
			return nil
		}).doc("public account key that signs the answers"),
		str("account", func(c *AuthCallout) *string { return &c.Account }).alias("acc").doc("account of the service").def(`"$G"`),
		custom("auth_users", "list", func(_ *reader, e *conf.Entry, c *AuthCallout) error {
			if e.Value.Kind != conf.Array {
				return fmt.Errorf("Expected auth_users field to be an array, got %s", e.Value.Kind)
			}
			users, err := asStrings(e.Value, "auth_users")
			c.AuthUsers = users
			return err
		}).alias("users").doc("users that are not asked for: the service itself"),
		custom("xkey", "string", func(_ *reader, e *conf.Entry, c *AuthCallout) error {
			s, err := asString(e.Value)
			if err != nil {
				return err
			}
			if !nkeys.IsValidPublicCurveKey(s) {
				return fmt.Errorf("Expected callout xkey to be a valid public xkey, got %q", s)
			}
			c.XKey = s
			return nil
		}).alias("key").doc("public curve key that requests are encrypted for"),
		custom("allowed_accounts", "list", func(_ *reader, e *conf.Entry, c *AuthCallout) error {
			if e.Value.Kind != conf.Array {
				return fmt.Errorf("Expected allowed_accounts field to be an array, got %s", e.Value.Kind)
			}
			accounts, err := asStrings(e.Value, "allowed_accounts")
			c.AllowedAccounts = accounts
			return err
		}).since("2.11").doc("accounts whose users are asked for, too"),
	)
	t.unknown = "Unknown field %q parsing authorization callout"
	return t
}()

func readCallout(r *reader, e *conf.Entry, a *authBlock) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("Expected authorization callout to be a map/struct, got %v", e.Value)
	}
	c := &AuthCallout{Account: GlobalAccount}
	before := len(r.errors)
	calloutTable.read(r, e, c)
	a.Callout = c
	switch {
	case len(r.errors) > before:
	case c.Issuer == "":
		return errorText("Authorization callouts require an issuer to be specified")
	case len(c.AuthUsers) == 0:
		return errorText("Authorization callouts require authorized users to be specified")
	}
	return nil
}

var proxiesTable = newTable("proxies",
	custom("trusted", "list of blocks", func(r *reader, e *conf.Entry, o *Options) error {
		if e.Value.Kind != conf.Array {
			return fmt.Errorf("expected proxies' trusted field to be an array, got %s", e.Value.Kind)
		}
		o.ProxyKeys = nil
		for _, v := range e.Value.Elems {
			if v.Kind != conf.Map {
				r.errorf(v.Pos, "expected proxies' trusted entry to be a map/struct, got %s", v.Kind)
				continue
			}
			trustedProxyTable.read(r, &conf.Entry{Key: e.Key, Pos: e.Pos, Value: v}, o)
		}
		return nil
	}).of(trustedProxyTable).doc("the proxies"),
)

var trustedProxyTable = newTable("trusted",
	custom("key", "string", func(_ *reader, e *conf.Entry, o *Options) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		if !nkeys.IsValidPublicKey(s) {
			return fmt.Errorf("invalid proxy key %q", s)
		}
		o.ProxyKeys = append(o.ProxyKeys, s)
		return nil
	}).alias("public_key").doc("public nkey of any kind"),
)

func readProxies(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("expected proxies to be a map/struct, got %s", e.Value.Kind)
	}
	proxiesTable.read(r, e, o)
	return nil
}

// listenerAuthTable is the authorization of the blocks websocket and mqtt.
var listenerAuthTable = newTable("authorization",
	str("user", func(a *ListenerAuthorization) *string { return &a.Username }).alias("username").doc("name of the only user"),
	str("pass", func(a *ListenerAuthorization) *string { return &a.Password }).alias("password").secret().doc("password, plain or bcrypt"),
	str("token", func(a *ListenerAuthorization) *string { return &a.Token }).secret().doc("token, plain or bcrypt"),
	custom("timeout", "seconds", func(_ *reader, e *conf.Entry, a *ListenerAuthorization) error {
		switch e.Value.Kind {
		case conf.Int:
			a.Timeout = seconds(float64(e.Value.Int))
		case conf.Float:
			a.Timeout = seconds(e.Value.Float)
		default:
			a.Timeout = time.Second
		}
		return nil
	}).doc("time until a connection must have authenticated").def("as for clients"),
)

// listenerAuthorization reads the authorization of websocket and mqtt.
func listenerAuthorization[T any](at func(*T) *ListenerAuthorization) *row[T] {
	return custom("authorization", "block", func(r *reader, e *conf.Entry, dst *T) error {
		if err := asBlock(e.Value); err != nil {
			return err
		}
		a := at(dst)
		*a = ListenerAuthorization{}
		listenerAuthTable.read(r, e, a)
		return nil
	}).alias("authentication").of(listenerAuthTable).doc("replaces the only user or the token of clients")
}

// linkAuthorization reads the authorization of the blocks cluster and gateway, which what names.
func linkAuthorization(what string, at func(*Options) *LinkAuthorization) *row[Options] {
	return custom("authorization", "block", func(r *reader, e *conf.Entry, o *Options) error {
		if err := asBlock(e.Value); err != nil {
			return err
		}
		a := &authBlock{}
		authorizationTable.read(r, e, a)
		switch {
		case a.usersKey != nil:
			return fmt.Errorf("%s authorization does not allow multiple users", what)
		case a.tokenSet:
			return fmt.Errorf("%s authorization does not support tokens", what)
		case a.Callout != nil:
			return fmt.Errorf("%s authorization does not support callouts", what)
		}
		if a.permissions && what == "Cluster" {
			r.misuse(e.Pos, "authorization", `setting "permissions" within cluster authorization block is deprecated`)
			o.Cluster.Permissions = a.defaults
		}
		*at(o) = LinkAuthorization{Username: a.Username, Password: a.Password, Timeout: a.Timeout}
		return nil
	}).doc("`user`, `password` and `timeout` of the other servers")
}
