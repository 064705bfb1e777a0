package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

func newKey(t *testing.T, kind nkeys.PrefixByte) (key nkeys.KeyPair, pub string) {
	t.Helper()
	key, err := nkeys.CreatePair(kind)
	if err != nil {
		t.Fatal(err)
	}
	if pub, err = key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return key, pub
}

// through is a connection that a proxy has signed the nonce of, if there is one. members are those of CONNECT besides.
func through(t *testing.T, s *Server, proxy nkeys.KeyPair, members map[string]any) *raw {
	t.Helper()
	c := dial(t, s, "")
	all := map[string]any{"verbose": false, "protocol": 1}
	for k, v := range members {
		all[k] = v
	}
	sign := func(key nkeys.KeyPair) string {
		sig, err := key.Sign([]byte(c.info.Nonce))
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(sig)
	}
	if proxy != nil {
		all["proxy_sig"] = sign(proxy)
	}
	if key, ok := all["sig"].(nkeys.KeyPair); ok {
		all["sig"] = sign(key)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	c.send("CONNECT %s\r\nPING\r\n", text)
	return c
}

// Who must come through a proxy needs its signature; a signature that does not hold is refused in any case. The proxies
// change with a reload, to none as well.
func TestTrustedProxies(t *testing.T) {
	server, serverKey := newKey(t, nkeys.PrefixByteServer)
	user, userKey := newKey(t, nkeys.PrefixByteUser)
	stranger, _ := newKey(t, nkeys.PrefixByteServer)
	nkey, nkeyPub := newKey(t, nkeys.PrefixByteUser)
	const users = `accounts { A { users: [{user: must, password: p, proxy_required: true}, {user: may, password: p}, {nkey: %s, proxy_required: true}] } }
		`
	conf := fmt.Sprintf(users, nkeyPub)
	trusted := func(keys ...string) string {
		var list []string
		for _, k := range keys {
			list = append(list, "{key: "+k+"}")
		}
		return conf + "proxies { trusted: [" + strings.Join(list, ", ") + "] }\n"
	}
	s := startFile(t, trusted(serverKey, userKey))
	must, may := map[string]any{"user": "must", "pass": "p"}, map[string]any{"user": "may", "pass": "p"}
	signed := map[string]any{"nkey": nkeyPub, "sig": nkey}
	const (
		required   = "Proxy Required"
		notTrusted = "Proxy Not Trusted"
		failed     = "Authentication Failure"
	)
	for _, c := range []struct {
		what    string
		proxy   nkeys.KeyPair
		members map[string]any
		reason  string // empty: let in
	}{
		{"through a server's key", server, must, ""},
		{"through a user's key", user, must, ""},
		{"directly", nil, must, required},
		{"through a stranger", stranger, must, notTrusted},
		{"through a proxy without need", server, may, ""},
		{"directly, without need", nil, may, ""},
		{"through a stranger, without need", stranger, may, notTrusted},
		{"an nkey through a proxy", user, signed, ""},
		{"an nkey directly", nil, signed, required},
		{"a wrong password through a proxy", server, map[string]any{"user": "must", "pass": "x"}, failed},
	} {
		conn := through(t, s.Server, c.proxy, c.members)
		if c.reason == "" {
			if l := conn.line(); !strings.HasPrefix(l, "PONG") {
				t.Errorf("%s: %q", c.what, l)
			}
			continue
		}
		conn.expect("-ERR 'Authorization Violation'")
		if got := lastClosed(t, s.Server, conn.info.ClientID).Reason.String(); got != c.reason {
			t.Errorf("%s: closed for %q, want %q", c.what, got, c.reason)
		}
	}

	// A key goes: those who came through that proxy do, too, and nobody else.
	first, second, direct := through(t, s.Server, server, may), through(t, s.Server, user, may), through(t, s.Server, nil, may)
	for _, c := range []*raw{first, second, direct} {
		c.expect("PONG")
	}
	gone := func(c *raw) {
		t.Helper()
		for l := c.line(); l != "-ERR 'Authorization Violation'"; l = c.line() {
			if !strings.HasPrefix(l, "INFO ") {
				t.Fatalf("got %q", l)
			}
		}
		if got := lastClosed(t, s.Server, c.info.ClientID).Reason.String(); got != notTrusted {
			t.Errorf("closed for %q, want %q", got, notTrusted)
		}
	}
	stays := func(c *raw) {
		t.Helper()
		c.send("PING\r\n")
		for l := c.line(); l != "PONG"; l = c.line() {
			if !strings.HasPrefix(l, "INFO ") {
				t.Fatalf("got %q", l)
			}
		}
	}
	s.mustReload(trusted(userKey))
	gone(first)
	stays(second)
	stays(direct)
	s.mustReload(conf) // without the block
	gone(second)
	stays(direct)
	s.mustReload(trusted(serverKey))
	stays(through(t, s.Server, server, must))
}

// A user JWT may demand a proxy as well.
func TestProxyOfClaims(t *testing.T) {
	o := newTestOperator(t)
	proxy, proxyKey := newKey(t, nkeys.PrefixByteServer)
	s := startConf(t, o.line+"resolver: MEMORY\nproxies { trusted: [{key: "+proxyKey+"}] }\n"+
		o.preload(map[string]string{"SYS": o.account("SYS", nil), "A": o.account("A", nil)}))
	_, userKey := newKey(t, nkeys.PrefixByteUser)
	u := jwt.NewUserClaims(userKey)
	u.ProxyRequired, u.BearerToken = true, true
	token, err := u.Encode(o.keys["A"])
	if err != nil {
		t.Fatal(err)
	}
	through(t, s, proxy, map[string]any{"jwt": token}).expect("PONG")
	c := through(t, s, nil, map[string]any{"jwt": token})
	c.expect("-ERR 'Authorization Violation'")
	if got := lastClosed(t, s, c.info.ClientID).Reason.String(); got != "Proxy Required" {
		t.Errorf("closed for %q", got)
	}
}

// An administrator sends a client away, or tells it to go.
func TestConnectionRequests(t *testing.T) {
	s := startConf(t, `accounts { SYS { users: [{user: sys, password: p}] }, A { users: [{user: a, password: p}] } }, system_account: SYS`)
	sys := connect(t, s, nats.UserInfo("sys", "p"))
	request := func(what, body string) string {
		t.Helper()
		m, err := sys.Request("$SYS.REQ.SERVER."+s.ID()+"."+what, []byte(body), patience)
		if err != nil {
			t.Fatal(err)
		}
		var r struct {
			Error struct {
				Code        int
				Description string
			}
		}
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Fatal(err)
		}
		if r.Error.Code == 400 { // the decoder's words
			return "400"
		}
		return strings.TrimPrefix(fmt.Sprint(r.Error.Code, " ", r.Error.Description), "0 ")
	}
	a := dial(t, s, `{"verbose":false,"user":"a","pass":"p","protocol":1}`)
	old := dial(t, s, `{"verbose":false,"user":"a","pass":"p","protocol":0}`)
	cid := func(c *raw) string { return fmt.Sprintf(`{"cid":%d}`, c.info.ClientID) }
	for _, c := range []struct{ what, body, want string }{
		{"LDM", `{bad`, "400"},
		{"KICK", `{bad`, "400"},
		{"LDM", `{"cid":"x"}`, "400"},
		{"KICK", `{"cid":-1}`, "400"},
		{"LDM", `{"cid":999}`, "500 no such client id"},
		{"KICK", `{"cid":999}`, "500 no such client or leafnode id"},
		{"LDM", cid(old), "500 client does not support Lame Duck Mode or is not ready to receive the notification"},
		{"LDM", cid(a), ""},
	} {
		if got := request(c.what, c.body); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.what, c.body, got, c.want)
		}
	}
	l := a.line()
	for ; strings.HasPrefix(l, "INFO ") && !strings.Contains(l, `"ldm":true`); l = a.line() {
	}
	if !strings.Contains(l, `"ldm":true`) {
		t.Errorf("got %q", l)
	}
	if got := request("KICK", cid(old)); got != "" {
		t.Error(got)
	}
	if l, err := old.r.ReadString('\n'); err == nil {
		t.Errorf("the kicked client is told %q", l)
	}
	if got := lastClosed(t, s, old.info.ClientID).Reason.String(); got != "Kicked" {
		t.Errorf("closed for %q", got)
	}
	a.send("PING\r\n")
	a.expect("PONG")
}
