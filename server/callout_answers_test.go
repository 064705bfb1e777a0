package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/client"
)

// In operator mode a service with an xkey gets sealed requests. A sealed answer is its own, whoever has signed it; one in
// clear needs a key of its account. A login that it does not answer is refused, and reported once.
func TestSealedCalloutOfAccount(t *testing.T) {
	o := newTestOperator(t)
	box, err := nkeys.CreateCurveKeys()
	if err != nil {
		t.Fatal(err)
	}
	boxKey, _ := box.PublicKey()
	otherBox, _ := nkeys.CreateCurveKeys()
	service, _ := nkeys.CreateUser()
	serviceKey, _ := service.PublicKey()
	serviceSeed, _ := service.Seed()
	signing, _ := nkeys.CreateAccount()
	signingKey, _ := signing.PublicKey()
	stranger, _ := nkeys.CreateAccount()

	conf := o.line + "resolver: MEMORY\n" + o.preload(map[string]string{
		"SYS": o.account("SYS", nil),
		"APP": o.account("APP", nil),
		"AUTH": o.account("AUTH", func(c *jwt.AccountClaims) {
			c.SigningKeys.Add(signingKey)
			c.Authorization = jwt.ExternalAuthorization{AuthUsers: jwt.StringList{serviceKey}, AllowedAccounts: jwt.StringList{"*"}, XKey: boxKey}
		}),
	})
	file := startFile(t, conf+"authorization { timeout: 60 }\n")
	s := file.Server
	sys := connect(t, s, o.login("SYS"))
	events, err := sys.SubscribeSync("$SYS.SERVER.*.CLIENT.AUTH.ERR")
	if err != nil {
		t.Fatal(err)
	}
	o.pub("APP") // its key is made
	token, err := jwt.NewUserClaims(serviceKey).Encode(o.keys["AUTH"])
	if err != nil {
		t.Fatal(err)
	}
	sentinel := o.login("AUTH")
	svc := connect(t, s, nats.UserJWTAndSeed(token, string(serviceSeed)))
	if _, err := svc.Subscribe(calloutSubject, func(m *nats.Msg) {
		serverKey := m.Header.Get("Nats-Server-Xkey")
		text, err := box.Open(m.Data, serverKey)
		if err != nil {
			t.Errorf("request: %v", err)
			return
		}
		q, err := jwt.DecodeAuthorizationRequestClaims(string(text))
		if err != nil {
			t.Error(err)
			return
		}
		if q.Subject != o.pub("AUTH") || q.Server.XKey != serverKey {
			t.Errorf("request for %s with the key %s, want %s with %s", q.Subject, q.Server.XKey, o.pub("AUTH"), serverKey)
		}
		how := q.ClientInformation.Name
		user, err := jwt.NewUserClaims(q.UserNkey).Encode(o.keys["APP"])
		if err != nil {
			t.Error(err)
			return
		}
		a := jwt.NewAuthorizationResponseClaims(q.UserNkey)
		a.Audience, a.Jwt = q.Server.ID, user
		signer := stranger
		switch {
		case strings.HasSuffix(how, "by its account"):
			signer = o.keys["AUTH"]
		case strings.HasSuffix(how, "by its signing key"):
			signer, a.IssuerAccount = signing, o.pub("AUTH")
		}
		answer, err := a.Encode(signer)
		if err != nil {
			t.Error(err)
			return
		}
		body := []byte(answer)
		switch {
		case strings.HasPrefix(how, "sealed by another"):
			body, err = otherBox.Seal(body, serverKey)
		case strings.HasPrefix(how, "sealed"):
			body, err = box.Seal(body, serverKey)
		case strings.HasPrefix(how, "silent"):
			return
		}
		if err == nil {
			err = m.Respond(body)
		}
		if err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := svc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		how string
		ok  bool
	}{
		{"sealed by its account", true},
		{"sealed by its signing key", true},
		{"sealed by a stranger", true},
		{"sealed by another box", false},
		{"clear by its account", true},
		{"clear by its signing key", true},
		{"clear by a stranger", false},
		{"silent", false},
	} {
		if c.how == "silent" {
			file.mustReload(conf + "authorization { timeout: 1 }\n")
		}
		nc, err := nats.Connect("nats://"+s.Addr().String(), sentinel, nats.Name(c.how), nats.Timeout(patience))
		if c.ok {
			if err != nil {
				t.Errorf("%s: %v", c.how, err)
				continue
			}
			if clients := s.clientsOf(s.accounts.Get(o.pub("APP"))); len(clients) != 1 {
				t.Errorf("%s: %d clients in the account", c.how, len(clients))
			}
			nc.Close()
			waitFor(t, func() bool { return len(s.clientsOf(s.accounts.Get(o.pub("APP")))) == 0 })
			continue
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", c.how, err)
		}
		if err == nil {
			nc.Close()
			continue
		}
		m, err := events.NextMsg(patience)
		if want := fmt.Sprintf(`"reason":%q`, client.AuthenticationViolation.String()); err != nil || !strings.Contains(string(m.Data), want) || !strings.Contains(string(m.Data), c.how) {
			t.Errorf("%s: event %v, %v", c.how, m, err)
		}
	}
	if err := sys.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := events.Pending(); n != 0 || err != nil {
		t.Errorf("%d events too many, %v", n, err)
	}
}

// What the service's user JWT says about where a user may come from, and how much it may do, counts.
func TestCalloutLimits(t *testing.T) {
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := issuer.PublicKey()
	s := startConf(t, fmt.Sprintf(`accounts { AUTH { users: [{user: auth, password: p}] }, APP {} }
		authorization { timeout: 60, auth_callout { issuer: %s, account: AUTH, auth_users: [auth], allowed_accounts: [APP] } }`, key))
	cases := map[string]struct {
		edit func(*jwt.UserClaims)
		ok   bool
	}{
		"unlimited":            {func(*jwt.UserClaims) {}, true},
		"from here":            {func(u *jwt.UserClaims) { u.Src.Add("127.0.0.0/8") }, true},
		"from elsewhere":       {func(u *jwt.UserClaims) { u.Src.Add("10.0.0.0/8") }, false},
		"over TCP":             {func(u *jwt.UserClaims) { u.AllowedConnectionTypes.Add("STANDARD", "MQTT") }, true},
		"over MQTT":            {func(u *jwt.UserClaims) { u.AllowedConnectionTypes.Add("MQTT") }, false},
		"over unknown things":  {func(u *jwt.UserClaims) { u.AllowedConnectionTypes.Add("PIGEON") }, false},
		"not at any time":      {func(u *jwt.UserClaims) { u.Times = []jwt.TimeRange{{Start: "00:00:00", End: "00:00:00"}} }, false},
		"not any more":         {func(u *jwt.UserClaims) { u.Expires = time.Now().Add(-time.Minute).Unix() }, false},
		"not yet":              {func(u *jwt.UserClaims) { u.NotBefore = time.Now().Add(time.Hour).Unix() }, false},
		"behind a proxy":       {func(u *jwt.UserClaims) { u.ProxyRequired = true }, false},
		"of the wrong account": {func(u *jwt.UserClaims) { u.Audience = "NOPE" }, false},
		"small":                {func(u *jwt.UserClaims) { u.Limits.Subs, u.Limits.Payload = 1, 10 }, true},
	}
	answerCallouts(t, s, issuer, func(q *jwt.AuthorizationRequestClaims, u *jwt.UserClaims) {
		u.Audience = "APP"
		cases[q.ConnectOptions.Username].edit(u)
	})
	for name, c := range cases {
		if got := mayLogin(t, s, nats.UserInfo(name, "x")); got != c.ok {
			t.Errorf("%s: let in: %v, want %v", name, got, c.ok)
		}
	}
	small := dial(t, s, `{"verbose":false,"user":"small","pass":"x"}`)
	small.send("SUB a 1\r\nSUB b 2\r\nPUB a 10\r\n0123456789\r\n")
	small.expect("-ERR 'maximum subscriptions exceeded'", "MSG a 1 10", "0123456789")
	small.send("PUB a 11\r\n")
	small.expect("-ERR 'Maximum Payload Violation'")
}
