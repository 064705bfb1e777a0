package auth

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"

	"github.com/natsd/natsd/server/options"
)

func TestPublish(t *testing.T) {
	type lists = options.SubjectPermissions
	for _, tt := range []struct {
		lists     lists
		responses bool
		subject   string
		want      bool
	}{
		{lists{}, false, "x", true},
		{lists{Allow: []string{"a.*", "b"}}, false, "a.1", true},
		{lists{Allow: []string{"a.*", "b"}}, false, "a.1.2", false},
		{lists{Allow: []string{"a.>"}, Deny: []string{"a.x"}}, false, "a.x", false},
		{lists{Allow: []string{"foo.*"}}, false, "foo.*", true}, // taken literally
		{lists{Deny: []string{"a.x"}}, false, "b", true},
		{lists{}, true, "x", false}, // nothing but responses
		{lists{Allow: []string{"a"}}, true, "a", true},
	} {
		p := &options.Permissions{Publish: tt.lists}
		if tt.responses {
			p.Responses = &options.ResponsePermissions{MaxMsgs: 1, Expires: time.Minute}
		}
		if got := NewPermissions(p).Publish([]byte(tt.subject)); got != tt.want {
			t.Errorf("%+v %q: %v", tt.lists, tt.subject, got)
		}
	}
	var none *Permissions
	if !none.Publish([]byte("x")) || !none.Subscribe("x", "q") || none.LimitsPublish() || none.Filters(">", "") {
		t.Error("no permissions restrict something")
	}
}

func TestSubscribe(t *testing.T) {
	for _, tt := range []struct {
		allow, deny    []string
		subject, queue string
		want           bool
	}{
		{[]string{"foo.*"}, nil, "foo.a", "", true},
		{[]string{"foo.*"}, nil, "foo.*", "", true},
		{[]string{"foo.*"}, nil, "foo.>", "", false},
		{[]string{"foo.*"}, nil, ">", "", false},
		{[]string{"x.*.z"}, nil, "x.a.*", "", false},
		{nil, []string{"x.*"}, "x.>", "", false},
		{nil, []string{"y.z"}, "y.>", "", true},
		{nil, []string{"y.z"}, ">", "", true},
		{[]string{"q v1", "q v2.*"}, nil, "q", "", false},
		{[]string{"q v1", "q v2.*"}, nil, "q", "v2.a", true},
		{[]string{"q v1", "q v2.*"}, nil, "q", "v2", false},
		{[]string{"baz", "baz grp"}, nil, "baz", "", true},
		{[]string{"baz", "baz grp"}, nil, "baz", "grp", true},
		{[]string{"baz", "baz grp"}, nil, "baz", "other", false},
		{[]string{"deny.*"}, []string{"deny.* bad"}, "deny.a", "bad", false},
		{[]string{"deny.*"}, []string{"deny.* bad"}, "deny.a", "ok", true},
		{[]string{"deny.*"}, []string{"deny.* bad"}, "deny.a", "", true},
		{[]string{"foo.*"}, []string{"foo.x"}, "foo.x", "", false},
		{[]string{"foo.*"}, []string{"foo.x"}, "foo.*", "", true},
	} {
		p := NewPermissions(&options.Permissions{Subscribe: options.SubjectPermissions{Allow: tt.allow, Deny: tt.deny}})
		if got := p.Subscribe(tt.subject, tt.queue); got != tt.want {
			t.Errorf("allow %q deny %q: %q %q: %v", tt.allow, tt.deny, tt.subject, tt.queue, got)
		}
	}
	p := NewPermissions(&options.Permissions{Subscribe: options.SubjectPermissions{Deny: []string{"a.x", "a.* q"}}})
	if !p.Filters("a.*", "") || !p.Filters("a.1", "q") || p.Filters("b.*", "") || p.Filters("a.1", "") {
		t.Error("the filter is on for the wrong subscriptions")
	}
	for _, tt := range []struct {
		subject, queue string
		want           bool
	}{{"a.x", "", false}, {"a.x", "r", false}, {"a.y", "", true}, {"a.y", "q", false}, {"a.y", "r", true}} {
		if got := p.Deliver([]byte(tt.subject), tt.queue); got != tt.want {
			t.Errorf("deliver %q %q: %v", tt.subject, tt.queue, got)
		}
	}
}

