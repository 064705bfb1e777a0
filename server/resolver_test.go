package server

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/operator"
)

// accountServer is a web server with account JWTs, under /jwt/ and their keys.
type accountServer struct {
	*httptest.Server

	mu     sync.Mutex // guards the rest
	tokens map[string]string
	asked  []string      // paths, in the order of the requests
	hold   chan struct{} // requests for accounts wait until it is closed, or for ever; nil: they do not
	given  int           // requests that were given up
}

func newAccountServer(t *testing.T, start func(http.Handler) *httptest.Server) *accountServer {
	w := &accountServer{tokens: map[string]string{}}
	w.Server = start(w)
	t.Cleanup(w.Close)
	return w
}

func (w *accountServer) ServeHTTP(res http.ResponseWriter, req *http.Request) {
	w.mu.Lock()
	w.asked = append(w.asked, req.URL.Path)
	key, found := strings.CutPrefix(req.URL.Path, "/jwt/")
	token, known := w.tokens[key]
	hold := w.hold
	w.mu.Unlock()
	if hold != nil && key != "" {
		select {
		case <-hold:
		case <-req.Context().Done():
			w.mu.Lock()
			w.given++
			w.mu.Unlock()
			return
		}
	}
	if !found || key != "" && !known {
		http.NotFound(res, req)
		return
	}
	fmt.Fprintln(res, token)
}

func (w *accountServer) set(key, token string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens[key] = token
}

func (w *accountServer) block(until chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = until
}

// take returns the paths that were asked for since the last call.
func (w *accountServer) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	paths := w.asked
	w.asked = nil
	return paths
}

func (w *accountServer) wantAsked(t *testing.T, what string, want ...string) {
	t.Helper()
	for i, key := range want {
		want[i] = "/jwt/" + key
	}
	if got := w.take(); !slices.Equal(got, want) {
		t.Errorf("%s: the web server was asked for %q, want %q", what, got, want)
	}
}

// mayLogin tells whether a user may.
func mayLogin(t *testing.T, s *Server, user nats.Option) bool {
	t.Helper()
	nc, err := nats.Connect("nats://"+s.Addr().String(), user, nats.Timeout(patience))
	if err == nil {
		nc.Close()
		return true
	}
	if !errors.Is(err, nats.ErrAuthorization) {
		t.Fatalf("login: %v", err)
	}
	return false
}

// The web server is asked for itself at the start, then for the system account, and for every other account when its first
// user comes; for one that is not there, or whose time has passed, again with the next.
func TestURLResolver(t *testing.T) {
	o := newTestOperator(t)
	w := newAccountServer(t, httptest.NewServer)
	sys, a, b := o.pub("SYS"), o.pub("A"), o.pub("B")
	w.set(sys, o.account("SYS", nil))
	w.set(a, o.account("A", nil))
	s := startConf(t, o.line+fmt.Sprintf("resolver: URL(%q)\n", w.URL+"/jwt/"))
	w.wantAsked(t, "start", "", sys)
	alice, bob := o.login("A"), o.login("B")
	for range 2 {
		if !mayLogin(t, s, alice) {
			t.Fatal("A's user is refused")
		}
	}
	w.wantAsked(t, "two logins", a)
	for range 2 {
		if mayLogin(t, s, bob) {
			t.Fatal("a user of an unknown account is let in")
		}
	}
	w.wantAsked(t, "two logins to an unknown account", b, b)
	w.set(b, o.account("B", func(c *jwt.AccountClaims) { c.Expires = time.Now().Add(3 * time.Second).Unix() }))
	nc := connect(t, s, bob, nats.NoReconnect())
	w.wantAsked(t, "a new account", b)
	waitFor(t, nc.IsClosed)

	// Another JWT counts as soon as somebody asks; but who comes again and again does not make the web server busy.
	w.set(b, o.account("B", func(c *jwt.AccountClaims) { c.Limits.Conn = 5 }))
	waitFor(t, func() bool { return mayLogin(t, s, bob) })
	w.wantAsked(t, "an expired account", b)

	// What it answers is judged.
	stranger := newTestOperator(t)
	stranger.keys = o.keys
	for _, c := range []struct{ name, token string }{
		{"C", stranger.account("C", nil)}, {"D", o.account("A", nil)}, {"E", "no JWT"}, {"F", ""}, {"G", strings.Repeat("x", 2<<20)},
	} {
		w.set(o.pub(c.name), c.token)
		if mayLogin(t, s, o.login(c.name)) {
			t.Errorf("account %s is taken", c.name)
		}
	}
}

