package options

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/conf"
)

var leafNodesTable = newTable("leafnodes",
	listen("listen", func(o *Options) (*string, *int) { return &o.LeafNodes.Host, &o.LeafNodes.Port }).doc("host and port for leaf nodes"),
	str("host", func(o *Options) *string { return &o.LeafNodes.Host }).alias("net").def(`"0.0.0.0"`).doc("host for leaf nodes"),
	integer("port", func(o *Options) *int { return &o.LeafNodes.Port }).limits("-1 is a random port").def("off").doc("port for leaf nodes"),
	custom("authorization", "block", func(r *reader, e *conf.Entry, o *Options) error {
		if err := asBlock(e.Value); err != nil {
			return err
		}
		o.LeafNodes.Authorization = LeafAuthorization{}
		leafAuthorizationTable.read(r, e, &o.LeafNodes.Authorization)
		return nil
	}).of(leafAuthorizationTable).doc("who may connect"),
	custom("remotes", "list of blocks", readLeafRemotes).of(leafRemoteTable).doc("servers to connect to, as a leaf node").live(""),
	orDefaultDuration("reconnect", func(o *Options) *time.Duration { return &o.LeafNodes.ReconnectInterval }).alias("reconnect_delay", "reconnect_interval").
		doc("time between attempts to connect"),
	orDefaultDuration("dial_timeout", func(o *Options) *time.Duration { return &o.LeafNodes.DialTimeout }).since("2.14.5").
		doc("time for a TCP connection"),
	custom("tls", "block", func(r *reader, e *conf.Entry, o *Options) (err error) {
		o.LeafNodes.TLS, err = r.tls(e, tlsServer)
		return err
	}).of(tlsTable).doc("TLS of leaf nodes that connect").live(""),
	str("advertise", func(o *Options) *string { return &o.LeafNodes.Advertise }).alias("leafnode_advertise").doc("`host[:port]` to tell leaf nodes"),
	boolean("no_advertise", func(o *Options) *bool { return &o.LeafNodes.NoAdvertise }).doc("do not tell leaf nodes about other servers"),
	custom("min_version", "string", func(_ *reader, e *conf.Entry, o *Options) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		if err := checkLeafVersion(s); err != nil {
			return err
		}
		o.LeafNodes.MinVersion = s
		return nil
	}).alias("minimum_version").since("2.8").limits("2.8.0..").doc("oldest version of leaf nodes"),
	compression(func(o *Options) *Compression { return &o.LeafNodes.Compression }, "s2_auto").def(`"s2_auto"`).live(""),
	boolean("isolate_leafnode_interest", func(o *Options) *bool { return &o.LeafNodes.IsolateLeafnodeInterest }).alias("isolate").since("2.12").
		doc("do not tell leaf nodes what other leaf nodes subscribe to"),
	duration("write_deadline", func(o *Options) *time.Duration { return &o.LeafNodes.WriteDeadline }).def("of the server").
		doc("time a write to a leaf node may take"),
	writeTimeout(func(o *Options) *WriteTimeout { return &o.LeafNodes.WriteTimeout }),
)

var leafAuthorizationTable = newTable("authorization",
	str("user", func(a *LeafAuthorization) *string { return &a.Username }).alias("username").doc("name of the only user"),
	str("pass", func(a *LeafAuthorization) *string { return &a.Password }).alias("password").secret().doc("password, plain or bcrypt"),
	custom("nkey", "string", func(_ *reader, e *conf.Entry, a *LeafAuthorization) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		if !nkeys.IsValidPublicUserKey(s) {
			return errorText("Not a valid public nkey for leafnode authorization")
		}
		a.NKey = s
		return nil
	}).doc("public user key of the only user"),
	str("account", func(a *LeafAuthorization) *string { return &a.Account }).doc("account of the only user, and of leaf nodes without credentials").def(`"$G"`),
	custom("users", "list of blocks", func(r *reader, e *conf.Entry, a *LeafAuthorization) error {
		if e.Value.Kind != conf.Array {
			return fmt.Errorf("Expected users field to be an array, got %v", e.Value)
		}
		a.Users = nil
		for _, v := range e.Value.Elems {
			if v.Kind != conf.Map {
				r.errorf(v.Pos, "Expected user entry to be a map/struct, got %v", v)
				continue
			}
			var u LeafUser
			leafUserTable.read(r, &conf.Entry{Key: e.Key, Pos: e.Pos, Value: v}, &u)
			a.Users = append(a.Users, u)
		}
		return nil
	}).of(leafUserTable).doc("users"),
	authTimeout("leafnode authorization", func(a *LeafAuthorization) *time.Duration { return &a.Timeout }),
	boolean("proxy_required", func(a *LeafAuthorization) *bool { return &a.ProxyRequired }).since("2.12").doc("leaf nodes must come through a trusted proxy"),
)