func TestLogin(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	yHash := "$2y" + string(hash[3:])
	user, _ := nkeys.FromSeed([]byte("SUAKNU7I42SOM6G5J4LSXSZSCKQJJ5CM3U7RA422L3M5OBFMYR52V5FIKM"))
	key, _ := user.PublicKey()
	const nonce = "PXoWU7zWAMt75FY"
	const sig = "QcCLHEshgOs0W1w2nrCcqBNaI34tflxv5CKnbmrj938Svd7IYh5jpcJhYL06YriIirLaRs9TvnOD4vt_44AsDg"
	rawSig, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		t.Fatal(err)
	}
	proxy, _ := nkeys.CreateAccount()
	proxyKey, _ := proxy.PublicKey()
	proxySig, _ := proxy.Sign([]byte(nonce))
	signed := base64.RawURLEncoding.EncodeToString(proxySig)

	users := &options.Options{
		Authorization: options.Authorization{Users: []*options.User{
			{Username: "plain", Password: "pw"}, {Username: "hash", Password: string(hash)}, {Username: "y", Password: yHash},
			{Username: "ws", Password: "pw", ConnectionTypes: []string{WebSocket}},
			{Username: "behind", Password: "pw", ProxyRequired: true}, {NKey: key},
		}},
		Accounts:  []*options.Account{{Name: "A", Users: []*options.User{{Username: "a", Password: "a"}}}},
		ProxyKeys: []string{proxyKey},
	}
	noAuth := *users
	noAuth.NoAuthUser = "a"
	noAuthKey := *users
	noAuthKey.NoAuthUser = key
	token := &options.Options{Authorization: options.Authorization{Token: "t0ken"}}
	single := &options.Options{Authorization: options.Authorization{Username: "u", Password: "p"}}
	for _, tt := range []struct {
		name    string
		opts    *options.Options
		req     Request
		account string
		label   string
		failure Failure
	}{
		{"open", &options.Options{}, Request{User: "who", Password: "ever"}, "$G", "", Accepted},
		{"plain", users, Request{User: "plain", Password: "pw"}, "$G", "plain", Accepted},
		{"wrong", users, Request{User: "plain", Password: "pW"}, "", "", Refused},
		{"unknown", users, Request{User: "nobody", Password: "pw"}, "", "", Refused},
		{"bcrypt", users, Request{User: "hash", Password: "secret"}, "$G", "hash", Accepted},
		{"bcrypt y", users, Request{User: "y", Password: "secret"}, "$G", "y", Accepted},
		{"hash as password", users, Request{User: "hash", Password: string(hash)}, "", "", Refused},
		{"account", users, Request{User: "a", Password: "a"}, "A", "a", Accepted},
		{"connection type", users, Request{User: "ws", Password: "pw"}, "", "", Refused},
		{"nobody", users, Request{}, "", "", Refused},
		{"no_auth_user", &noAuth, Request{}, "A", "a", Accepted},
		{"no_auth_user, an nkey where there are none", &options.Options{NoAuthUser: "a", Accounts: users.Accounts}, Request{NKey: key}, "A", "a", Accepted},
		{"no_auth_user, an unknown nkey", &noAuth, Request{NKey: proxyKey}, "", "", Refused},
		{"no_auth_user, but a token", &noAuth, Request{Token: "t"}, "", "", Refused},
		{"no_auth_user named with a wrong password", &noAuth, Request{User: "a", Password: "b"}, "", "", Refused},
		{"no_auth_user nkey", &noAuthKey, Request{}, "$G", key, Accepted},
		{"nkey", users, Request{NKey: key, Sig: sig}, "$G", key, Accepted},
		{"nkey, standard encoding", users, Request{NKey: key, Sig: base64.StdEncoding.EncodeToString(rawSig)}, "$G", key, Accepted},
		{"nkey goes first", users, Request{NKey: key, Sig: sig, User: "a", Password: "a"}, "$G", key, Accepted},
		{"nkey without signature", users, Request{NKey: key}, "", "", Refused},
		{"nkey, other nonce", users, Request{NKey: key, Sig: sig, Nonce: "PXoWU7zWAMt75FZ"}, "", "", Refused},
		{"unknown nkey, known user", users, Request{NKey: proxyKey, User: "a", Password: "a"}, "", "", Refused},
		{"token", token, Request{Token: "t0ken"}, "$G", "[REDACTED]", Accepted},
		{"wrong token", token, Request{Token: "t"}, "", "", Refused},
		{"single user", single, Request{User: "u", Password: "p"}, "$G", "u", Accepted},
		{"single user, wrong name", single, Request{User: "v", Password: "p"}, "", "", Refused},
		{"proxy", users, Request{User: "behind", Password: "pw", ProxySig: signed}, "$G", "behind", Accepted},
		{"proxy required", users, Request{User: "behind", Password: "pw"}, "", "", ProxyRequired},
		{"proxy not trusted", users, Request{User: "plain", Password: "pw", ProxySig: sig}, "", "", ProxyNotTrusted},
	} {
		r := tt.req
		if r.Nonce == "" {
			r.Nonce = nonce
		}
		r.Type = Standard
		id, failure := NewTable(tt.opts, "").Login(&r)
		if failure != tt.failure || failure == Accepted && (id.Account != tt.account || id.Label != tt.label) {
			t.Errorf("%s: %v %+v", tt.name, failure, id)
		}
	}
}

