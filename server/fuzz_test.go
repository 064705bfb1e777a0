package server

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/monitor"
)

// FuzzCalloutAnswer judges answers of an authorization service, of any bytes or signed ones with any claims: a user is let in
// only by an answer without error, and into an account that exists.
func FuzzCalloutAnswer(f *testing.F) {
	seed := sha256.Sum256([]byte("issuer"))
	issuer, err := nkeys.FromRawSeed(nkeys.PrefixByteAccount, seed[:])
	if err != nil {
		f.Fatal(err)
	}
	pub, _ := issuer.PublicKey()
	configured := startConf(f, fmt.Sprintf(`
		accounts { AUTH { users: [{user: auth, password: auth}] }, APP {} }
		authorization { auth_callout { issuer: %s, account: AUTH, auth_users: [auth] } }`, pub))
	operated := startFixture(f, "operator-memory.conf", "")
	l, err := operated.operator.load(fixturePublic(f, "C-callout"))
	if err != nil {
		f.Fatal(err)
	}
	signers := []nkeys.KeyPair{issuer, fixtureKey(f, "C-callout")}
	callouts := []*callout{configured.calloutFor(nil), operated.calloutFor(l)}
	near, far := net.Pipe()
	f.Cleanup(func() { near.Close(); far.Close() })
	user := fixturePublic(f, "A-user")

	f.Add(uint8(0), []byte(`{}`), []byte(`{"pub":{"allow":["a"]},"subs":5,"payload":100,"data":-1,"src":["10.0.0.0/8"]}`), "APP")
	f.Add(uint8(0), []byte(`{"error":"no"}`), []byte(`{}`), "NOPE")
	f.Add(uint8(1), []byte(`{}`), []byte(`{"resp":{"max":1,"ttl":5},"times":[{"start":"00:00:01","end":"23:59:59"}],"allowed_connection_types":["STANDARD"],"subs":-1,"data":-1,"payload":-1}`), "")
	f.Add(uint8(1), []byte(`{"issuer_account":"`+fixturePublic(f, "A")+`"}`), []byte(`{"issuer_account":"`+fixturePublic(f, "A")+`","bearer_token":true}`), "")
	f.Add(uint8(2), []byte("eyJ.eyJ.x"), []byte{}, "")
	f.Add(uint8(3), []byte("xkv1"), []byte{}, "")
	f.Fuzz(func(t *testing.T, mode uint8, response, claims []byte, audience string) {
		co := callouts[mode%2]
		signer := signers[mode%2]
		c := client.New((*host)(co.s), 1, client.NATS, near)
		r := &auth.Request{User: "u", Type: auth.Standard}
		answer := response
		refused := false
		if mode/2%2 == 0 {
			res := jwt.NewAuthorizationResponseClaims(user)
			if json.Unmarshal(response, &res.AuthorizationResponse) != nil {
				return
			}
			res.Audience = co.s.id
			refused = res.Error != ""
			uc := jwt.NewUserClaims(user)
			if json.Unmarshal(claims, &uc.User) != nil {
				return
			}
			uc.Audience = audience
			if res.Jwt == "" && !refused {
				token, err := uc.Encode(signer)
				if err != nil {
					return
				}
				res.Jwt = token
			}
			token, err := res.Encode(signer)
			if err != nil {
				return
			}
			answer = []byte(token)
		}
		id, err := co.judge(c, r, user, answer)
		if err != nil {
			return
		}
		if refused || id.Claims == nil || id.Claims.Callout == "" || co.s.accounts.Get(id.Account) == nil {
			t.Fatalf("let in as %+v by %s", id, answer)
		}
	})
}

// FuzzMonitoring asks a server with accounts, connections and streams for every document, over HTTP with any query string
// and over NATS with any body.
func FuzzMonitoring(f *testing.F) {
	s := startConf(f, fmt.Sprintf(recordedConf, f.TempDir()))
	nc := connect(f, s, nats.UserInfo("a", "p"), nats.Name("fuzz"))
	js, err := nc.JetStream(nats.MaxWait(patience))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.*"}}); err != nil {
		f.Fatal(err)
	}
	if _, err := js.AddConsumer("S", &nats.ConsumerConfig{Durable: "C", AckPolicy: nats.AckExplicitPolicy}); err != nil {
		f.Fatal(err)
	}
	if _, err := nc.SubscribeSync("x.>"); err != nil {
		f.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		f.Fatal(err)
	}
	var all []*monitor.Endpoint
	for _, e := range append(append([]*monitor.Endpoint{}, monitor.Endpoints...), monitor.AccountEndpoints...) {
		if e.Name != "PROFILEZ" && e.Name != "EXPVARZ" { // they take their time
			all = append(all, e)
		}
	}
	for n := range all {
		for _, q := range []string{
			"acc=A&auth=1&subs=detail&sort=rtt&limit=1&offset=1&state=any&user=a", "accounts=1&streams=1&consumers=1&config=1&raft=1&direct-consumers=1&leader-only=1",
			"account=A&stream=S&consumer=C&details=1", "unused=1&all=1&queues=q&group=g&test=x.y&cid=1&mqtt_client=m&gw_name=g&acc_name=A&accs=1",
		} {
			f.Add(uint8(n), q, []byte(`{"account":"A","acc":"A","streams":true,"consumer":true,"config":true,"subscriptions_detail":true,"auth":true,"state":2}`))
		}
	}
	h := s.monitor.Handler("")
	f.Fuzz(func(t *testing.T, n uint8, query string, body []byte) {
		e := all[int(n)%len(all)]
		for _, path := range e.Paths {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/" + path, RawQuery: query}})
			switch w.Code {
			case http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable:
			default:
				t.Fatalf("%s?%s: status %d: %s", path, query, w.Code, w.Body)
			}
			if w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%s?%s: no JSON: %s", path, query, w.Body)
			}
		}
		o, err := e.Decode(body, "A")
		if err != nil {
			return
		}
		doc, err := e.Answer(s.monitor, o)
		if err != nil {
			return
		}
		if b, err := json.Marshal(doc); err != nil || string(b) == "null" {
			t.Fatalf("%s: %s, %v", e.Name, b, err)
		}
	})
}