var leafUserTable = newTable("users",
	str("user", func(u *LeafUser) *string { return &u.Username }).alias("username").doc("name"),
	str("pass", func(u *LeafUser) *string { return &u.Password }).alias("password").secret().doc("password, plain or bcrypt"),
	str("account", func(u *LeafUser) *string { return &u.Account }).doc("account").def(`"$G"`),
	boolean("proxy_required", func(u *LeafUser) *bool { return &u.ProxyRequired }).since("2.12").doc("the leaf node must come through a trusted proxy"),
)

// checkLeafVersion checks the oldest version of leaf nodes.
func checkLeafVersion(s string) error {
	parts := strings.Split(strings.TrimPrefix(s, "v"), ".")
	n := make([]int, 0, 3)
	for _, p := range parts {
		p, _, _ = strings.Cut(p, "-")
		v, err := strconv.Atoi(p)
		if err != nil || v < 0 || len(parts) != 3 {
			return errorText("invalid leafnode's minimum version: invalid semver")
		}
		n = append(n, v)
	}
	if slices.Compare(n, []int{2, 8, 0}) < 0 {
		return errorText("the minimum version should be at least 2.8.0")
	}
	return nil
}

func readLeafNodes(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("Expected map to define a leafnode, got %s", e.Value.Kind)
	}
	leafNodesTable.read(r, e, o)
	return nil
}

// leafRemote is a remote while it is read.
type leafRemote struct {
	LeafRemote
	hasProxy bool
}

