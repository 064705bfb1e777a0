package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// testOperator signs accounts and users.
type testOperator struct {
	t    testing.TB
	key  nkeys.KeyPair
	keys map[string]nkeys.KeyPair // of accounts, by name
	line string                   // of the configuration
}

func newTestOperator(t testing.TB) *testOperator {
	return newTestOperatorWith(t, func(*jwt.OperatorClaims) {})
}

func newTestOperatorWith(t testing.TB, edit func(*jwt.OperatorClaims)) *testOperator {
	key, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	o := &testOperator{t: t, key: key, keys: map[string]nkeys.KeyPair{}}
	pub, _ := key.PublicKey()
	c := jwt.NewOperatorClaims(pub)
	c.SystemAccount = o.pub("SYS")
	edit(c)
	token, err := c.Encode(key)
	if err != nil {
		t.Fatal(err)
	}
	o.line = "operator: " + token + "\n"
	return o
}

// pub is the key of an account.
func (o *testOperator) pub(name string) string {
	o.t.Helper()
	k := o.keys[name]
	if k == nil {
		var err error
		if k, err = nkeys.CreateAccount(); err != nil {
			o.t.Fatal(err)
		}
		o.keys[name] = k
	}
	pub, _ := k.PublicKey()
	return pub
}

func (o *testOperator) account(name string, edit func(*jwt.AccountClaims)) string {
	o.t.Helper()
	c := jwt.NewAccountClaims(o.pub(name))
	c.Name = name
	if edit != nil {
		edit(c)
	}
	token, err := c.Encode(o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	return token
}

// login is a user of an account.
func (o *testOperator) login(name string) nats.Option {
	o.t.Helper()
	o.pub(name)
	user, err := nkeys.CreateUser()
	if err != nil {
		o.t.Fatal(err)
	}
	pub, _ := user.PublicKey()
	seed, _ := user.Seed()
	token, err := jwt.NewUserClaims(pub).Encode(o.keys[name])
	if err != nil {
		o.t.Fatal(err)
	}
	return nats.UserJWTAndSeed(token, string(seed))
}

// preload is the block of that name.
func (o *testOperator) preload(tokens map[string]string) string {
	var b strings.Builder
	b.WriteString("resolver_preload: {\n")
	for name, token := range tokens {
		fmt.Fprintf(&b, "  %s: %s\n", o.pub(name), token)
	}
	return b.String() + "}\n"
}

func imports(subject string, kind jwt.ExportType, from string) func(*jwt.AccountClaims) {
	return func(c *jwt.AccountClaims) {
		c.Exports.Add(&jwt.Export{Subject: jwt.Subject(subject), Type: kind})
		c.Imports.Add(&jwt.Import{Subject: jwt.Subject(subject), Account: from, Type: kind})
	}
}

// Of imports that form a cycle the one that is added last is left out, and its account is incomplete.
func TestOperatorImportCycle(t *testing.T) {
	for _, kind := range []jwt.ExportType{jwt.Service, jwt.Stream} {
		o := newTestOperator(t)
		a, b, c := o.pub("A"), o.pub("B"), o.pub("C")
		s := startConf(t, o.line+"resolver: MEMORY\n"+o.preload(map[string]string{
			"SYS": o.account("SYS", nil),
			"A":   o.account("A", imports("x", kind, b)), "B": o.account("B", imports("x", kind, c)), "C": o.account("C", imports("x", kind, a)),
		}))
		connect(t, s, o.login("A"))
		connect(t, s, o.login("B"))
		connect(t, s, o.login("C"))
		incomplete := 0
		for _, key := range []string{a, b, c} {
			if _, complete, _ := s.AccountClaims(key); !complete {
				incomplete++
			}
		}
		if incomplete != 1 {
			t.Errorf("%v: %d accounts are incomplete, want 1", kind, incomplete)
		}
	}
}

func claimsRequest(t testing.TB, nc *nats.Conn, subject, body string) string {
	t.Helper()
	m, err := nc.Request(subject, []byte(body), patience)
	if err != nil {
		return err.Error()
	}
	var r struct {
		Data  json.RawMessage
		Error struct{ Description string }
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		t.Fatal(err)
	}
	return string(r.Data) + r.Error.Description
}

// A reload replaces the resolver, and ends the accounts that the new one does not have.
func TestReloadResolver(t *testing.T) {
	o := newTestOperator(t)
	dir := filepath.Join(t.TempDir(), "jwt")
	sys, a := o.account("SYS", nil), o.account("A", nil)
	memory := func(tokens map[string]string) string { return o.line + "resolver: MEMORY\n" + o.preload(tokens) }
	s := startFile(t, memory(map[string]string{"SYS": sys, "A": a}))
	admin := connect(t, s.Server, o.login("SYS"))
	user := connect(t, s.Server, o.login("A"), nats.NoReconnect())
	if got := claimsRequest(t, admin, "$SYS.REQ.CLAIMS.LIST", ""); got != nats.ErrNoResponders.Error() {
		t.Errorf("a memory resolver lists %s", got)
	}

	full := o.line + fmt.Sprintf("resolver: { type: full, dir: %q }\n", dir) + o.preload(map[string]string{"SYS": sys})
	s.mustReload(full)
	if got, want := claimsRequest(t, admin, "$SYS.REQ.CLAIMS.LIST", ""), fmt.Sprintf("[%q]", o.pub("SYS")); got != want {
		t.Errorf("a directory lists %s, want %s", got, want)
	}
	if err := user.Flush(); err != nil {
		t.Errorf("the user of an account that is in use: %v", err)
	}
	claimsRequest(t, admin, "$SYS.REQ.CLAIMS.UPDATE", o.account("B", nil))
	connect(t, s.Server, o.login("B"))
	if _, err := os.Stat(filepath.Join(dir, o.pub("B")+".jwt")); err != nil {
		t.Error(err)
	}

	if err := s.reload(o.line + "resolver: URL(\"http://127.0.0.1:1/\")\n"); err == nil {
		t.Error("a resolver that does not answer is taken")
	}
	if got := claimsRequest(t, admin, "$SYS.REQ.CLAIMS.LIST", ""); !strings.Contains(got, o.pub("B")) {
		t.Errorf("after a refused reload the directory lists %s", got)
	}

	s.mustReload(memory(map[string]string{"SYS": sys, "B": o.account("B", func(c *jwt.AccountClaims) { c.Limits.Conn = 7 })}))
	if want := fmt.Sprintf("INF Reloaded: deleting account [removed]: %q", o.pub("A")); !s.log.(*testLog).contains(want) {
		t.Errorf("no line %q", want)
	}
	waitFor(t, user.IsClosed)
	if c, _, _ := s.AccountClaims(o.pub("B")); c.Claims.Limits.Conn != 7 {
		t.Error("the preload of B does not count")
	}
	if err := s.reload(o.line + "resolver: MEMORY\n"); err != nil {
		t.Fatal(err)
	}
	if err := s.reload(o.line); err == nil {
		t.Error("a reload takes the resolver away")
	}
}

// When the time of an account's claims has passed its users are out, and do not come back in the rest of that second.
func TestAccountExpiry(t *testing.T) {
	o := newTestOperator(t)
	short := o.account("A", func(c *jwt.AccountClaims) { c.Expires = time.Now().Add(3 * time.Second).Unix() })
	s := startConf(t, o.line+"resolver: MEMORY\n"+o.preload(map[string]string{"SYS": o.account("SYS", nil), "A": short}))
	user := o.login("A")
	nc := connect(t, s, user, nats.NoReconnect())
	waitFor(t, nc.IsClosed)
	if nc, err := nats.Connect("nats://"+s.Addr().String(), user, nats.Timeout(patience)); err == nil {
		nc.Close()
		t.Error("a user of an expired account is let in")
	}
	admin := connect(t, s, o.login("SYS"))
	if got := claimsRequest(t, admin, "$SYS.REQ.ACCOUNT."+o.pub("A")+".CLAIMS.UPDATE", o.account("A", nil)); !strings.Contains(got, `"jwt updated"`) {
		t.Error(got)
	}
	connect(t, s, user)
}

// A health check of an account says that its time has passed, or that nothing but its streams is known of it.
func TestHealthOfClaims(t *testing.T) {
	o := newTestOperator(t)
	conf := fmt.Sprintf("%sresolver: MEMORY\nhttp: \"127.0.0.1:-1\"\njetstream { store_dir: %q }\n", o.line, t.TempDir())
	storing := func(c *jwt.AccountClaims) { c.Limits.DiskStorage, c.Limits.MemoryStorage = -1, -1 }
	sys := o.account("SYS", nil)
	wantHealth := func(s *Server, problem string) {
		t.Helper()
		want := fmt.Sprintf(`{"status":"unavailable","error":"JetStream account '%s' %s"}`, o.pub("A"), problem)
		waitFor(t, func() bool {
			r, err := http.Get("http://" + s.MonitorAddr().String() + "/healthz?account=" + o.pub("A"))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			body, _ := io.ReadAll(r.Body)
			return string(body) == want
		})
	}

	short := o.account("A", func(c *jwt.AccountClaims) {
		storing(c)
		c.Expires = time.Now().Add(3 * time.Second).Unix()
	})
	s := startConf(t, conf+o.preload(map[string]string{"SYS": sys, "A": short}))
	js, err := connect(t, s, o.login("A"), nats.NoReconnect()).JetStream(nats.MaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S"}); err != nil {
		t.Fatal(err)
	}
	wantHealth(s, "is expired")
	s.Shutdown()

	s = startConf(t, conf+o.preload(map[string]string{"SYS": sys}))
	wantHealth(s, "could not be resolved")
}

// An account that waits for the claims of an exporter has its import as soon as another account brings them in.
func TestExporterFound(t *testing.T) {
	o := newTestOperator(t)
	dir := t.TempDir()
	from := func(name string) string {
		return o.account(name, func(c *jwt.AccountClaims) {
			c.Imports.Add(&jwt.Import{Subject: "x", Account: o.pub("E"), Type: jwt.Stream})
		})
	}
	s := startConf(t, o.line+fmt.Sprintf("resolver: { type: full, dir: %q }\n", dir)+o.preload(map[string]string{
		"SYS": o.account("SYS", nil), "A": from("A"), "B": from("B"),
	}))
	connect(t, s, o.login("A"))
	if _, complete, _ := s.AccountClaims(o.pub("A")); complete {
		t.Error("complete without its exporter")
	}
	exporter := o.account("E", func(c *jwt.AccountClaims) { c.Exports.Add(&jwt.Export{Subject: "x", Type: jwt.Stream}) })
	if err := os.WriteFile(filepath.Join(dir, o.pub("E")+".jwt"), []byte(exporter), 0o600); err != nil {
		t.Fatal(err)
	}
	connect(t, s, o.login("B"))
	for _, name := range []string{"A", "B"} {
		if _, complete, _ := s.AccountClaims(o.pub(name)); !complete {
			t.Errorf("%s is not complete", name)
		}
	}
}

// Directories ask others for what they do not have, one account at a time and all of them now and then. What is not signed
// by the operator they do not take.
func TestDirectoriesExchange(t *testing.T) {
	for _, kind := range []string{"full", "cache"} {
		o := newTestOperator(t)
		conf := fmt.Sprintf("resolver: { type: %s, dir: %q", kind, filepath.Join(t.TempDir(), "jwt"))
		if kind == "full" {
			conf += `, interval: "50ms"`
		}
		s := startConf(t, o.line+conf+" }\n"+o.preload(map[string]string{"SYS": o.account("SYS", nil)}))
		admin := connect(t, s, o.login("SYS"))
		rogue := newTestOperator(t)
		rogue.keys = o.keys
		if _, err := admin.Subscribe("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", func(m *nats.Msg) {
			switch strings.Split(m.Subject, ".")[3] {
			case o.pub("A"):
				m.Respond([]byte(rogue.account("A", nil)))
				m.Respond([]byte(o.account("A", nil)))
			case o.pub("B"):
				m.Respond(nil)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err := admin.Flush(); err != nil {
			t.Fatal(err)
		}
		connect(t, s, o.login("A"))
		if nc, err := nats.Connect("nats://"+s.Addr().String(), o.login("B"), nats.Timeout(patience)); err == nil {
			nc.Close()
			t.Error("a user of an account that nobody knows is let in")
		}
		if kind == "cache" {
			continue
		}
		extra, bad := o.account("C", nil), rogue.account("D", nil)
		if _, err := admin.Subscribe("$SYS.REQ.CLAIMS.PACK", func(m *nats.Msg) {
			if len(m.Data) != 32 {
				t.Errorf("a hash of %d bytes", len(m.Data))
			}
			m.Respond([]byte(o.pub("D") + "|" + bad + "\n" + o.pub("C") + "|" + extra))
			m.Respond(nil)
		}); err != nil {
			t.Fatal(err)
		}
		var list string
		waitFor(t, func() bool {
			list = claimsRequest(t, admin, "$SYS.REQ.CLAIMS.LIST", "")
			return strings.Contains(list, o.pub("C"))
		})
		if strings.Contains(list, o.pub("D")) {
			t.Error("claims of another operator are kept")
		}
		connect(t, s, o.login("C"))
	}
}
