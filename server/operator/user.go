package operator

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/options"
)

// Login is what a connection brings to be judged by its user JWT.
type Login struct {
	Sig, Nonce string
	Type       string // one of the kinds of connections of package auth
	IP         string // empty: unknown
	Proxied    bool
	// Trusted skips the signature: an auth callout vouched for the user.
	Trusted bool
	Now     time.Time
}

// Reasons of refusals that have a closed reason of their own.
var (
	ErrProxyRequired = errors.New("proxy connection required")
	ErrRevoked       = errors.New("user authentication revoked")

	ErrConnectionType = errors.New("connection type is not allowed")
	ErrOutsideTimes   = errors.New("outside of valid connect times")
)

// CheckUser judges what does not need the account of a user.
func CheckUser(u *jwt.UserClaims) error {
	vr := jwt.CreateValidationResults()
	u.Validate(vr)
	var errs []error
	for _, i := range vr.Issues {
		if i.Blocking || i.TimeCheck {
			errs = append(errs, i)
		}
	}
	return errors.Join(errs...)
}

// IssuerAccount is the account that a user belongs to.
func IssuerAccount(u *jwt.UserClaims) string {
	if u.IssuerAccount != "" {
		return u.IssuerAccount
	}
	return u.Issuer
}

// Identify judges a user of the account and says who it is. The checks are made
// in the order of the specification; the first that fails is the error.
func (a *Account) Identify(u *jwt.UserClaims, token string, l *Login) (auth.Identity, error) {
	var none auth.Identity
	if u.ProxyRequired && !l.Proxied {
		return none, ErrProxyRequired
	}
	scope, ok := a.Signer(u.Issuer)
	if !ok {
		return none, errors.New("user JWT issuer is not known")
	}
	limits := u.UserPermissionLimits
	if scope != nil {
		if err := scope.ValidateScopedSigner(u); err != nil {
			return none, fmt.Errorf("user JWT is not valid: %w", err)
		}
		var err error
		if limits, err = a.expand(scope.Template, u); err != nil {
			return none, err
		}
	}
	if a.Expired(l.Now) {
		return none, errors.New("account JWT has expired")
	}
	if limits.BearerToken && a.Claims.Limits.DisallowBearer {
		return none, errors.New("account disallows bearer tokens")
	}
	if !allowsType(limits.AllowedConnectionTypes, l.Type) {
		return none, ErrConnectionType
	}
	if !limits.BearerToken && !l.Trusted {
		if err := verify(u.Subject, l.Sig, l.Nonce); err != nil {
			return none, err
		}
	}
	if a.Revoked(u.Subject, u.IssuedAt) {
		return none, ErrRevoked
	}
	if !allowsSource(limits.Src, l.IP) {
		return none, errors.New("source address is not allowed")
	}
	expires, ok := allowedUntil(&limits.UserLimits, l.Now)
	if !ok {
		return none, ErrOutsideTimes
	}
	if e := u.Expires; e != 0 && (expires.IsZero() || time.Unix(e, 0).Before(expires)) {
		expires = time.Unix(e, 0)
	}
	perms := permissions(&limits.Permissions)
	own := perms != nil
	if !own {
		perms = permissions(&a.Claims.DefaultPermissions)
	}
	id := auth.Identity{
		Account: a.Key(), Permissions: auth.NewPermissions(perms), ID: u.Subject, Label: u.Subject, Form: "jwt", Expires: expires,
		Limits: &auth.Limits{Subscriptions: limits.Subs, Payload: limits.Payload},
		Claims: &auth.Claims{
			JWT: token, Key: u.Subject, Issuer: u.Issuer, SignedFor: a.Key(), Name: u.Name, Tags: []string(u.Tags), IssuedAt: u.IssuedAt,
			Bearer: limits.BearerToken, OwnPermissions: own,
		},
	}
	return id, nil
}

// Revoked tells whether the account revoked a user's claims of that time (Unix
// seconds).
func (a *Account) Revoked(user string, issuedAt int64) bool {
	for _, k := range []string{user, jwt.All} {
		if at, ok := a.Claims.Revocations[k]; ok && at >= issuedAt {
			return true
		}
	}
	return false
}

func verify(key, sig, nonce string) error {
	if sig == "" || nonce == "" {
		return errors.New("signature missing")
	}
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		if raw, err = base64.StdEncoding.DecodeString(sig); err != nil {
			return errors.New("signature not valid base64")
		}
	}
	pub, err := nkeys.FromPublicKey(key)
	if err != nil {
		return fmt.Errorf("user nkey not valid: %w", err)
	}
	if err := pub.Verify([]byte(nonce), raw); err != nil {
		return errors.New("signature not verified")
	}
	return nil
}

// allowsType: an empty list allows all types; unknown ones allow none.
func allowsType(list jwt.StringList, kind string) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(t string) bool { return strings.EqualFold(t, kind) })
}

func allowsSource(list jwt.CIDRList, ip string) bool {
	if len(list) == 0 {
		return true
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	addr = addr.Unmap()
	return slices.ContainsFunc(list, func(cidr string) bool {
		p, err := netip.ParsePrefix(cidr)
		return err == nil && p.Contains(addr)
	})
}

// allowedUntil tells whether now is inside one of the time ranges, and until
// when; no ranges are always. A range whose end is before its start goes over
// midnight.
func allowedUntil(l *jwt.UserLimits, now time.Time) (until time.Time, ok bool) {
	if len(l.Times) == 0 {
		return time.Time{}, true
	}
	loc := time.Local
	if l.Locale != "" {
		var err error
		if loc, err = time.LoadLocation(l.Locale); err != nil {
			return time.Time{}, false
		}
	}
	now = now.In(loc)
	at := func(clock string, days int) (time.Time, bool) {
		t, err := time.Parse(time.TimeOnly, clock)
		return time.Date(now.Year(), now.Month(), now.Day()+days, t.Hour(), t.Minute(), t.Second(), 0, loc), err == nil
	}
	for _, r := range l.Times {
		start, ok1 := at(r.Start, 0)
		end, ok2 := at(r.End, 0)
		if !ok1 || !ok2 {
			continue
		}
		if start.After(end) {
			if now.Before(end) {
				start, _ = at(r.Start, -1)
			} else {
				end, _ = at(r.End, 1)
			}
		}
		if start.Before(now) && now.Before(end) && end.After(until) {
			until, ok = end, true
		}
	}
	return until, ok
}

// permissions converts those of a JWT; nil if there are none at all.
func permissions(p *jwt.Permissions) *options.Permissions {
	if len(p.Pub.Allow)+len(p.Pub.Deny)+len(p.Sub.Allow)+len(p.Sub.Deny) == 0 && p.Resp == nil {
		return nil
	}
	o := &options.Permissions{
		Publish:   options.SubjectPermissions{Allow: p.Pub.Allow, Deny: p.Pub.Deny},
		Subscribe: options.SubjectPermissions{Allow: p.Sub.Allow, Deny: p.Sub.Deny},
	}
	if r := p.Resp; r != nil {
		o.Responses = &options.ResponsePermissions{MaxMsgs: int64(r.MaxMsgs), Expires: r.Expires}
		if r.MaxMsgs == 0 {
			o.Responses.MaxMsgs = options.DefaultResponseMaxMsgs
		}
		if r.Expires == 0 {
			o.Responses.Expires = options.DefaultResponseExpires
		}
	}
	return o
}

// DefaultPermissions are those of users without their own.
func (a *Account) DefaultPermissions() *auth.Permissions {
	return auth.NewPermissions(permissions(&a.Claims.DefaultPermissions))
}
