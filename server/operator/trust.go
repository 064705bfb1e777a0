package operator

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/natsd/natsd/server/options"
)

// ErrAccountValidation: the claims of an account do not hold.
var ErrAccountValidation = errors.New("account validation failed")

// Trust is who may sign account JWTs. It is immutable.
type Trust struct {
	keys   map[string]bool
	strict []string // signing keys of operators that keep accounts to their signing keys
	// Self are the keys of the first operator, which may sign deletions.
	self []string
}

// NewTrust makes the trust of options in operator mode, nil in others.
func NewTrust(o *options.Options) *Trust {
	if len(o.Operators) == 0 && len(o.TrustedKeys) == 0 {
		return nil
	}
	t := &Trust{keys: map[string]bool{}}
	for _, k := range o.TrustedKeys {
		t.keys[k] = true
	}
	for i, op := range o.Operators {
		keys := slices.Clone([]string(op.Claims.SigningKeys))
		if op.Claims.StrictSigningKeyUsage {
			t.strict = append(t.strict, keys...)
		} else {
			keys = append(keys, op.Claims.Subject)
		}
		for _, k := range keys {
			t.keys[k] = true
		}
		if i == 0 {
			t.self = keys
		}
	}
	return t
}

// Trusts tells whether key may sign accounts.
func (t *Trust) Trusts(key string) bool { return t.keys[key] }

// MayDelete tells whether key may sign the deletion of accounts.
func (t *Trust) MayDelete(key string) bool { return slices.Contains(t.self, key) }

// Account is a valid account JWT. It is immutable.
type Account struct {
	JWT    string
	Claims *jwt.AccountClaims
	Opened time.Time // when they were judged
	// keys may sign users: with a scope, or nil for none.
	keys map[string]*jwt.UserScope
}

// Open decodes and judges an account JWT: its subject is key, its issuer is
// trusted, nothing about it is invalid, and its time has come and not passed.
func (t *Trust) Open(key, token string) (*Account, error) {
	claims, err := jwt.DecodeAccountClaims(token)
	if err != nil {
		return nil, err
	}
	if claims.Subject != key || !t.Trusts(claims.Issuer) {
		return nil, ErrAccountValidation
	}
	vr := jwt.CreateValidationResults()
	claims.Validate(vr)
	if vr.IsBlocking(true) {
		return nil, ErrAccountValidation
	}
	a := &Account{JWT: token, Claims: claims, Opened: time.Now(), keys: map[string]*jwt.UserScope{}}
	for k, scope := range claims.SigningKeys {
		us, _ := scope.(*jwt.UserScope)
		a.keys[k] = us
	}
	if !slices.Contains(t.strict, claims.Issuer) {
		a.keys[claims.Subject] = nil
	}
	return a, nil
}

// Temporary is an account that has no JWT yet: the system account of a server
// whose resolver is still empty. Its own key signs its users.
func Temporary(key string) *Account {
	c := jwt.NewAccountClaims(key)
	return &Account{Claims: c, Opened: time.Now(), keys: map[string]*jwt.UserScope{key: nil}}
}

// Expired tells whether the time of the claims has passed.
func (a *Account) Expired(now time.Time) bool { return expired(a.Claims.Expires, now) }

// expired tells whether an expiry in Unix seconds (0: none) has passed: it holds until its second is over.
func expired(exp int64, now time.Time) bool { return exp != 0 && now.Unix() > exp }

// Key is the account's public key, which is its name too.
func (a *Account) Key() string { return a.Claims.Subject }

// Signer returns the scope of a key that may sign users (nil: none); ok is
// false for other keys.
func (a *Account) Signer(key string) (scope *jwt.UserScope, ok bool) {
	scope, ok = a.keys[key]
	return scope, ok
}

// SameSigner tells whether a key that signs users has the same scope in both
// versions of the account.
func (a *Account) SameSigner(before *Account, key string) bool {
	now, ok := a.keys[key]
	if !ok {
		return false
	}
	if before == nil {
		return true
	}
	then, ok := before.keys[key]
	return ok && reflect.DeepEqual(now, then)
}