func TestCertificateMapping(t *testing.T) {
	raw := func(rdns ...pkix.RelativeDistinguishedNameSET) []byte {
		b, err := asn1.Marshal(pkix.RDNSequence(rdns))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	rdn := func(oid asn1.ObjectIdentifier, v string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: oid, Value: v}}
	}
	cn, ou, dc := attributeTypes["CN"], attributeTypes["OU"], oidDC
	uri, _ := url.Parse("spiffe://host/a")
	subject := raw(rdn(dc, "com"), rdn(dc, "acme"), rdn(ou, "dev"), rdn(cn, "Bob, the"))
	both := raw(pkix.RelativeDistinguishedNameSET{{Type: ou, Value: "u1"}, {Type: ou, Value: "u2"}}, rdn(cn, "x"))
	for _, tt := range []struct {
		name  string
		users []string
		cert  x509.Certificate
		want  string
	}{
		{"e-mail first", []string{"h.example", "a@b"}, x509.Certificate{EmailAddresses: []string{"a@b"}, DNSNames: []string{"h.example"}}, "a@b"},
		{"DNS", []string{"h.example"}, x509.Certificate{EmailAddresses: []string{"a@b"}, DNSNames: []string{"h.example"}}, "h.example"},
		{"case counts", []string{"H.example"}, x509.Certificate{DNSNames: []string{"h.example"}}, ""},
		{"URI", []string{"spiffe://host/a"}, x509.Certificate{URIs: []*url.URL{uri}}, "spiffe://host/a"},
		{"name, in order", []string{`CN=Bob\, the,OU=dev,DC=acme,DC=com`}, x509.Certificate{RawSubject: subject}, `CN=Bob\, the,OU=dev,DC=acme,DC=com`},
		{"name, any order", []string{`DC=com, DC=acme, CN=Bob\, the, OU=dev`}, x509.Certificate{RawSubject: subject}, `DC=com, DC=acme, CN=Bob\, the, OU=dev`},
		{"name, hexadecimal escape", []string{`CN=Bob\2c the,OU=dev,DC=acme,DC=com`}, x509.Certificate{RawSubject: subject}, `CN=Bob\2c the,OU=dev,DC=acme,DC=com`},
		{"name, a part missing", []string{`CN=Bob\, the,OU=dev`}, x509.Certificate{RawSubject: subject}, ""},
		{"name, sets", []string{"CN=x,OU=u2+OU=u1"}, x509.Certificate{RawSubject: both}, "CN=x,OU=u2+OU=u1"},
		{"none", []string{"a"}, x509.Certificate{}, ""},
	} {
		o := &options.Options{}
		for _, u := range tt.users {
			o.Authorization.Users = append(o.Authorization.Users, &options.User{Username: u})
		}
		id, failure := NewTable(o, "").Login(&Request{
			Type: Standard, MapCertificate: true, User: "other",
			TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{&tt.cert}},
		})
		if (failure == Accepted) != (tt.want != "") || id.Label != tt.want {
			t.Errorf("%s: %v %q", tt.name, failure, id.Label)
		}
	}
}

