package options

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// parse returns the complete options of a text.
func parse(t *testing.T, text string) *Options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := ReadFile(path)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return o
}

// Every option of the top level and of jetstream has its place in the order of a reload, and a way to be compared.
func TestReloadOrder(t *testing.T) {
	check := func(prefix string, tab *table[Options]) {
		for _, r := range tab.rows {
			path := prefix + r.Name
			n := 0
			for _, p := range reloadOrder {
				if p == path {
					n++
				}
			}
			excused := slices.Contains(notCompared, path) || path == "jetstream.enabled"
			if n != 1 && !excused || n != 0 && slices.Contains(notCompared, path) {
				t.Errorf("%s is %d times in the order", path, n)
			}
			if n == 1 && comparisons[path] == nil && r.get == nil {
				t.Errorf("%s cannot be compared", path)
			}
			if n == 1 && comparisons[path] == nil && r.Reload.Change == Fixed && r.Reload.Name == "" {
				t.Errorf("%s has no name for the refusal", path)
			}
		}
	}
	check("", top)
	check("jetstream.", jetStreamTable)
}

func TestDiff(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"", "ping_max: 2", ""},
		{"", "ping_max: 5\nmax_connections: 50\ndebug: true",
			"Reloaded: debug = true; Reloaded: max_connections = 50; Reloaded: ping_max = 5"},
		{"", "ping_interval: 10s, max_payload: 3k, server_tags: [x]",
			"Reloaded: ping_interval = 10s; Reloaded: max_payload = 3000; Reloaded: tags"},
		{"server_tags: [a, b]", "server_tags: [b, a]", ""},
		{`http: "127.0.0.1:5"`, `http: "127.0.0.2:5"`, "error: config reload not supported for HTTPHost: old=127.0.0.1, new=127.0.0.2"},
		{`https: "127.0.0.1:5"`, `https: "127.0.0.2:5"`, "error: config reload not supported for HTTPHost: old=127.0.0.1, new=127.0.0.2"},
		{`http: "127.0.0.1:5"`, "", "error: config reload not supported for HTTPHost: old=127.0.0.1, new=0.0.0.0"},
		{"http: 5", "", "error: config reload not supported for HTTPPort: old=5, new=0"},
		{"", "no_fast_producer_stall: true", "Reloaded: fast producers will not be stalled"},
		{"", "client_advertise: 'a:1'", "Reload: client_advertise = a:1"},
		{"", "client_advertise: 'a:b'", `error: invalid ClientAdvertise value of a:b, err=strconv.Atoi: parsing "b": invalid syntax`},
		{"", "max_pending: 5M", "error: config reload not supported for MaxPending: old=67108864, new=5000000"},
		{"", "max_subs: 5, max_pending: 5M", "error: config reload not supported for MaxSubs: old=0, new=5"},
		{"", "http_base_path: '/x'", "error: config reload not supported for HTTPBasePath: old=, new=/x"},
		{"", "write_timeout: close", "error: config reload not supported for WriteTimeout: old=, new=close"},
		{"", "lame_duck_duration: '1m'", "error: config reload not supported for LameDuckDuration: old=2m0s, new=1m0s"},
		{"", "feature_flags { x: true }", "error: config reload not supported for FeatureFlags: old=map[], new=map[x:true]"},
		{"", "host: 1.2.3.4", "error: config reload not supported for Host: old=0.0.0.0, new=1.2.3.4"},
		{"port: 4300", "port: -1", ""},
		{"", "port: 4300", "error: config reload not supported for Port: old=4222, new=4300"},
		{"", "cluster { listen: '127.0.0.1:4300' }", "error: config reload not supported for cluster host: old=, new=127.0.0.1"},
		{"cluster { port: 4300, name: c }", "cluster { port: 4300, name: d }", "Reloaded: cluster"},
		{"cluster { port: 4300, routes: ['nats://a:1'] }", "cluster { port: 4300, routes: ['nats://b:1'] }", "Reloaded: cluster routes"},
		{"jetstream { key: a }", "jetstream { key: b }", "error: config reload not supported for JetStreamKey: old=[REDACTED], new=[REDACTED]"},
		{"jetstream { max_mem: 1G, max_file: 1G }", "jetstream { max_mem: 2G, max_file: 3G }",
			"Reloaded: JetStream max_mem_store = 1.86 GB; Reloaded: JetStream max_file_store = 2.79 GB"},
		{"jetstream { max_mem: 1G }", "jetstream { max_mem: 1M }", "error: config reload not supported for decreasing jetstream max memory and store"},
		{"jetstream {}", "jetstream { max_mem: 1M }", "error: config reload not supported for jetstream dynamic max memory and store"},
		{"jetstream {}", "jetstream { cipher: ChaChaPoly, tpm {} }", ""},
		{"jetstream {}", "jetstream { cipher: aes }", "error: config reload not supported for JetStreamCipher: old=ChaCha20-Poly1305, new=AES-GCM"},
		{"jetstream {}", "jetstream { sync: '5s' }", "error: config reload not supported for SyncInterval: old=2m0s, new=5s"},
		{"", "jetstream { domain: d }", "Reloaded: JetStream"},
		{"jetstream { domain: d, store_dir: x }", "", "Reloaded: JetStream"},
		{"jetstream { store_dir: a }", "jetstream { store_dir: b }", "error: config reload not supported for jetstream storage directory"},
		{"authorization { user: a, password: b }", "authorization { user: a, password: c, timeout: 7 }",
			"Reloaded: authorization password; Reloaded: authorization timeout = 7"},
		{"authorization { users: [ {user: a, password: b} ] }\nno_auth_user: a", "authorization { users: [ {user: a, password: b} ] }",
			"error: config reload not supported for NoAuthUser: old=a, new="},
		{"authorization { users: [ {user: a, password: b}, {user: c, password: d} ] }\nno_auth_user: a", "authorization { users: [ {user: c, password: d} ] }", ""},
		{"mqtt { port: 1883 }", "mqtt { port: 1883, ack_wait: 5s }", "Reloaded: MQTT ack_wait = 5s; Reloaded: MQTT max_ack_pending = 1024; Reloaded: MQTT stream_replicas = 0; " +
			"Reloaded: MQTT consumer_replicas = 0; Reloaded: MQTT consumer_memory_storage = false; Reloaded: MQTT consumer_inactive_threshold = 0s"},
		{"leafnodes { remotes: [ {url: 'nats://h:1'} ] }", "leafnodes { remotes: [ {url: 'nats://h:1', deny_imports: a} ] }",
			`error: config reload not supported for LeafNode: remote urls=["nats://h:1"], account="$G": field "DenyImports": old=[], new=[a]`},
		{"leafnodes { remotes: [ {url: 'nats://h:1'} ] }", "leafnodes { remotes: [] }", `Reloaded: LeafNode Remote urls=["nats://h:1"], account="$G" removed`},
		{"leafnodes { remotes: [] }", "leafnodes { port: 7422 }", `error: config reload not supported for LeafNode: field "Host": old=, new=0.0.0.0`},
	} {
		old, new := parse(t, c.old), parse(t, c.new)
		changes, err := Diff(old, new)
		var lines []string
		for _, ch := range changes {
			for _, l := range ch.Lines {
				if l != "Reloaded: authorization users" && l != "Reloaded: accounts" {
					lines = append(lines, l)
				}
			}
		}
		got := strings.Join(lines, "; ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != c.want {
			t.Errorf("%q -> %q:\n got %s\nwant %s", c.old, c.new, got, c.want)
		}
	}
}

