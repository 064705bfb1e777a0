package options

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/server/conf"
)

// certificates makes server.pem, key.pem and ca.pem in a directory.
func certificates(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, text := range map[string][]byte{
		"server.pem": cert, "ca.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The configurations of the specification's last section with the values that they must have.
func TestSamples(t *testing.T) {
	t.Setenv("JS_KEY", "not-a-number")
	dir := t.TempDir()
	certificates(t, dir)
	if err := os.MkdirAll(filepath.Join(dir, "common"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "common/limits.conf"), []byte("max_payload: 2MB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(text string) *Options {
		t.Helper()
		path := filepath.Join(dir, "sample.conf")
		text = strings.NewReplacer(`"server.pem"`, `"`+dir+`/server.pem"`, `"key.pem"`, `"`+dir+`/key.pem"`, `"ca.pem"`, `"`+dir+`/ca.pem"`).Replace(text)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		return o
	}
	want := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}

	o := load(`
listen: 127.0.0.1:4222
http: 8222
jetstream { store_dir: "/tmp/js", max_mem: 1G, max_file: 10GB }
debug: yes; logtime_utc: on
`)
	want("host", o.Host, "127.0.0.1")
	want("port", o.Port, 4222)
	want("monitoring host", o.HTTPHost, "127.0.0.1")
	want("monitoring port", o.HTTPPort, 8222)
	want("jetstream", o.JetStream.Enabled, true)
	want("store_dir", o.JetStream.StoreDir, "/tmp/js")
	want("max_mem", o.JetStream.MaxMemory, int64(1000000000))
	want("max_file", o.JetStream.MaxStore, int64(10737418240))
	want("sync interval", o.JetStream.SyncInterval, 2*time.Minute)
	want("sync always", o.JetStream.SyncAlways, true)
	want("strict", o.JetStream.Strict, true)
	want("max_connections", o.MaxConnections, int64(65536))
	want("max_payload", o.MaxPayload, int64(1048576))
	want("max_pending", o.MaxPending, int64(67108864))
	want("ping_interval", o.PingInterval, 2*time.Minute)
	want("ping_max", o.PingMax, int64(2))
	want("write_deadline", o.WriteDeadline, 10*time.Second)
	want("auth timeout", o.Authorization.Timeout, 2*time.Second)
	want("debug", o.Debug, true)
	want("logtime_utc", o.LogtimeUTC, true)

	o = load(`
port: 4222
PERMS = { publish: ["orders.>", "_INBOX.>"], subscribe: { allow: ["orders.*", "work q1"], deny: "orders.secret" } }
tls { cert_file: "server.pem", key_file: "key.pem", ca_file: "ca.pem", verify_and_map: true, timeout: 3, handshake_first: auto }
authorization {
  timeout: 5
  default_permissions { publish: "pub.>", allow_responses: { max: 5, expires: "1m" } }
  users = [
    { user: "CN=app", permissions: $PERMS }
    { user: bob, password: $2a$11$W2zko751KUvVy59mUTWmpOdWjpEm5qhcCZRd05GjI/sSOT.xtiHyG, allowed_connection_types: [STANDARD, WEBSOCKET] }
    { nkey: UBAAQWTW6CG2G6ANGNKB5U2B7HRWHSGMZEZX3AQSAJOQDAUGJD46LD2E }
  ]
}
no_auth_user: bob
`)
	defaults := &Permissions{Publish: SubjectPermissions{Allow: []string{"pub.>"}}, Responses: &ResponsePermissions{MaxMsgs: 5, Expires: time.Minute}}
	users := o.Authorization.Users
	want("auth timeout", o.Authorization.Timeout, 5*time.Second)
	want("tls timeout", o.TLS.Timeout, 3*time.Second)
	want("verify", o.TLS.Verify && o.TLS.VerifyAndMap, true)
	want("handshake first", o.TLS.HandshakeFirst, true)
	want("fallback", o.TLS.HandshakeFirstFallback, 50*time.Millisecond)
	want("permissions of app", users[0].Permissions, &Permissions{
		Publish:   SubjectPermissions{Allow: []string{"orders.>", "_INBOX.>"}},
		Subscribe: SubjectPermissions{Allow: []string{"orders.*", "work q1"}, Deny: []string{"orders.secret"}},
	})
	want("permissions of bob", users[1].Permissions, defaults)
	want("password of bob", users[1].Password, "$2a$11$W2zko751KUvVy59mUTWmpOdWjpEm5qhcCZRd05GjI/sSOT.xtiHyG")
	want("types of bob", users[1].ConnectionTypes, []string{"STANDARD", "WEBSOCKET"})
	want("permissions of the nkey", users[2].Permissions, defaults)
	want("no_auth_user", o.NoAuthUser, "bob")

	o = load(`
accounts {
  $SYS: { users: [ { user: admin, password: pwd } ] }
  A { users: [ {user: a, password: a} ], jetstream { max_mem: 512M, max_file: 1G, max_streams: 10 }
      exports: [ { stream: "news.>" }, { service: "req.time", accounts: [B], response: singleton, threshold: "2s" } ] }
  B { users: [ {user: b, password: b} ], limits { max_connections: 100, max_payload: 64K }
      imports: [ { stream: {account: A, subject: "news.>"}, prefix: "a" }, { service: {account: A, subject: "req.time"}, to: "time" } ]
      mappings { "old.*": "new.{{wildcard(1)}}", split: [ {dest: s1, weight: 70%}, {dest: s2, weight: 30%} ] }
      msg_trace { dest: "trace.b", sampling: "10%" } }
}
`)
	b := o.Account("B")
	want("system account", o.SystemAccountName(), "$SYS")
	want("accounts", len(o.Accounts), 3)
	want("limits of B", b.Limits, AccountLimits{100, -1, 64000, -1})
	want("imports of B", b.Imports, []Import{
		{Account: "A", Subject: "news.>", Prefix: "a"},
		{Service: true, Account: "A", Subject: "req.time", To: "time"},
	})
	want("mappings of B", b.Mappings, []Mapping{
		{"old.*", []MappingDestination{{"new.{{wildcard(1)}}", 100, ""}}},
		{"split", []MappingDestination{{"s1", 70, ""}, {"s2", 30, ""}}},
	})
	want("trace of B", b.Trace, &MessageTrace{"trace.b", 10})
	want("exports of A", o.Account("A").Exports, []Export{
		{Subject: "news.>"},
		{Service: true, Subject: "req.time", Accounts: []string{"B"}, Threshold: 2 * time.Second},
	})
	js := unlimitedJetStream()
	js.MaxMemory, js.MaxStore, js.MaxStreams = 512000000, 1000000000, 10
	want("jetstream of A", o.Account("A").JetStream, js)

	o = load(`
server_name: n1
listen: 0.0.0.0:4222
include "common/limits.conf"
accounts { A {} }
jetstream { store_dir: "/data", sync_interval: always, unique_tag: "az:", key: $JS_KEY }
server_tags: ["az:1", "SSD"]
cluster { name: C1, listen: 0.0.0.0:6222, routes: [ "nats://n1:6222", "nats://n2:6222", "nats://n3:6222" ]
  pool_size: 5, accounts: [A], compression { mode: s2_auto, rtt_thresholds: [5ms, 20ms, 80ms] }, authorization { user: r, password: s } }
`)
	want("max_payload", o.MaxPayload, int64(2<<20))
	want("tags", o.ServerTags, []string{"az:1", "ssd"})
	want("key", o.JetStream.Key, "not-a-number")
	want("routes", len(o.Cluster.Routes), 3)
	want("dedicated routes", o.Cluster.Accounts, []string{"A", "$SYS"})
	want("pool size", o.Cluster.PoolSize, int64(5))
	want("compression", o.Cluster.Compression, Compression{"s2_auto", []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 80 * time.Millisecond}})
	want("route user", o.Cluster.Authorization, LinkAuthorization{"r", "s", 2 * time.Second})

	o = load(`
server_name: east-1
system_account: SYS
accounts { SYS { users: [{user: s, password: s}] }, APP { users: [{user: u, password: p}], jetstream: enabled } }
jetstream { store_dir: "/data", domain: hub }
gateway { name: east, port: 7222, gateways: [ {name: west, urls: ["nats://w1:7222", "nats://w2:7222"]} ] }
leafnodes { port: 7422 }
websocket { port: 9222, no_tls: true, compression: true, allowed_origins: "https://app.example" }
mqtt { port: 1883, max_ack_pending: 200, ack_wait: "1m" }
`)
	want("cluster name", o.Cluster.Name, "east")
	want("cluster port", o.Cluster.Port, 0)
	want("gateway host", o.Gateway.Host, "0.0.0.0")
	want("leaf port", o.LeafNodes.Port, 7422)
	want("origins", o.WebSocket.AllowedOrigins, []string{"https://app.example"})
	want("mqtt", o.MQTT.MaxAckPending, int64(200))
	want("ack wait", o.MQTT.AckWait, time.Minute)

	// A dollar sign begins a reference where a value stands.
	_, err := conf.Parse("port: 4222\nleafnodes {\n  remotes: [\n  { url: \"wss://hub:443\", account: $G } ]\n}", "sample.conf")
	if err == nil || err.Error() != "variable reference for 'G' on line 4 can not be found" {
		t.Errorf("got %v", err)
	}
}

// Flags win over the file, in both directions.
func TestFlags(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "t.conf")
	text := "port: 4300, debug: true, server_name: filed, jetstream { store_dir: here }, tls {}\ncluster { port: 6222, routes: ['nats://a:1'], authorization { user: u, password: p } }"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	show := func(o *Options) string {
		tls := "tls"
		if o.TLS == nil {
			tls = "no tls"
		}
		line := fmt.Sprintln(o.Port, o.Debug, o.ServerName, o.JetStream.Enabled, o.JetStream.StoreDir, tls, o.Cluster.Port, urlsOf(o.Cluster.Routes, true), o.Cluster.Authorization.Username)
		return strings.TrimSuffix(line, "\n")
	}
	for _, c := range []struct{ args, want string }{
		{"", "4300 true filed true here tls 6222 [nats://a:1] u"},
		{"-p 4400 -D=false --name one -n two", "4400 false two true here tls 6222 [nats://a:1] u"},
		{"-js=false -sd there -tls=false", "4300 true filed false there no tls 6222 [nats://a:1] u"},
		{"-cluster nats://x:y@127.0.0.1:7000 -routes nats://b:1,nats://c:1", "4300 true filed true here tls 7000 [nats://b:1 nats://c:1] x"},
		{"-cluster nats://127.0.0.1:-1 -routes=", "4300 true filed true here tls -1 [] "},
		{"-cluster=", "4300 true filed true here tls 0 [] u"},
		{"-routes nats://a:1 -cluster=", "error: solicited routes require cluster capabilities, e.g. --cluster"},
		{"-cluster 127.0.0.1:1", `error: parse "127.0.0.1:1": first path segment in URL cannot contain colon`},
		{"-cluster nats://127.0.0.1", "error: address 127.0.0.1: missing port in address"},
		{"-cluster nats://u@127.0.0.1:1", "error: expected cluster password to be set"},
		{"-tls", "error: TLS Server certificate must be present and valid"},
		{"-tlsverify=false", "error: TLS Server certificate must be present and valid"},
		{"-tlscacert=", "error: TLS Server certificate must be present and valid"},
		{"-tls=false -tlsverify -tlscert x", "4300 true filed true here no tls 6222 [nats://a:1] u"},
		{"-tlsverify -tlscert x", "error: TLS Server private key must be present and valid"},
		{"-nope", "error: flag provided but not defined: -nope"},
		{"-p", "error: flag needs an argument: -p"},
		{"-p abc", `error: invalid value "abc" for flag -p: parse error`},
		{"-port=99999999999999999999", `error: invalid value "99999999999999999999" for flag -port: value out of range`},
		{"-D=maybe", `error: invalid boolean value "maybe" for -D: parse error`},
	} {
		got := ""
		cmd, err := ParseArgs(strings.Fields("-c " + path + " " + c.args))
		var o *Options
		if err == nil {
			o, err = cmd.Options()
		}
		if err != nil {
			got = "error: " + err.Error()
		} else {
			got = show(o)
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.args, got, c.want)
		}
	}
}

