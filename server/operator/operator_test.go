package operator

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/options"
)

// key makes a key pair that is always the same for the same name.
func key(t testing.TB, kind nkeys.PrefixByte, name string) (nkeys.KeyPair, string) {
	raw := make([]byte, 32)
	copy(raw, name)
	k, err := nkeys.FromRawSeed(kind, raw)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return k, pub
}

func encode(t testing.TB, c jwt.Claims, k nkeys.KeyPair) string {
	s, err := c.Encode(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func trust(t testing.TB) (*Trust, nkeys.KeyPair) {
	op, pub := key(t, nkeys.PrefixByteOperator, "operator")
	return NewTrust(&options.Options{TrustedKeys: []string{pub}}), op
}

func TestOpenAccount(t *testing.T) {
	tr, op := trust(t)
	rogue, _ := key(t, nkeys.PrefixByteOperator, "rogue")
	_, a := key(t, nkeys.PrefixByteAccount, "A")
	_, b := key(t, nkeys.PrefixByteAccount, "B")
	good := jwt.NewAccountClaims(a)
	late := jwt.NewAccountClaims(a)
	late.Expires = time.Now().Add(-time.Hour).Unix()
	early := jwt.NewAccountClaims(a)
	early.NotBefore = time.Now().Add(time.Hour).Unix()
	for _, tt := range []struct {
		name, key, token string
		ok               bool
	}{
		{"good", a, encode(t, good, op), true},
		{"other account", b, encode(t, good, op), false},
		{"other operator", a, encode(t, good, rogue), false},
		{"expired", a, encode(t, late, op), false},
		{"not yet valid", a, encode(t, early, op), false},
		{"no token", a, "x", false},
	} {
		if _, err := tr.Open(tt.key, tt.token); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestScopeTemplate(t *testing.T) {
	_, sub := key(t, nkeys.PrefixByteUser, "u")
	_, acc := key(t, nkeys.PrefixByteAccount, "A")
	u := jwt.NewUserClaims(sub)
	u.Name = "thermo1"
	u.Tags = jwt.TagList{"dept:eng", "dept:ops"}
	claims := jwt.NewAccountClaims(acc)
	claims.Name = "ACC-A"
	claims.Tags = jwt.TagList{"team:red"}
	a := &Account{Claims: claims}
	for _, tt := range []struct {
		in   string
		want []string // nil: left out of an allow list
		err  bool
	}{
		{"plain.>", []string{"plain.>"}, false},
		{"dev.{{name()}}.>", []string{"dev.thermo1.>"}, false},
		{"dev.{{ NAME() }}.>", []string{"dev.thermo1.>"}, false},
		{"k.{{subject()}}", []string{"k." + sub}, false},
		{"acct.{{account-name()}}", []string{"acct.ACC-A"}, false},
		{"a.{{account-subject()}}", []string{"a." + acc}, false},
		{"tag.{{tag(dept)}}", []string{"tag.eng", "tag.ops"}, false},
		{"x.{{tag(dept)}}.{{account-tag(team)}}", []string{"x.eng.red", "x.ops.red"}, false},
		{"tag.{{tag(none)}}", nil, false},
		{"tag.{{what()}}", nil, true},
		{"{{name()}}.{{name()}} queue", nil, false}, // not a subject
	} {
		got, err := a.expandList(jwt.StringList{tt.in}, u, false)
		if !slices.Equal(got, tt.want) || (err != nil) != tt.err {
			t.Errorf("allow %q: %v %v, want %v", tt.in, got, err, tt.want)
		}
		got, err = a.expandList(jwt.StringList{tt.in}, u, true)
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) {
			t.Errorf("deny %q: %v %v, want %v", tt.in, got, err, tt.want)
		}
	}
	// An allow list that becomes empty allows nothing.
	p, err := a.expand(jwt.UserPermissionLimits{Permissions: jwt.Permissions{Pub: jwt.Permission{Allow: jwt.StringList{"t.{{tag(none)}}"}}}}, u)
	if err != nil || len(p.Pub.Allow) != 0 || !slices.Equal(p.Pub.Deny, jwt.StringList{">"}) {
		t.Errorf("%+v %v", p.Pub, err)
	}
}

func TestAllowedUntil(t *testing.T) {
	at := func(clock string) time.Time {
		v, err := time.Parse(time.DateTime, "2026-05-10 "+clock)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct {
		ranges []jwt.TimeRange
		now    string
		until  string // empty: not allowed
	}{
		{[]jwt.TimeRange{{Start: "08:00:00", End: "17:00:00"}}, "12:00:00", "2026-05-10 17:00:00"},
		{[]jwt.TimeRange{{Start: "08:00:00", End: "17:00:00"}}, "07:59:59", ""},
		{[]jwt.TimeRange{{Start: "08:00:00", End: "17:00:00"}}, "17:00:00", ""},
		{[]jwt.TimeRange{{Start: "22:00:00", End: "06:00:00"}}, "23:00:00", "2026-05-11 06:00:00"},
		{[]jwt.TimeRange{{Start: "22:00:00", End: "06:00:00"}}, "05:00:00", "2026-05-10 06:00:00"},
		{[]jwt.TimeRange{{Start: "22:00:00", End: "06:00:00"}}, "12:00:00", ""},
		{[]jwt.TimeRange{{Start: "08:00:00", End: "13:00:00"}, {Start: "11:00:00", End: "15:00:00"}}, "12:00:00", "2026-05-10 15:00:00"},
	} {
		until, ok := allowedUntil(&jwt.UserLimits{Times: tt.ranges, Locale: "UTC"}, at(tt.now))
		if got := until.Format(time.DateTime); ok != (tt.until != "") || ok && got != tt.until {
			t.Errorf("%v at %s: %s %v, want %q", tt.ranges, tt.now, got, ok, tt.until)
		}
	}
}

func TestDir(t *testing.T) {
	_, op := trust(t)
	token := func(name string, edit func(*jwt.AccountClaims)) (string, string) {
		_, k := key(t, nkeys.PrefixByteAccount, name)
		c := jwt.NewAccountClaims(k)
		if edit != nil {
			edit(c)
		}
		return k, encode(t, c, op)
	}
	dir := t.TempDir()
	d, err := OpenDir(options.Resolver{Type: "full", Dir: dir, Limit: 2, AllowDelete: true})
	if err != nil {
		t.Fatal(err)
	}
	a, tokenA := token("A", nil)
	b, tokenB := token("B", nil)
	c, tokenC := token("C", nil)
	empty := d.Hash()
	for k, tok := range map[string]string{a: tokenA, b: tokenB} {
		if err := d.Store(k, tok); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Store(c, tokenC); !errors.Is(err, ErrStoreFull) {
		t.Errorf("third account: %v", err)
	}
	if err := d.Store(c, tokenA); err == nil {
		t.Error("stored under another key")
	}
	if got, err := d.Fetch(t.Context(), a); got != tokenA || err != nil {
		t.Errorf("%q %v", got, err)
	}
	// Another server with the same tokens has the same hash.
	again, err := OpenDir(options.Resolver{Type: "full", Dir: dir})
	if err != nil || again.Hash() != d.Hash() || again.Hash() == empty {
		t.Errorf("hashes differ after opening again: %v", err)
	}
	_, newer := token("A", func(c *jwt.AccountClaims) { c.Name = "new" })
	if changed, err := d.Merge(a, newer); !changed || err != nil {
		t.Errorf("newer token: %v %v", changed, err)
	}
	if changed, _ := d.Merge(a, newer); changed {
		t.Error("the same token is a change")
	}
	if err := d.Delete(a); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Fetch(t.Context(), a); !errors.Is(err, ErrNoAccount) {
		t.Errorf("deleted: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, a+".jwt.deleted")); err != nil {
		t.Error(err)
	}
	if err := d.Delete(b); err != nil {
		t.Fatal(err)
	}
	if d.Hash() != empty {
		t.Error("hash of an empty store")
	}
	outside := filepath.Join(filepath.Dir(dir), "outside")
	if err := os.WriteFile(outside+".jwt", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete("../outside"); !errors.Is(err, errNoKey) {
		t.Errorf("what is no key is deleted: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, c+".jwt"), []byte(tokenC), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := d.Rescan(); err != nil || !slices.Equal(changed, []string{c}) {
		t.Errorf("rescan: %v %v", changed, err)
	}
}

func TestCacheEvicts(t *testing.T) {
	_, op := trust(t)
	d, err := OpenDir(options.Resolver{Type: "cache", Dir: t.TempDir(), Limit: 2, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, name := range []string{"A", "B", "C"} {
		_, k := key(t, nkeys.PrefixByteAccount, name)
		keys[name] = k
		if err := d.Store(k, encode(t, jwt.NewAccountClaims(k), op)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Fetch(t.Context(), keys["A"]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Fetch(t.Context(), keys["B"]); !errors.Is(err, ErrNoAccount) {
		t.Errorf("least recently used: %v", err)
	}
	if gone := d.Expire(time.Now().Add(2 * time.Hour)); len(gone) != 2 {
		t.Errorf("expired %v", gone)
	}
}

// Claims of any content are judged without a crash, and what is made of them is
// usable.
// TestCheckUser: errors say what is wrong, also where only the time is.
func TestCheckUser(t *testing.T) {
	_, u := key(t, nkeys.PrefixByteUser, "u")
	for _, tt := range []struct {
		edit func(*jwt.UserClaims)
		want string
	}{
		{func(*jwt.UserClaims) {}, "<nil>"},
		{func(c *jwt.UserClaims) { c.Expires = time.Now().Unix() - 5 }, "claim is expired"},
		{func(c *jwt.UserClaims) { c.NotBefore = time.Now().Unix() + 500 }, "claim is not yet valid"},
	} {
		c := jwt.NewUserClaims(u)
		tt.edit(c)
		if got := fmt.Sprint(CheckUser(c)); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func FuzzClaims(f *testing.F) {
	tr, op := trust(f)
	acc, a := key(f, nkeys.PrefixByteAccount, "A")
	_, b := key(f, nkeys.PrefixByteAccount, "B")
	_, u := key(f, nkeys.PrefixByteUser, "u")
	f.Add([]byte(`{"exports":[{"subject":"a.*","type":"service","account_token_position":2}],"imports":[{"subject":"a.b","account":"`+b+`","type":"stream","to":"x"}],"mappings":{"a.*":[{"subject":"b.$1","weight":50}]},"limits":{"subs":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1},"trace":{"dest":"t","sampling":5}}`),
		[]byte(`{"pub":{"allow":["a.{{name()}}"]},"times":[{"start":"08:00:00","end":"09:00:00"}],"src":["10.0.0.0/8"],"tags":["a:b"]}`))
	f.Add([]byte(`{"signing_keys":[{"kind":"user_scope","key":"`+a+`","template":{"pub":{"allow":["{{tag(x)}}"]}}}],"revocations":{"*":1}}`), []byte(`{"subs":1}`))
	f.Fuzz(func(t *testing.T, account, user []byte) {
		claims := jwt.NewAccountClaims(a)
		if json.Unmarshal(account, &claims.Account) != nil {
			return
		}
		token, err := claims.Encode(op)
		if err != nil {
			return
		}
		acct, err := tr.Open(a, token)
		if err != nil {
			return
		}
		acct.Exports()
		acct.Limits()
		acct.JetStream()
		acct.Trace()
		acct.Mappings("C")
		for _, i := range acct.Imports() {
			acct.Authorizes(b, &i, time.Now())
		}
		uc := jwt.NewUserClaims(u)
		if json.Unmarshal(user, &uc.User) != nil {
			return
		}
		utoken, err := uc.Encode(acc)
		if err != nil {
			return
		}
		opened, err := jwt.DecodeUserClaims(utoken)
		if err != nil || CheckUser(opened) != nil {
			return
		}
		id, err := acct.Identify(opened, utoken, &Login{Trusted: true, Type: "STANDARD", IP: "10.1.2.3", Now: time.Now()})
		if err == nil && (id.Account != a || id.Limits == nil || id.Claims == nil) {
			t.Fatalf("identity %+v", id)
		}
	})
}
