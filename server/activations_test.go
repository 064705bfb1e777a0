package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
)

// An import that needs an activation is there for as long as that holds: until it ends, is revoked, or its signing key goes;
// and it is there again when the exporter's claims allow it.
func TestActivations(t *testing.T) {
	o := newTestOperator(t)
	signing := o.pub("A's signing key")
	activation := func(signer, subject string, kind jwt.ExportType, until time.Time) string {
		t.Helper()
		c := jwt.NewActivationClaims(o.pub("B"))
		c.ImportSubject, c.ImportType = jwt.Subject(subject), kind
		if !until.IsZero() {
			c.Expires = until.Unix()
		}
		if signer != "A" {
			c.IssuerAccount = o.pub("A")
		}
		token, err := c.Encode(o.keys[signer])
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	exporter := func(edit func(c *jwt.AccountClaims, service, stream *jwt.Export)) string {
		return o.account("A", func(c *jwt.AccountClaims) {
			service := &jwt.Export{Subject: "svc.>", Type: jwt.Service, TokenReq: true}
			stream := &jwt.Export{Subject: "ev.>", Type: jwt.Stream, TokenReq: true}
			c.Exports.Add(service, stream)
			c.SigningKeys.Add(signing)
			edit(c, service, stream)
		})
	}
	importer := func(signer string, until time.Time) string {
		return o.account("B", func(c *jwt.AccountClaims) {
			c.Imports.Add(
				&jwt.Import{Subject: "svc.a", LocalSubject: "mine", Account: o.pub("A"), Type: jwt.Service, Token: activation(signer, "svc.*", jwt.Service, until)},
				&jwt.Import{Subject: "ev.x", LocalSubject: "local.x", Account: o.pub("A"), Type: jwt.Stream, Token: activation(signer, "ev.x", jwt.Stream, until)},
			)
		})
	}
	as := func(*jwt.AccountClaims, *jwt.Export, *jwt.Export) {}
	o.pub("A")
	s := startConf(t, o.line+"resolver: MEMORY\n"+o.preload(map[string]string{
		"SYS": o.account("SYS", nil), "A": exporter(as), "B": importer("A", time.Time{}),
	}))
	admin, a, b := connect(t, s, o.login("SYS")), connect(t, s, o.login("A")), connect(t, s, o.login("B"))
	if _, err := a.Subscribe("svc.>", func(m *nats.Msg) { m.Respond([]byte(m.Subject)) }); err != nil {
		t.Fatal(err)
	}
	events, err := b.SubscribeSync("local.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*nats.Conn{a, b} {
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	served := func() bool {
		t.Helper()
		m, err := b.Request("mine", nil, patience)
		if err != nil && !errors.Is(err, nats.ErrNoResponders) {
			t.Fatal(err)
		}
		return err == nil && string(m.Data) == "svc.a"
	}
	n := 0
	wantBoth := func(what string, want bool) {
		t.Helper()
		if got := served(); got != want {
			t.Errorf("%s: the service is there: %v, want %v", what, got, want)
		}
		n++
		if err := errors.Join(a.Publish("ev.x", fmt.Append(nil, n)), a.Flush(), b.Publish("local.end", nil)); err != nil {
			t.Fatal(err)
		}
		m, err := events.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Subject == "local.x" && string(m.Data) == fmt.Sprint(n); got != want {
			t.Errorf("%s: the stream is there: %v, want %v", what, got, want)
		}
		if m.Subject != "local.end" {
			if _, err := events.NextMsg(patience); err != nil {
				t.Fatal(err)
			}
		}
		if got := detail(t, s, o.pub("B")).Complete; got != want {
			t.Errorf("%s: the account is complete: %v, want %v", what, got, want)
		}
	}
	update := func(name, token string) {
		t.Helper()
		if got := claimsRequest(t, admin, "$SYS.REQ.ACCOUNT."+o.pub(name)+".CLAIMS.UPDATE", token); !strings.Contains(got, `"jwt updated"`) {
			t.Fatal(got)
		}
	}
	wantBoth("at the start", true)
	update("B", importer("A", time.Now().Add(2*time.Second)))
	waitFor(t, func() bool { return !served() })
	waitFor(t, func() bool { return !detail(t, s, o.pub("B")).Complete })
	wantBoth("when the activations have ended", false)
	update("B", importer("A's signing key", time.Time{}))
	wantBoth("with others, by a signing key", true)

	update("A", exporter(func(c *jwt.AccountClaims, _, _ *jwt.Export) { delete(c.SigningKeys, signing) }))
	wantBoth("when the signing key has gone", false)
	update("A", exporter(as))
	wantBoth("when it is back", true)
	for _, who := range []string{o.pub("B"), jwt.All} {
		revoke := jwt.RevocationList{who: time.Now().Add(time.Minute).Unix()}
		update("A", exporter(func(_ *jwt.AccountClaims, service, stream *jwt.Export) {
			service.Revocations, stream.Revocations = revoke, revoke
		}))
		wantBoth("revoked for "+who, false)
		update("A", exporter(as))
		wantBoth("not revoked any more", true)
	}
	update("A", o.account("A", nil))
	wantBoth("without the exports", false)
	update("A", exporter(as))
	wantBoth("with the exports", true)
}
