package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// calloutService lets everybody in who names an account as the password.
func calloutService(t *testing.T, s *Server, issuer nkeys.KeyPair) *nats.Conn {
	t.Helper()
	return answerCallouts(t, s, issuer, func(q *jwt.AuthorizationRequestClaims, u *jwt.UserClaims) {
		u.Audience = q.ConnectOptions.Password
		if q.ConnectOptions.Username == "own" {
			u.Sub.Allow.Add("own.>")
		}
	})
}

// answerCallouts is a service that answers with the claims of a user as edit makes
// them.
func answerCallouts(t *testing.T, s *Server, issuer nkeys.KeyPair, edit func(*jwt.AuthorizationRequestClaims, *jwt.UserClaims)) *nats.Conn {
	t.Helper()
	svc := connect(t, s, nats.UserInfo("auth", "p"))
	if _, err := svc.Subscribe(calloutSubject, func(m *nats.Msg) {
		q, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
		if err != nil {
			t.Error(err)
			return
		}
		u := jwt.NewUserClaims(q.UserNkey)
		edit(q, u)
		user, err := u.Encode(issuer)
		if err != nil {
			t.Error(err)
			return
		}
		a := jwt.NewAuthorizationResponseClaims(q.UserNkey)
		a.Audience, a.Jwt = q.Server.ID, user
		answer, err := a.Encode(issuer)
		if err != nil {
			t.Error(err)
			return
		}
		if err := m.Respond([]byte(answer)); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := svc.Flush(); err != nil {
		t.Fatal(err)
	}
	return svc
}

// A reload counts for those whom a callout let in, and the service is not asked again.
func TestReloadAfterCallout(t *testing.T) {
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := issuer.PublicKey()
	conf := func(payload, permissions, more string) string {
		return fmt.Sprintf(`max_payload: %s
			authorization { timeout: 30, auth_callout { issuer: %s, account: AUTH, auth_users: [auth] } }
			accounts { AUTH { users: [{user: auth, password: p}], default_permissions: {publish: ">"} }
				APP { default_permissions: { subscribe: %s } }
				%s }`, payload, key, permissions, more)
	}
	s := startFile(t, conf("10000", "[app, more]", "OTHER {}"))
	svc := calloutService(t, s.Server, issuer)
	app := dial(t, s.Server, `{"verbose":false,"user":"x","pass":"APP"}`)
	own := dial(t, s.Server, `{"verbose":false,"user":"own","pass":"APP"}`)
	other := dial(t, s.Server, `{"verbose":false,"user":"x","pass":"OTHER"}`)
	self := dial(t, s.Server, `{"verbose":false,"user":"x","pass":"AUTH"}`)
	const asking = "PUB " + calloutSubject + " 0\r\n\r\nPING\r\n"
	const forbidden = `-ERR 'Permissions Violation for Publish to "` + calloutSubject + `"'`
	self.send(asking)
	self.expect(forbidden, "PONG")
	app.send("SUB app 1\r\nSUB more 2\r\nSUB no 3\r\nPING\r\n")
	app.expect(`-ERR 'Permissions Violation for Subscription to "no"'`, "PONG")
	own.send("SUB own.a 1\r\nSUB app 2\r\nPING\r\n")
	own.expect(`-ERR 'Permissions Violation for Subscription to "app"'`, "PONG")
	if err := svc.Drain(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, svc.IsClosed)

	s.mustReload(conf("10", "[app]", ""))
	app.expect(`-ERR 'Permissions Violation for Subscription to "more" (sid "2")'`)
	if l, err := other.r.ReadString('\n'); err == nil {
		t.Errorf("the account is gone, its client gets %q", l)
	}
	self.send(asking)
	self.expect(forbidden, "PONG")
	own.send("PING\r\n")
	own.expect("PONG")
	own.send("PUB a 11\r\n")
	own.expect("-ERR 'Maximum Payload Violation'")
}

// Who logged in with a JWT of an account that is not pinned any more is out, others stay and have new limits.
func TestReloadOfPinnedAccounts(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(authFixtures, "operator-memory.conf"))
	if err != nil {
		t.Fatal(err)
	}
	conf := strings.Replace(string(text), "listen: 127.0.0.1:4222", "", 1)

	pinned := func(names ...string) string {
		var keys []string
		for _, n := range names {
			keys = append(keys, fixturePublic(t, n))
		}
		return conf + "\nresolver_pinned_accounts: [" + strings.Join(keys, ", ") + "]\n"
	}
	s := startFile(t, pinned("A", "B")+"max_payload: 1000\n")
	users := map[string]*nats.Conn{}
	for _, name := range []string{"A-user", "B-user"} {
		nc, ok := fixtureUser(t, s.Server, name)
		if !ok {
			t.Fatalf("%s is refused", name)
		}
		users[name] = nc
	}
	ids := map[string]uint64{}
	for name, nc := range users {
		if ids[name], err = nc.GetClientID(); err != nil {
			t.Fatal(err)
		}
	}
	s.mustReload(pinned("A") + "max_payload: 2000\n")
	if snap := lastClosed(t, s.Server, ids["B-user"]); snap.Reason.String() != "Authentication Failure" {
		t.Errorf("closed for %v", snap.Reason)
	}
	if err := users["A-user"].FlushTimeout(patience); err != nil {
		t.Error(err)
	}
	if c := s.Client(ids["A-user"]); c == nil || c.MaxPayload() != 2000 {
		t.Errorf("the client that stays: %v", c)
	}
}
