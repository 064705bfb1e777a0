package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// operatorSetup is an operator with a system account and one account, in memory.
type operatorSetup struct {
	operator, system, account nkeys.KeyPair
	conf                      string
}

func pub(t testing.TB, k nkeys.KeyPair) string { return must(k.PublicKey())(t) }

func newOperator(t testing.TB, resolver string, edit func(*jwt.AccountClaims)) *operatorSetup {
	o := &operatorSetup{must(nkeys.CreateOperator())(t), must(nkeys.CreateAccount())(t), must(nkeys.CreateAccount())(t), ""}
	op := jwt.NewOperatorClaims(pub(t, o.operator))
	op.SystemAccount = pub(t, o.system)
	sys := jwt.NewAccountClaims(pub(t, o.system))
	acc := jwt.NewAccountClaims(pub(t, o.account))
	acc.Name = "APP"
	if edit != nil {
		edit(acc)
	}
	o.conf = fmt.Sprintf("operator: %s\nresolver: %s\nresolver_preload: { %s: %s, %s: %s }\n",
		must(op.Encode(o.operator))(t), resolver,
		pub(t, o.system), must(sys.Encode(o.operator))(t), pub(t, o.account), must(acc.Encode(o.operator))(t))
	return o
}

// user makes a user of an account and returns its JWT and seed.
func user(t testing.TB, account nkeys.KeyPair, edit func(*jwt.UserClaims)) (token, seed string) {
	k := must(nkeys.CreateUser())(t)
	c := jwt.NewUserClaims(pub(t, k))
	if edit != nil {
		edit(c)
	}
	return must(c.Encode(account))(t), string(must(k.Seed())(t))
}