var leafRemoteTable = newTable("remotes",
	custom("url", "string or list", func(r *reader, e *conf.Entry, l *leafRemote) error {
		var err error
		switch e.Value.Kind {
		case conf.String:
			u, perr := url.Parse(e.Value.Str)
			if perr != nil {
				return fmt.Errorf("error parsing leafnode url [%q]", redactURL(e.Value.Str))
			}
			l.URLs = []*url.URL{u}
		case conf.Array:
			l.URLs, err = r.urls(e, "leafnode")
		default:
			err = fmt.Errorf("Expected remote leafnode url to be an array or string, got %v", e.Value)
		}
		return err
	}).alias("urls").doc("URLs: `nats`, `tls`, `nats-leaf`, `ws`, `wss`; the port defaults to 7422"),
	boolean("no_randomize", func(l *leafRemote) *bool { return &l.NoRandomize }).alias("dont_randomize").doc("try them in their order"),
	str("account", func(l *leafRemote) *string { return &l.Account }).alias("local").doc("account here").def(`"$G"`),
	custom("credentials", "string", func(_ *reader, e *conf.Entry, l *leafRemote) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		if l.Credentials, err = expandPath(s); err != nil {
			return err
		}
		return l.checkKeys()
	}).alias("creds").doc("credentials file; `~` and variables are expanded"),
	custom("nkey", "string", func(_ *reader, e *conf.Entry, l *leafRemote) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		if prefix, _, err := nkeys.DecodeSeed([]byte(s)); err != nil || prefix != nkeys.PrefixByteUser {
			return errorText(`Remote leafnode nkey is not a valid seed: "[REDACTED]"`)
		}
		l.NKey = s
		return l.checkKeys()
	}).alias("seed").secret().doc("user seed"),
	custom("tls", "block", func(r *reader, e *conf.Entry, l *leafRemote) (err error) {
		l.TLS, err = r.tls(e, tlsClient)
		return err
	}).of(tlsTable).doc("TLS").live(""),
	boolean("hub", func(l *leafRemote) *bool { return &l.Hub }).since("2.1.7").doc("this side is the hub"),
	denied("deny_imports", func(l *leafRemote) *[]string { return &l.DenyImports }).alias("deny_import").since("2.1.7").doc("subjects that do not come in"),
	denied("deny_exports", func(l *leafRemote) *[]string { return &l.DenyExports }).alias("deny_export").since("2.1.7").doc("subjects that do not go out"),
	boolean("ws_compression", func(l *leafRemote) *bool { return &l.WSCompression }).alias("ws_compress", "websocket_compress", "websocket_compression").since("2.2").doc("compress over WebSocket"),
	boolean("ws_no_masking", func(l *leafRemote) *bool { return &l.WSNoMasking }).alias("websocket_no_masking").since("2.2").doc("no masking over WebSocket"),
	custom("jetstream_cluster_migrate", "boolean or block", func(r *reader, e *conf.Entry, l *leafRemote) error {
		switch e.Value.Kind {
		case conf.Bool:
			l.JetStreamClusterMigrate = e.Value.Bool
		case conf.Map:
			l.JetStreamClusterMigrate = true
			leafMigrateTable.read(r, e, l)
		default:
			return errPlain{fmt.Errorf("Expected boolean or map for jetstream_cluster_migrate, got %s", e.Value.Kind)}
		}
		return nil
	}).alias("js_cluster_migrate").of(leafMigrateTable).since("2.9").doc("give leaderships away while disconnected"),
	boolean("isolate_leafnode_interest", func(l *leafRemote) *bool { return &l.IsolateLeafnodeInterest }).alias("isolate").since("2.12").
		doc("do not tell the hub what other leaf nodes subscribe to"),
	boolean("request_isolation", func(l *leafRemote) *bool { return &l.RequestIsolation }).since("2.12").doc("ask the hub for isolation"),
	compression(func(l *leafRemote) *Compression { return &l.Compression }, "s2_auto").def(`"s2_auto"`).live(""),
	duration("first_info_timeout", func(l *leafRemote) *time.Duration { return &l.FirstInfoTimeout }).since("2.10.26").doc("time for the first INFO").def("1s"),
	duration("dial_timeout", func(l *leafRemote) *time.Duration { return &l.DialTimeout }).since("2.14.5").doc("time for a TCP connection").def("of the block"),
	boolean("disabled", func(l *leafRemote) *bool { return &l.Disabled }).since("2.12").doc("do not connect").live(""),
	boolean("ignore_discovered_servers", func(l *leafRemote) *bool { return &l.IgnoreDiscoveredServers }).since("2.14").doc("connect to the URLs only"),
	custom("proxy", "block", readLeafProxy).of(leafProxyTable).since("2.12.1").doc("HTTP proxy, for WebSocket URLs"),
)

var leafMigrateTable = newTable("jetstream_cluster_migrate",
	duration("leader_migrate_delay", func(l *leafRemote) *time.Duration { return &l.JetStreamClusterMigrateTime }).since("2.11").
		doc("time before that"),
)

// denied reads subjects.
func denied(name string, at func(*leafRemote) *[]string) *row[leafRemote] {
	return custom(name, "string or list", func(_ *reader, e *conf.Entry, l *leafRemote) (err error) {
		*at(l), err = subjects(e.Value, false)
		return err
	})
}

func (l *leafRemote) checkKeys() error {
	if l.Credentials != "" && l.NKey != "" {
		return errorText("Remote leafnode can not have both creds and nkey defined")
	}
	return nil
}

// expandPath resolves variables and a tilde at the beginning of a path.
func expandPath(path string) (string, error) {
	path = os.ExpandEnv(path)
	if !strings.HasPrefix(path, "~") {
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, path[1:]), nil
}

var leafProxyTable = newTable("proxy",
	str("url", func(p *LeafProxy) *string { return &p.URL }).doc("`http` or `https` URL"),
	str("username", func(p *LeafProxy) *string { return &p.Username }).doc("name"),
	str("password", func(p *LeafProxy) *string { return &p.Password }).secret().doc("password"),
	duration("timeout", func(p *LeafProxy) *time.Duration { return &p.Timeout }).doc("time for the connection"),
)