// Clients of one account that come together make one request.
func TestURLResolverIsAskedOnce(t *testing.T) {
	o := newTestOperator(t)
	w := newAccountServer(t, httptest.NewServer)
	w.set(o.pub("SYS"), o.account("SYS", nil))
	w.set(o.pub("A"), o.account("A", nil))
	s := startConf(t, o.line+fmt.Sprintf("authorization { timeout: 60 }\nresolver: URL(%q)\n", w.URL+"/jwt/"))
	w.take()
	release := make(chan struct{})
	w.block(release)
	user := o.login("A")
	var wg sync.WaitGroup
	const clients = 20
	for range clients {
		wg.Go(func() {
			if !mayLogin(t, s, user) {
				t.Error("refused")
			}
		})
	}
	waitFor(t, func() bool { return len(s.Clients()) == clients })
	close(release)
	wg.Wait()
	w.wantAsked(t, "twenty clients", o.pub("A"))
}

// New claims wait for the logins of their account's connections, and a login for accounts that are being configured: a
// connection that goes to another account, whose claims are on their way, holds up neither.
func TestLoginWhileClaimsChange(t *testing.T) {
	o := newTestOperator(t)
	w := newAccountServer(t, httptest.NewServer)
	for _, name := range []string{"SYS", "A", "B"} {
		w.set(o.pub(name), o.account(name, nil))
	}
	s := startConf(t, o.line+fmt.Sprintf("resolver: URL(%q)\n", w.URL+"/jwt/"))
	bearer := func(account string) string {
		_, user := newKey(t, nkeys.PrefixByteUser)
		c := jwt.NewUserClaims(user)
		c.BearerToken = true
		token, err := c.Encode(o.keys[account])
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("CONNECT {\"jwt\":%q,\"verbose\":false}\r\nPING\r\n", token)
	}
	admin := connect(t, s, o.login("SYS"))
	c := dial(t, s, "")
	c.send("%s", bearer("A"))
	c.expect("PONG")
	w.take()

	release := make(chan struct{})
	w.block(release)
	c.send("%s", bearer("B"))
	waitFor(t, func() bool { return len(w.take()) > 0 })
	a := o.pub("A")
	claims := o.account("A", func(c *jwt.AccountClaims) { c.Limits.Conn = 7 })
	answer := make(chan string)
	go func() { answer <- claimsRequest(t, admin, "$SYS.REQ.ACCOUNT."+a+".CLAIMS.UPDATE", claims) }()
	waitFor(t, func() bool {
		now, _, _ := s.AccountClaims(a)
		return now.JWT == claims
	})
	close(release)
	c.expect("PONG")
	if got := <-answer; !strings.Contains(got, "jwt updated") {
		t.Errorf("the update is answered with %s", got)
	}
}

// slowResolver answers for one account only when it may.
type slowResolver struct {
	operator.Resolver
	slow   string
	asked  chan struct{} // closed when somebody asks for it
	answer chan struct{}
}

func (r *slowResolver) Fetch(ctx context.Context, key string) (string, error) {
	if key == r.slow {
		close(r.asked)
		<-r.answer
	}
	return r.Resolver.Fetch(context.WithoutCancel(ctx), key)
}

// While the resolver is asked for an account that another one imports from, who logs in to a third one does not wait.
// Whoever logs in to the importer does: the import is there then.
func TestSlowExporter(t *testing.T) {
	o := newTestOperator(t)
	w := newAccountServer(t, httptest.NewServer)
	w.set(o.pub("SYS"), o.account("SYS", nil))
	w.set(o.pub("A"), o.account("A", imports("s", jwt.Stream, o.pub("B"))))
	w.set(o.pub("B"), o.account("B", func(c *jwt.AccountClaims) { c.Exports.Add(&jwt.Export{Subject: "s", Type: jwt.Stream}) }))
	w.set(o.pub("C"), o.account("C", nil))
	s := startConf(t, o.line+fmt.Sprintf("authorization { timeout: 60 }\nresolver: URL(%q)\n", w.URL+"/jwt/"))
	m := s.operator
	r := &slowResolver{m.accounts(), o.pub("B"), make(chan struct{}), make(chan struct{})}
	m.mu.Lock()
	m.resolver = r
	m.mu.Unlock()
	alice, carol := o.login("A"), o.login("C")
	in := make(chan bool)
	go func() { in <- mayLogin(t, s, alice) }()
	<-r.asked
	if !mayLogin(t, s, carol) {
		t.Error("a user of another account is refused")
	}
	select {
	case <-in:
		t.Error("a user of the importer is in before the exporter is known")
	default:
	}
	close(r.answer)
	if !<-in {
		t.Error("a user of the importer is refused")
	}
	nc := connect(t, s, alice)
	sub, err := nc.SubscribeSync("s")
	if err == nil {
		err = nc.Flush()
	}
	if err == nil {
		err = connect(t, s, o.login("B")).Publish("s", nil)
	}
	if err == nil {
		_, err = sub.NextMsg(patience)
	}
	if err != nil {
		t.Errorf("through the import: %v", err)
	}
}