// Where a listener takes users from certificates, nobody gets in there without one,
// and users without a password nowhere else.
func TestMappedUsersNeedTheirCertificate(t *testing.T) {
	users := []*options.User{{Username: "h.example"}, {Username: "p.example", Password: "secret"}}
	mapping := &options.Options{TLS: &options.TLS{VerifyAndMap: true}}
	mapping.Authorization.Users = users
	plain := &options.Options{TLS: &options.TLS{}}
	plain.Authorization.Users = users
	shown := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{DNSNames: []string{"h.example"}}}}
	for _, tt := range []struct {
		what string
		o    *options.Options
		r    Request
		want Failure
	}{
		{"certificate", mapping, Request{MapCertificate: true, TLS: shown}, Accepted},
		{"no TLS", mapping, Request{MapCertificate: true, User: "h.example"}, Refused},
		{"no TLS, password", mapping, Request{MapCertificate: true, User: "p.example", Password: "secret"}, Refused},
		{"no certificate", mapping, Request{MapCertificate: true, User: "h.example", TLS: &tls.ConnectionState{}}, Refused},
		{"other listener", mapping, Request{User: "h.example"}, Refused},
		{"other listener, password", mapping, Request{User: "p.example", Password: "secret"}, Accepted},
		{"nothing is mapped", plain, Request{User: "h.example"}, Accepted},
	} {
		tt.r.Type = Standard
		if _, got := NewTable(tt.o, "").Login(&tt.r); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}

// FuzzParseDN: no text does harm.
// What was proven once is not computed again, as long as what it was proven against is the same.
func TestProvenBefore(t *testing.T) {
	hash := func(secret string) string {
		h, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return string(h)
	}
	h := hash("right")
	table := func(a options.Authorization) *Table { return NewTable(&options.Options{Authorization: a}, "") }
	users := func(password string) *Table {
		return table(options.Authorization{Users: []*options.User{{Username: "u", Password: password}}})
	}
	first, failure := users(h).Login(&Request{User: "u", Password: "right", Type: Standard})
	if failure != Accepted {
		t.Fatal(failure)
	}
	// The password of these requests is wrong: they pass only if nobody looks at it.
	for _, c := range []struct {
		name   string
		table  *Table
		before *Identity
		want   Failure
	}{
		{"the same hash", users(h), &first, Accepted},
		{"nothing before", users(h), nil, Refused},
		{"another hash of it", users(hash("right")), &first, Refused},
		{"the hash is a token", table(options.Authorization{Token: h}), &first, Refused},
		{"the hash of the single user", table(options.Authorization{Username: "u", Password: h}), &first, Accepted},
		{"nothing was proven", users(h), &Identity{}, Refused},
	} {
		if _, got := c.table.Login(&Request{User: "u", Password: "wrong", Token: "wrong", Type: Standard, Before: c.before}); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// A user without password is one for certificates where a listener maps them, and nobody else.
func TestUsersForCertificates(t *testing.T) {
	mapping := &options.TLS{VerifyAndMap: true}
	for _, c := range []struct {
		name  string
		edit  func(*options.Options)
		types []string
		want  Failure
		plain bool
	}{
		{"nobody maps", func(o *options.Options) {}, nil, Accepted, true},
		{"another listener maps", func(o *options.Options) { o.MQTT.Port, o.MQTT.TLS = 1, mapping }, nil, Refused, false},
		{"it is not open", func(o *options.Options) { o.MQTT.TLS = mapping }, nil, Accepted, true},
		{"it is not for this user", func(o *options.Options) { o.MQTT.Port, o.MQTT.TLS = 1, mapping }, []string{Standard}, Accepted, true},
		{"no_auth_user", func(o *options.Options) { o.MQTT.Port, o.MQTT.TLS, o.NoAuthUser = 1, mapping, "u" }, nil, Accepted, false},
	} {
		o := &options.Options{Authorization: options.Authorization{Users: []*options.User{{Username: "u", ConnectionTypes: c.types}}}}
		c.edit(o)
		table := NewTable(o, "")
		if _, got := table.Login(&Request{User: "u", Type: Standard}); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got := table.PlainSecrets(); got != c.plain {
			t.Errorf("%s: plain secrets: %v", c.name, got)
		}
	}
}

func FuzzParseDN(f *testing.F) {
	for _, s := range []string{`CN=a\, b,OU=x+OU=y;DC=z`, `CN=\2c`, `2.5.4.3=x`, `=`, `CN=a\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := parseDN(s); ok && (len(d) == 0 || !d.equal(d, true) || !d.equal(d, false)) {
			t.Errorf("%q: %v", s, d)
		}
	})
}