func readLeafProxy(r *reader, e *conf.Entry, l *leafRemote) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("Expected proxy to be a map, got %s", e.Value.Kind)
	}
	l.Proxy = LeafProxy{}
	leafProxyTable.read(r, e, &l.Proxy)
	l.hasProxy = true
	return nil
}

// checkProxy checks the proxy of a remote against its URLs.
func (r *reader) checkProxy(pos conf.Pos, l *LeafRemote) error {
	p := l.Proxy
	u, err := url.Parse(p.URL)
	switch {
	case err != nil:
		return fmt.Errorf("invalid proxy URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("proxy URL scheme must be http or https, got: %s", u.Scheme)
	case u.Host == "":
		return errorText("proxy URL must specify a host")
	case p.Timeout < 0:
		return errorText("proxy timeout must be >= 0")
	case (p.Username == "") != (p.Password == ""):
		return errorText("proxy username and password must both be specified or both be empty")
	}
	web := 0
	for _, u := range l.URLs {
		if isWebSocket(u) {
			web++
		}
		if u.Scheme == "wss" && l.TLS == nil {
			return fmt.Errorf("proxy is configured but remote URL %s requires TLS and no TLS configuration is provided. When using proxy with TLS endpoints, ensure TLS is properly configured for the leafnode remote", u.Redacted())
		}
	}
	switch {
	case web == 0:
		r.warnf(pos, "proxy configuration will be ignored: proxy settings only apply to WebSocket connections (ws:// or wss://), but all configured URLs use TCP connections (nats://)")
	case web < len(l.URLs):
		r.warnf(pos, "proxy configuration will only be used for WebSocket URLs: proxy settings do not apply to TCP connections (nats://)")
	}
	return nil
}

func isWebSocket(u *url.URL) bool { return u.Scheme == "ws" || u.Scheme == "wss" }

// Identity names a remote: two of the same are a mistake, and a reload compares those that are the same.
func (l *LeafRemote) Identity() string {
	urls := make([]string, len(l.URLs))
	for i, u := range l.URLs {
		urls[i] = u.Redacted()
	}
	id := fmt.Sprintf("remote urls=%q, account=%q", urls, l.Account)
	if l.Credentials != "" {
		id += fmt.Sprintf(", credentials=%q", l.Credentials)
	}
	if l.NKey != "" {
		id += `, nkey="[REDACTED]"`
	}
	return id
}

// key is Identity with the secrets in it.
func (l *LeafRemote) key() string {
	var b strings.Builder
	for _, u := range l.URLs {
		fmt.Fprintf(&b, "%q ", u.String())
	}
	fmt.Fprintf(&b, "%q %q %q", l.Account, l.Credentials, l.NKey)
	return b.String()
}

func readLeafRemotes(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Array {
		return fmt.Errorf("Expected remotes field to be an array, got %s", e.Value.Kind)
	}
	o.LeafNodes.Remotes = nil
	seen := make(map[string]bool)
	for _, v := range e.Value.Elems {
		if v.Kind != conf.Map {
			r.errorf(v.Pos, "Expected remote leafnode entry to be a map/struct, got %v", v)
			continue
		}
		l := &leafRemote{LeafRemote: LeafRemote{
			Account:          GlobalAccount,
			Compression:      Compression{Mode: "s2_auto"},
			FirstInfoTimeout: time.Second,
		}}
		before := len(r.errors)
		if leafRemoteTable.read(r, &conf.Entry{Key: e.Key, Pos: e.Pos, Value: v}, l) == errEnded {
			return nil
		}
		if len(r.errors) > before {
			continue
		}
		remote := &l.LeafRemote
		pos := lastKey(v)
		if l.hasProxy {
			if err := r.checkProxy(pos, remote); err != nil {
				r.add(pos, err)
			}
		}
		if seen[remote.key()] {
			r.errorf(pos, "duplicate %s", remote.Identity())
		}
		seen[remote.key()] = true
		o.LeafNodes.Remotes = append(o.LeafNodes.Remotes, remote)
	}
	return nil
}