func TestRedactArgs(t *testing.T) {
	got := RedactArgs([]string{
		"natsd", "-user", "u", "--pass=p", "-auth", "t", "-D", "-routes", "nats://a:b@h:1,nats://h:2", "--cluster=nats://a:b@h:3", "-p", "1",
	})
	want := []string{
		"natsd", "-user", "[REDACTED]", "--pass=[REDACTED]", "-auth", "[REDACTED]", "-D", "-routes", "nats://[REDACTED]@h:1,nats://h:2", "--cluster=nats://[REDACTED]@h:3", "-p", "1",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Default is what an empty file gives.
func TestDefault(t *testing.T) {
	empty := parse(t, "# nothing\n")
	want := Default()
	want.Complete()
	for _, o := range []*Options{empty, want} {
		o.ConfigFile, o.ConfigDigest, o.Warnings = "", "", nil
	}
	if !reflect.DeepEqual(empty, want) {
		t.Errorf("an empty file gives %+v\nwant %+v", empty, want)
	}
}

// manyUsers is a file with accounts that import from each other.
func manyUsers(users, accounts int) string {
	var b strings.Builder
	b.WriteString("accounts {\n")
	for a := range accounts {
		fmt.Fprintf(&b, "  A%d {\n    exports: [ { stream: \"news.%d.>\" }, { service: \"req.%d\" } ]\n", a, a, a)
		if a > 0 {
			fmt.Fprintf(&b, "    imports: [ { stream: { account: A%d, subject: \"news.%d.>\" } }, { service: { account: A%d, subject: \"req.%d\" }, to: \"r.%d\" } ]\n", a-1, a-1, a-1, a-1, a)
		}
		b.WriteString("    users: [\n")
		for u := range users / accounts {
			fmt.Fprintf(&b, "      { user: \"u%d-%d\", password: \"p%d\", permissions: { publish: [ \"a.%d.>\", \"_INBOX.>\" ], subscribe: { allow: \"a.>\", deny: \"a.secret.%d\" } } }\n", a, u, u, u, u)
		}
		b.WriteString("    ]\n  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func BenchmarkReadFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "many.conf")
	if err := os.WriteFile(path, []byte(manyUsers(10000, 500)), 0o600); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		o, err := ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		if len(o.Accounts) != 500 {
			b.Fatalf("%d accounts", len(o.Accounts))
		}
	}
}

// FuzzOptions: whatever a file says, there are options or diagnostics, and options can be checked and compared.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{
		"port: 4222, max_payload: 1mb\nauthorization { users: [ {user: a, password: b, permissions: { publish: [a, b], allow_responses: true }} ] }",
		"accounts { A { exports: [ {service: s, latency: l} ] }, B { imports: [ {service: {account: A, subject: s}, to: t} ] } }",
		"jetstream { max_mem: 1G, limits { duplicate_window: '1m', batch { timeout: '1s' } } }\ncluster { port: 1, compression: { mode: auto, rtts: [ 1ms ] } }",
		"leafnodes { remotes: [ { urls: [ 'ws://h', 'nats://h' ], proxy { url: 'http://p' } } ] }\nmqtt { ack_wait: 3 }\ngateway { name: g, gateways: [ {name: h} ] }",
		"mappings { 'a.*': [ { dest: 'b.{{wildcard(1)}}', weight: 50% } ] }\ntls { pinned_certs: [ x ] }\nwebsocket { headers { a: b } }",
		"ocsp { mode: always }, ocsp_cache: no, proxies { trusted: [ { key: x } ] }, feature_flags { x: true }, server_metadata { a: b }",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if lower := strings.ToLower(text); strings.Contains(lower, "resolver") || strings.Contains(lower, "include") {
			return // It would make directories or read files.
		}
		tree, err := conf.Parse(text, "fuzz.conf")
		if err != nil {
			return
		}
		o, r := unset(), &reader{}
		r.read(tree, o)
		if len(r.errors) > 0 {
			return
		}
		o.Complete()
		if o.Validate() != nil {
			return
		}
		again := *o
		if _, err := Diff(o, &again); err != nil && !strings.HasPrefix(err.Error(), "invalid ") && !strings.HasPrefix(err.Error(), "unable to add account") {
			t.Fatalf("a reload of the same options is refused: %v", err)
		}
	})
}