// Refusals never show a password or token.
func TestRefusalsHideSecrets(t *testing.T) {
	for _, c := range []struct{ old, new string }{
		{"", "websocket { port: 1, no_tls: true, authorization { user: u, password: SECRET } }"},
		{"", "mqtt { port: 1, authorization { token: SECRET } }"},
		{"", "gateway { name: g, port: 1, authorization { user: u, password: SECRET }, gateways: [ {name: h, url: 'nats://u:SECRET@h:1'} ] }"},
		{"leafnodes { port: 1 }", "leafnodes { port: 1, authorization { user: u, password: SECRET } }"},
		{"leafnodes { port: 1, authorization { user: u, password: SECRET } }", "leafnodes { port: 1, authorization { user: u, password: SECRET2 } }"},
		{"leafnodes { port: 1 }", "leafnodes { port: 1, authorization { users: [ {user: u, password: SECRET} ] } }"},
		{"jetstream { key: SECRET }", "jetstream { prev_key: SECRET, key: x }"},
		{"jetstream { tpm { encryption_password: SECRET } }", "jetstream {}"},
		{"leafnodes { remotes: [ {url: 'wss://u:SECRET@h:1', tls {}, proxy { url: 'http://p', username: u, password: SECRET } } ] }",
			"leafnodes { remotes: [ {url: 'wss://u:SECRET@h:1', tls {} } ] }"},
	} {
		_, err := Diff(parse(t, c.old), parse(t, c.new))
		if err == nil {
			t.Errorf("%q -> %q is not refused", c.old, c.new)
			continue
		}
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q -> %q: %v", c.old, c.new, err)
		}
	}
}