func TestOperatorCredentials(t *testing.T) {
	o := newOperator(t, "MEMORY", nil)
	s := startServer(t, o.conf)
	token, seed := user(t, o.account, nil)
	creds := filepath.Join(t.TempDir(), "user.creds")
	check(t, os.WriteFile(creds, must(jwt.FormatUserConfig(token, []byte(seed)))(t), 0o600))
	key := must(nkeys.FromSeed([]byte(seed)))(t)
	for name, opt := range map[string]nats.Option{
		"creds file": nats.UserCredentials(creds),
		"callbacks":  nats.UserJWT(func() (string, error) { return token, nil }, key.Sign),
		"in memory":  nats.UserJWTAndSeed(token, seed),
	} {
		t.Run(name, func(t *testing.T) {
			nc := s.connect(opt)
			sub := must(nc.SubscribeSync("x"))(t)
			check(t, nc.Publish("x", nil))
			must(sub.NextMsg(wait))(t)
		})
	}
	other := must(nkeys.CreateAccount())(t)
	stranger, strangerSeed := user(t, other, nil)
	for name, opts := range map[string][]nats.Option{
		"nobody":          nil,
		"unknown account": {nats.UserJWTAndSeed(stranger, strangerSeed)},
		"wrong key":       {nats.UserJWTAndSeed(token, strangerSeed)},
	} {
		if nc, err := nats.Connect(s.url(), append([]nats.Option{nats.Timeout(wait)}, opts...)...); !errors.Is(err, nats.ErrAuthorization) {
			if err == nil {
				nc.Close()
			}
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A new version of an account reaches the server through the system account and
// counts for those who are connected.
func TestOperatorClaimsUpdate(t *testing.T) {
	o := newOperator(t, fmt.Sprintf("{ type: full, dir: %q }", t.TempDir()), nil)
	s := startServer(t, o.conf)
	sys := s.connect(nats.UserJWTAndSeed(user(t, o.system, nil)))
	closed := make(chan struct{})
	token, seed := user(t, o.account, nil)
	nc := s.connect(nats.UserJWTAndSeed(token, seed), nats.NoReconnect(), nats.ErrorHandler(nil), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	check(t, nc.Flush())
	acc := jwt.NewAccountClaims(pub(t, o.account))
	acc.Revoke(jwt.All)
	m := must(sys.Request("$SYS.REQ.CLAIMS.UPDATE", []byte(must(acc.Encode(o.operator))(t)), wait))(t)
	var res struct{ Data struct{ Code int } }
	check(t, json.Unmarshal(m.Data, &res))
	if res.Data.Code != 200 {
		t.Fatalf("update: %s", m.Data)
	}
	select {
	case <-closed:
	case <-time.After(wait):
		t.Error("a revoked user stays")
	}
	if nc, err := nats.Connect(s.url(), nats.Timeout(wait), nats.UserJWTAndSeed(token, seed)); !errors.Is(err, nats.ErrAuthorization) {
		if err == nil {
			nc.Close()
		}
		t.Errorf("revoked user: %v", err)
	}
}

// An auth callout service decides who a user is.
func TestAuthCallout(t *testing.T) {
	issuer := must(nkeys.CreateAccount())(t)
	s := startServer(t, fmt.Sprintf(`
		accounts { AUTH { users: [{user: auth, password: auth}] }, APP {} }
		authorization { auth_callout { issuer: %s, account: AUTH, auth_users: [auth] } }`, pub(t, issuer)))
	svc := s.connect(nats.UserInfo("auth", "auth"))
	must(svc.Subscribe("$SYS.REQ.USER.AUTH", func(m *nats.Msg) {
		req, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
		if err != nil {
			t.Error(err)
			return
		}
		res := jwt.NewAuthorizationResponseClaims(req.UserNkey)
		res.Audience = req.Server.ID
		if req.ConnectOptions.Password == "open sesame" {
			u := jwt.NewUserClaims(req.UserNkey)
			u.Name, u.Audience = req.ConnectOptions.Username, "APP"
			u.Pub.Allow.Add("ok")
			u.Sub.Allow.Add("ok")
			res.Jwt, _ = u.Encode(issuer)
		} else {
			res.Error = "no"
		}
		token, _ := res.Encode(issuer)
		m.Respond([]byte(token))
	}))(t)
	check(t, svc.Flush())
	nc := s.connect(nats.UserInfo("ali", "open sesame"))
	sub := must(nc.SubscribeSync("ok"))(t)
	check(t, nc.Publish("ok", nil))
	must(sub.NextMsg(wait))(t)
	if nc, err := nats.Connect(s.url(), nats.Timeout(wait), nats.UserInfo("ali", "please")); !errors.Is(err, nats.ErrAuthorization) {
		if err == nil {
			nc.Close()
		}
		t.Errorf("refused user: %v", err)
	}
}

// The fixtures of users, accounts and configurations.
func TestAuthFixtures(t *testing.T) {
	dir := must(filepath.Abs("../../server/testdata/auth"))(t)
	for _, conf := range []string{"operator-memory.conf", "operator-full.conf"} {
		t.Run(conf, func(t *testing.T) {
			text := string(must(os.ReadFile(filepath.Join(dir, conf)))(t))
			text = fixtureConf(text, t.TempDir())
			s := startServer(t, text)
			for _, tt := range []struct {
				user string
				ok   bool
			}{
				{"A-user", true}, {"A-bearer", true}, {"A-scoped-user", true}, {"A-signed-user", true}, {"B-user", true},
				{"C-service-user", true}, {"sys-user", true},
				{"A-src-user", false}, {"A-times-user", false}, {"A-expired-user", false}, {"A-websocket-user", false}, {"A-revoked-user", false},
			} {
				nc, err := nats.Connect(s.url(), nats.Timeout(wait), nats.UserCredentials(filepath.Join(dir, "users", tt.user+".creds")))
				if err == nil {
					if tt.user == "A-scoped-user" {
						waitFor(t, "the limit of the scope", func() bool { return nc.MaxPayload() == 2048 })
					}
					nc.Close()
				}
				if ok := err == nil; ok != tt.ok || !ok && !errors.Is(err, nats.ErrAuthorization) {
					t.Errorf("%s: %v", tt.user, err)
				}
			}
		})
	}
	for _, bad := range []struct{ operator, text string }{
		{"operator-assert-9.jwt", "expected major version 9 > server major version 2"},
	} {
		text := string(must(os.ReadFile(filepath.Join(dir, "operator-memory.conf")))(t))
		text = regexp.MustCompile(`(?m)^operator:.*$`).ReplaceAllString(text, fmt.Sprintf("operator: %q", filepath.Join(dir, bad.operator)))
		text = fixtureConf(text, t.TempDir())
		out := newProcess(t, text).refused()
		if !strings.Contains(out, bad.text) {
			t.Errorf("%s: %s", bad.operator, out)
		}
	}
}

// fixtureConf gives a configuration a directory of its own and takes off its addresses.
func fixtureConf(text, store string) string {
	var keep []string
	for line := range strings.Lines(text) {
		f := strings.TrimSpace(line)
		if strings.HasPrefix(f, "listen") || strings.HasPrefix(f, "port") || strings.HasPrefix(f, "http") {
			continue
		}
		keep = append(keep, line)
	}
	return strings.ReplaceAll(strings.Join(keep, ""), `"./jwt"`, fmt.Sprintf("%q", store))
}

// refused starts the server, which must not start, and returns what it says.
func (p *process) refused() string {
	p.t.Helper()
	p.log = &syncBuffer{}
	cmd := p.command()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			p.t.Error("exit code 0")
		}
	case <-time.After(wait):
		cmd.Process.Kill()
		<-ended
		p.t.Error("the server starts")
	}
	return p.log.String()
}