// A web server that does not answer is given 1.9 seconds, and no password of its address is told.
func TestURLResolverTimeout(t *testing.T) {
	o := newTestOperator(t)
	w := newAccountServer(t, httptest.NewServer)
	w.set(o.pub("SYS"), o.account("SYS", nil))
	w.set(o.pub("A"), o.account("A", nil))
	s := startConf(t, o.line+fmt.Sprintf("authorization { timeout: 60 }\nresolver: URL(%q)\n", w.URL+"/jwt/"))
	w.block(make(chan struct{}))
	user := o.login("A")
	began := time.Now()
	if mayLogin(t, s, user) {
		t.Error("logged in without an account")
	}
	if took := time.Since(began); took < 1900*time.Millisecond {
		t.Errorf("refused after %v", took)
	}
	waitFor(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.given == 1
	})
	if want := fmt.Sprintf("WRN Fetching of account %q took ", o.pub("A")); !s.log.(*testLog).contains(want) {
		t.Errorf("no line %q", want)
	}
	w.block(nil)
	if !mayLogin(t, s, user) {
		t.Error("refused when the web server answers again")
	}
}

// What keeps a server from starting.
func TestURLResolverRefusals(t *testing.T) {
	o := newTestOperator(t)
	w := newAccountServer(t, httptest.NewServer)
	secure := newAccountServer(t, httptest.NewTLSServer)
	nobody := httptest.NewServer(http.NotFoundHandler())
	gone := nobody.URL
	nobody.Close()
	for _, c := range []struct{ address, want string }{
		{w.URL + "/nope/", fmt.Sprintf(`could not fetch <"%s/nope/">: 404 Not Found`, w.URL)},
		{strings.Replace(w.URL, "//", "//me:secret@", 1) + "/nope/", fmt.Sprintf(`could not fetch <"%s/nope/">: 404 Not Found`, strings.Replace(w.URL, "//", "//me:xxxxx@", 1))},
		{gone + "/", fmt.Sprintf(`could not fetch <"%s/">: Get "%[1]s/": dial tcp`, gone)},
		{secure.URL + "/jwt/", fmt.Sprintf(`could not fetch <"%s/jwt/">: Get "%[1]s/jwt/": tls: failed to verify certificate`, secure.URL)},
	} {
		_, err := tryConf(t, o.line+fmt.Sprintf("resolver: URL(%q)\n", c.address))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", c.address, err, c.want)
		}
	}
}

// A web server with TLS is trusted by resolver_tls.
func TestURLResolverOverTLS(t *testing.T) {
	o := newTestOperator(t)
	w := newAccountServer(t, httptest.NewTLSServer)
	ca := newTestCA(t)
	if err := os.WriteFile(ca.path("web.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	w.set(o.pub("SYS"), o.account("SYS", nil))
	w.set(o.pub("A"), o.account("A", nil))
	s := startConf(t, o.line+fmt.Sprintf("resolver: URL(%q)\nresolver_tls { ca_file: %q }\n", w.URL+"/jwt/", ca.path("web.pem")))
	if !mayLogin(t, s, o.login("A")) {
		t.Error("A's user is refused")
	}
	w.wantAsked(t, "one login", "", o.pub("SYS"), o.pub("A"))
}

// Without a resolver, the accounts are below the address in the operator's JWT.
func TestURLResolverOfOperator(t *testing.T) {
	w := newAccountServer(t, httptest.NewServer)
	o := newTestOperatorWith(t, func(c *jwt.OperatorClaims) { c.AccountServerURL = w.URL + "/jwt" })
	key := func(name string) string { return "accounts/" + o.pub(name) }
	w.set("accounts/", "")
	w.set(key("SYS"), o.account("SYS", nil))
	w.set(key("A"), o.account("A", nil))
	s := startConf(t, o.line)
	if !mayLogin(t, s, o.login("A")) {
		t.Error("A's user is refused")
	}
	w.wantAsked(t, "one login", "accounts/", key("SYS"), key("A"))
}
