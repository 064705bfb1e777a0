package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/options"
)

// The files in testdata/auth were made for tests of servers of this protocol; testdata/auth/README.md says what they are.
const authFixtures = "testdata/auth"

func authFixture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(authFixtures, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// startFixture runs a server with one of the two configurations, unchanged but for the port and the directory of accounts.
func startFixture(t testing.TB, name, operator string) *Server {
	t.Helper()
	text := authFixture(t, name)
	text = strings.Replace(text, "listen: 127.0.0.1:4222", "listen: '127.0.0.1:-1'", 1)
	text = strings.ReplaceAll(text, `"./jwt"`, `"`+filepath.Join(t.TempDir(), "jwt")+`"`)
	if operator != "" {
		text = strings.Replace(text, "\noperator: "+authFixture(t, "operator.jwt"), "\noperator: "+authFixture(t, operator), 1)
	}
	return startConf(t, text)
}

// fixtureUser logs in with credentials, and says whether it could.
func fixtureUser(t testing.TB, s *Server, name string) (nc *nats.Conn, ok bool) {
	t.Helper()
	nc, err := nats.Connect("nats://"+s.Addr().String(), nats.Timeout(patience), nats.UserCredentials(filepath.Join(authFixtures, "users", name+".creds")))
	if err != nil && !errors.Is(err, nats.ErrAuthorization) {
		t.Fatalf("%s: %v", name, err)
	}
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err == nil
}

// Every file is in a test below.
func TestAuthFixturesAreKnown(t *testing.T) {
	known := map[string]bool{"README.md": true, "keys.json": true, "nonce-signature.json": true, "xkey-sealed.json": true}
	for _, conf := range []string{"operator-memory.conf", "operator-full.conf"} {
		known[conf] = true
	}
	for _, o := range []string{"operator.jwt", "operator-strict.jwt", "operator-assert-9.jwt"} {
		known[o] = true
	}
	for _, p := range pushedClaims {
		known[p.file] = true
	}
	for user := range fixtureUsers {
		known["users/"+user+".creds"], known["users/"+user+".jwt"] = true, true
	}
	known["v1/A-user-v1.jwt"] = true
	for _, f := range calloutFixtures {
		known[f] = true
	}
	err := filepath.WalkDir(authFixtures, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if rel, _ := filepath.Rel(authFixtures, path); !known[filepath.ToSlash(rel)] {
				t.Errorf("%s is in no test", rel)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// fixtureUsers are the users: who may log in, with the ordinary operator and with the strict one, whose accounts' own keys
// (and whose own key) sign nothing.
var fixtureUsers = map[string]struct{ ordinary, strict bool }{
	"A-user": {true, false}, "A-bearer": {true, false}, "A-scoped-user": {true, true}, "A-signed-user": {true, true},
	"B-user": {true, false}, "C-service-user": {true, false}, "sys-user": {true, false},
	"A-src-user": {}, "A-times-user": {}, "A-expired-user": {}, "A-websocket-user": {}, "A-revoked-user": {},
	"C-sentinel": {}, // its account asks a service that is not there
}

func TestFixtureUsers(t *testing.T) {
	for _, c := range []struct {
		conf, operator string
	}{{"operator-memory.conf", ""}, {"operator-full.conf", ""}, {"operator-memory.conf", "operator-strict.jwt"}, {"operator-full.conf", "operator-strict.jwt"}} {
		t.Run(c.conf+" "+c.operator, func(t *testing.T) {
			s := startFixture(t, c.conf, c.operator)
			for user, want := range fixtureUsers {
				ok := want.ordinary
				if c.operator != "" {
					ok = want.strict
				}
				nc, got := fixtureUser(t, s, user)
				if got != ok {
					t.Errorf("%s: logged in: %v, want %v", user, got, ok)
				}
				if got && user == "A-scoped-user" {
					waitFor(t, func() bool { return nc.MaxPayload() == 2048 })
				}
			}
		})
	}
	s := startFixture(t, "operator-memory.conf", "")
	key := fixtureKey(t, "A-user")
	if nc, err := nats.Connect("nats://"+s.Addr().String(), nats.Timeout(patience), nats.UserJWT(func() (string, error) { return authFixture(t, "v1/A-user-v1.jwt"), nil }, key.Sign)); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("A-user-v1 from 127.0.0.1: %v", err)
		if nc != nil {
			nc.Close()
		}
	}
	if claims, complete, expired := s.AccountClaims(fixturePublic(t, "B")); claims == nil || !complete || expired {
		// Its user may not have been there yet.
		if _, ok := fixtureUser(t, s, "B-user"); !ok {
			t.Fatal("B-user cannot log in")
		}
		if claims, complete, _ := s.AccountClaims(fixturePublic(t, "B")); claims == nil || !complete {
			t.Error("account B is incomplete: an activation does not hold")
		}
	}
}

func fixtureKeys(t testing.TB) map[string]struct{ Public, Seed string } {
	t.Helper()
	var list []struct{ Name, Public, Seed string }
	if err := json.Unmarshal([]byte(authFixture(t, "keys.json")), &list); err != nil {
		t.Fatal(err)
	}
	keys := map[string]struct{ Public, Seed string }{}
	for _, k := range list {
		keys[k.Name] = struct{ Public, Seed string }{k.Public, k.Seed}
	}
	return keys
}

func fixturePublic(t testing.TB, name string) string { return fixtureKeys(t)[name].Public }

func fixtureKey(t testing.TB, name string) nkeys.KeyPair {
	t.Helper()
	kp, err := nkeys.FromSeed([]byte(fixtureKeys(t)[name].Seed))
	if err != nil {
		t.Fatal(err)
	}
	return kp
}

func TestFixtureKeys(t *testing.T) {
	for name, k := range fixtureKeys(t) {
		kp, err := nkeys.FromSeed([]byte(k.Seed))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if pub, err := kp.PublicKey(); err != nil || pub != k.Public {
			t.Errorf("%s: %s, %v", name, pub, err)
		}
	}
	var n struct {
		Nonce, Raw, Std, Public string
	}
	var fields map[string]string
	if err := json.Unmarshal([]byte(authFixture(t, "nonce-signature.json")), &fields); err != nil {
		t.Fatal(err)
	}
	n.Nonce, n.Raw, n.Std, n.Public = fields["nonce"], fields["sig_base64_raw_url"], fields["sig_base64_std"], fields["user_public"]
	table := auth.NewTable(&options.Options{Authorization: options.Authorization{Users: []*options.User{{NKey: n.Public}}}}, "")
	for sig, want := range map[string]auth.Failure{n.Raw: auth.Accepted, n.Std: auth.Accepted, n.Raw[:80]: auth.Refused, "": auth.Refused} {
		if _, got := table.Login(&auth.Request{NKey: n.Public, Sig: sig, Nonce: n.Nonce, Type: auth.Standard}); got != want {
			t.Errorf("signature %q: %v", sig, got)
		}
	}
	if err := json.Unmarshal([]byte(authFixture(t, "xkey-sealed.json")), &fields); err != nil {
		t.Fatal(err)
	}
	sealed, err := base64.StdEncoding.DecodeString(fields["sealed_base64"])
	if err != nil {
		t.Fatal(err)
	}
	xkey, err := nkeys.FromCurveSeed([]byte(fields["recipient_seed"]))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := xkey.Open(sealed, fields["sender_public"]); err != nil || string(text) != fields["plaintext"] {
		t.Errorf("opened %q, %v", text, err)
	}
}

// pushedClaims are the claims that an administrator pushes, and the answers.
var pushedClaims = []struct{ file, message, failure string }{
	{"account-A.jwt", "jwt updated", ""},
	{"account-B.jwt", "jwt updated", ""},
	{"account-C-callout.jwt", "jwt updated", ""},
	{"account-sys.jwt", "jwt updated", ""},
	{"account-A-conn1.jwt", "jwt updated", ""},
	{"account-A-no-bearer.jwt", "jwt updated", ""},
	{"account-A-no-scoped-key.jwt", "jwt updated", ""},
	{"account-A-revoke-all.jwt", "jwt updated", ""},
	{"v1/account-A-v1.jwt", "jwt updated", ""},
	{"account-A-expired.jwt", "", "jwt update resulted in error - account validation failed"},
	{"account-A-rogue.jwt", "", "jwt update resulted in error - account validation failed"},
	{"account-A-invalid-wildcards.jwt", "", "jwt validation failed - validation errors: ["},
	{"activation-str-private-for-B.jwt", "", "jwt update resulted in error - not account claim"},
	{"activation-svc-private-for-B.jwt", "", "jwt update resulted in error - not account claim"},
}

func TestFixtureClaims(t *testing.T) {
	s := startFixture(t, "operator-full.conf", "")
	sys, ok := fixtureUser(t, s, "sys-user")
	if !ok {
		t.Fatal("no system user")
	}
	push := func(file string) (message, failure string) {
		t.Helper()
		m, err := sys.Request("$SYS.REQ.CLAIMS.UPDATE", []byte(authFixture(t, file)), patience)
		if err != nil {
			t.Fatal(err)
		}
		var r struct {
			Data  struct{ Message string }
			Error struct{ Description string }
		}
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Fatal(err)
		}
		return r.Data.Message, r.Error.Description
	}
	for _, p := range pushedClaims {
		message, failure := push(p.file)
		if message != p.message || !strings.HasPrefix(failure, p.failure) || p.failure == "" && failure != "" {
			t.Errorf("%s: %q %q", p.file, message, failure)
		}
	}
	// What each of the accepted ones means for connected users of A.
	for _, c := range []struct {
		file   string
		users  []string // who are there before, in this order
		closed map[string]client.Reason
	}{
		{"account-A-revoke-all.jwt", []string{"A-user", "A-scoped-user", "A-bearer"},
			map[string]client.Reason{"A-user": client.CredentialsRevoked, "A-scoped-user": client.CredentialsRevoked, "A-bearer": client.CredentialsRevoked}},
		{"account-A-no-bearer.jwt", []string{"A-user", "A-bearer"}, map[string]client.Reason{"A-bearer": client.AuthenticationViolation}},
		{"account-A-no-scoped-key.jwt", []string{"A-user", "A-scoped-user"}, map[string]client.Reason{"A-scoped-user": client.AuthenticationViolation}},
		{"account-A-conn1.jwt", []string{"A-user", "A-signed-user"}, map[string]client.Reason{"A-signed-user": client.MaxAccountConnectionsExceeded}},
	} {
		push("account-A.jwt")
		open, ids := map[string]*nats.Conn{}, map[string]uint64{}
		for _, u := range c.users {
			nc, err := nats.Connect("nats://"+s.Addr().String(), nats.Timeout(patience), nats.UserCredentials(filepath.Join(authFixtures, "users", u+".creds")), nats.NoReconnect())
			if err != nil {
				t.Fatalf("%s: %v", u, err)
			}
			open[u] = nc
			if ids[u], err = nc.GetClientID(); err != nil {
				t.Fatal(err)
			}
		}
		if message, failure := push(c.file); message != "jwt updated" {
			t.Fatalf("%s: %s", c.file, failure)
		}
		for u, nc := range open {
			want, closes := c.closed[u]
			if !closes {
				if err := nc.Flush(); err != nil {
					t.Errorf("%s: %s: %v", c.file, u, err)
				}
				nc.Close()
				continue
			}
			waitFor(t, func() bool {
				closed, _ := s.ClosedClients()
				for _, snap := range closed {
					if snap.Info.ID == ids[u] {
						if snap.Reason != want {
							t.Errorf("%s: %s is closed: %v, want %v", c.file, u, snap.Reason, want)
						}
						return true
					}
				}
				return false
			})
			nc.Close()
		}
		waitFor(t, func() bool { return len(s.Clients()) == 1 })
	}
}

// calloutFixtures are requests to an authorization service, and an answer.
var calloutFixtures = []string{"callout-request.jwt", "callout-request-recorded.jwt", "callout-response-error.jwt"}

// memberNames lists the members of a JSON object, with their paths.
func memberNames(v any, path string, into map[string]bool) {
	if m, ok := v.(map[string]any); ok {
		for k, v := range m {
			into[path+k] = true
			memberNames(v, path+k+".", into)
		}
	}
}

func TestFixtureCallout(t *testing.T) {
	s := startFixture(t, "operator-memory.conf", "")
	svc, ok := fixtureUser(t, s, "C-service-user")
	if !ok {
		t.Fatal("no service user")
	}
	xkey, err := nkeys.FromCurveSeed([]byte(fixtureKeys(t)["xkey"].Seed))
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan string, 1)
	answer := []byte(authFixture(t, "callout-response-error.jwt"))
	if _, err := svc.Subscribe("$SYS.REQ.USER.AUTH", func(m *nats.Msg) {
		text, err := xkey.Open(m.Data, m.Header.Get("Nats-Server-Xkey"))
		if err != nil {
			t.Errorf("the request is not sealed for the service: %v", err)
		}
		requests <- string(text)
		m.Respond(answer)
	}); err != nil {
		t.Fatal(err)
	}
	if err := svc.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, ok := fixtureUser(t, s, "C-sentinel"); ok {
		t.Error("the answer is for another user of another server, and lets this one in")
	}
	if want := "Auth callout violation: auth callout response is not for expected user"; !s.log.(*testLog).contains(want) {
		t.Errorf("no line %q", want)
	}
	members := func(token string) map[string]bool {
		t.Helper()
		if _, err := jwt.DecodeAuthorizationRequestClaims(token); err != nil {
			t.Fatal(err)
		}
		body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.NewDecoder(bytes.NewReader(body)).Decode(&v); err != nil {
			t.Fatal(err)
		}
		m := map[string]bool{}
		memberNames(v, "", m)
		return m
	}
	ours := members(<-requests)
	for _, f := range calloutFixtures[:2] {
		theirs := members(authFixture(t, f))
		// These depend on what the client sent: a JWT and its signature, or a name and a password. And on the server: tags.
		for _, optional := range []string{
			"nats.server_id.tags", "nats.client_info.user", "nats.client_info.nonce", "nats.client_info.name", "nats.connect_opts.user", "nats.connect_opts.pass",
			"nats.connect_opts.jwt", "nats.connect_opts.sig", "nats.connect_opts.nkey", "nats.connect_opts.name", "nats.server_id.xkey", "exp",
		} {
			delete(theirs, optional)
		}
		for m := range theirs {
			if !ours[m] {
				t.Errorf("our request lacks %s of %s", m, f)
			}
		}
	}
	for _, m := range []string{"exp", "nats.server_id.xkey", "nats.client_info.nonce", "nats.connect_opts.jwt", "nats.connect_opts.sig"} {
		if !ours[m] {
			t.Errorf("our request lacks %s", m)
		}
	}
}
