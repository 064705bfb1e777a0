package options

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/server/conf"
)

// top is the table of a file's top level; the blocks have tables of their own, which its rows name.
var top = newTable("",
	// Network.
	listen("listen", func(o *Options) (*string, *int) { return &o.Host, &o.Port }).
		doc("host and port for clients").grouped(),
	str("host", func(o *Options) *string { return &o.Host }).alias("net").
		doc("host for clients").fixed("Host"),
	orDefault("port", func(o *Options) *int { return &o.Port }).limits("-1 is a random port").
		doc("port for clients").fixed("Port"),
	str("client_advertise", func(o *Options) *string { return &o.ClientAdvertise }).
		doc("`host[:port]` to tell clients, in INFO and in the list of servers").live("client_advertise"),
	boolean("allow_non_tls", func(o *Options) *bool { return &o.AllowNonTLS }).since("2.2").
		doc("accept clear-text clients although `tls` is set").fixed("AllowNonTLS"),
	custom("tls", "block", func(r *reader, e *conf.Entry, o *Options) (err error) {
		o.TLS, err = r.tls(e, tlsServer)
		return err
	}).of(tlsTable).doc("TLS for clients").live("tls"),
	boolean("proxy_protocol", func(o *Options) *bool { return &o.ProxyProtocol }).since("2.12.2").
		doc("the client listener expects PROXY protocol v1 or v2 headers").fixed("ProxyProtocol"),
	boolean("no_header_support", func(o *Options) *bool { return &o.NoHeaderSupport }).since("2.2").
		doc("refuse message headers").fixed("NoHeaderSupport"),
	boolean("disable_sublist_cache", func(o *Options) *bool { return &o.NoSublistCache }).alias("no_sublist_cache").since("2.0.2").
		doc("match every message against the subscriptions without a cache").fixed("NoSublistCache"),
	custom("ocsp", "boolean or block", readOCSP).of(ocspTable).since("2.3").
		doc("staple OCSP answers to the server's certificates").live("OCSP"),
	custom("ocsp_cache", "boolean or block", readOCSPCache).of(ocspCacheTable).since("2.10").
		doc("cache of OCSP answers about peers").live("OCSP peer cache"),

	// Limits and timers.
	integer("max_connections", func(o *Options) *int64 { return &o.MaxConnections }).alias("max_conn").limits("0 and below refuse everybody").
		doc("client connections").live("max_connections").
		check(func(_ string, o *Options) error {
			if o.MaxConnections == 0 {
				o.MaxConnections = -1
			}
			return nil
		}),
	integer("max_subscriptions", func(o *Options) *int64 { return &o.MaxSubscriptions }).alias("max_subs").limits("0 is unlimited").
		doc("subscriptions of a connection").fixed("MaxSubs"),
	integer("max_sub_tokens", func(o *Options) *int64 { return &o.MaxSubTokens }).alias("max_subscription_tokens").since("2.6.4").limits("1..255").
		def("unlimited").doc("tokens in the subject of a subscription").fixed("MaxSubTokens").
		check(func(key string, o *Options) error {
			switch {
			case o.MaxSubTokens > math.MaxUint8:
				return fmt.Errorf("%s value is too big", key)
			case o.MaxSubTokens <= 0:
				return fmt.Errorf("%s value can not be negative", key)
			}
			return nil
		}),
	orDefault("max_control_line", func(o *Options) *int64 { return &o.MaxControlLine }).limits("..2147483647").
		doc("bytes of a protocol line").live("max_control_line").
		check(func(_ string, o *Options) error { return fitsInt32("max_control_line", o.MaxControlLine) }),
	orDefault("max_payload", func(o *Options) *int64 { return &o.MaxPayload }).limits("..2147483647, not above `max_pending`").
		doc("bytes of a message with its headers").live("max_payload").
		check(func(_ string, o *Options) error { return fitsInt32("max_payload", o.MaxPayload) }),
	orDefault("max_pending", func(o *Options) *int64 { return &o.MaxPending }).
		doc("outbound bytes of a client before it is a slow consumer").fixed("MaxPending"),
	orDefault("max_closed_clients", func(o *Options) *int64 { return &o.MaxClosedClients }).since("2.10.26").
		doc("closed connections that monitoring remembers").fixed("MaxClosedClients"),
	integer("max_traced_msg_len", func(o *Options) *int64 { return &o.MaxTracedMsgLen }).since("2.0.2").limits("0 is unlimited").
		doc("bytes of a payload in the protocol trace").live("max_traced_msg_len"),
	orDefaultDuration("ping_interval", func(o *Options) *time.Duration { return &o.PingInterval }).
		doc("time between pings").live("ping_interval"),
	orDefault("ping_max", func(o *Options) *int64 { return &o.PingMax }).
		doc("unanswered pings before a connection is stale").live("ping_max"),
	orDefaultDuration("write_deadline", func(o *Options) *time.Duration { return &o.WriteDeadline }).
		doc("time a write to a connection may take").live("write_deadline"),
	writeTimeout(func(o *Options) *WriteTimeout { return &o.WriteTimeout }).fixed("WriteTimeout"),
	boolean("no_fast_producer_stall", func(o *Options) *bool { return &o.NoFastProducerStall }).since("2.10.26").
		doc("slow consumers never hold fast producers back").live("fast producers"),
	durationText("lame_duck_duration", func(o *Options) *time.Duration { return &o.LameDuckDuration }).limits("30s..").
		doc("time over which lame duck mode closes clients").fixed("LameDuckDuration").
		check(func(_ string, o *Options) error {
			if o.LameDuckDuration < 30*time.Second {
				return fmt.Errorf("invalid lame_duck_duration of %v, minimum is 30 seconds", o.LameDuckDuration)
			}
			return nil
		}),
	durationText("lame_duck_grace_period", func(o *Options) *time.Duration { return &o.LameDuckGracePeriod }).since("2.2").limits("below `lame_duck_duration`").
		doc("time before lame duck mode closes the first client").fixed("LameDuckGracePeriod").
		check(func(_ string, o *Options) error {
			if o.LameDuckGracePeriod < 0 {
				return errorText("invalid lame_duck_grace_period, needs to be positive")
			}
			return nil
		}),
	orDefault("connect_error_reports", func(o *Options) *int64 { return &o.ConnectErrorReports }).
		doc("log every n-th failure of a first connect to another server").live("connect_error_reports"),
	orDefault("reconnect_error_reports", func(o *Options) *int64 { return &o.ReconnectErrorReports }).
		doc("log every n-th failure of a reconnect to another server").live("reconnect_error_reports"),

	// Monitoring and profiling.
	listen("http", func(o *Options) (*string, *int) { return &o.HTTPHost, &o.HTTPPort }).
		doc("host and port for monitoring; the host defaults to the one for clients").grouped(),
	listen("https", func(o *Options) (*string, *int) { return &o.HTTPHost, &o.HTTPSPort }).
		doc("host and port for monitoring over TLS").grouped(),
	integer("http_port", func(o *Options) *int { return &o.HTTPPort }).alias("monitor_port").limits("-1 is a random port").def("off").
		doc("port for monitoring").fixed("HTTPPort"),
	integer("https_port", func(o *Options) *int { return &o.HTTPSPort }).limits("-1 is a random port").def("off").
		doc("port for monitoring over TLS").fixed("HTTPSPort"),
	str("http_base_path", func(o *Options) *string { return &o.HTTPBasePath }).since("2.1.7").def(`"/"`).
		doc("path below which monitoring answers").fixed("HTTPBasePath"),
	integer("prof_port", func(o *Options) *int { return &o.ProfPort }).limits("-1 is a random port").def("off").
		doc("port for profiling").fixed("ProfPort"),
	integer("prof_block_rate", func(o *Options) *int64 { return &o.ProfBlockRate }).since("2.10.2").
		doc("rate of block profiling").live("prof_block_rate"),

	// Logging.
	boolean("debug", func(o *Options) *bool { return &o.Debug }).
		doc("log debug lines").live("debug"),
	boolean("trace", func(o *Options) *bool { return &o.Trace }).
		doc("log the protocol").live("trace"),
	boolean("trace_verbose", func(o *Options) *bool { return &o.TraceVerbose }).since("2.1.6").
		doc("log the protocol of the system account, too; sets `trace`").live("trace_verbose").
		check(func(_ string, o *Options) error { o.Trace = o.TraceVerbose; return nil }),
	boolean("trace_headers", func(o *Options) *bool { return &o.TraceHeaders }).since("2.11.2").
		doc("log headers instead of payloads; sets `trace`").live("trace_headers").
		check(func(_ string, o *Options) error { o.Trace = o.TraceHeaders; return nil }),
	boolean("logtime", func(o *Options) *bool { return &o.Logtime }).
		doc("log lines begin with the time").live("logtime"),
	boolean("logtime_utc", func(o *Options) *bool { return &o.LogtimeUTC }).since("2.10").
		doc("which is UTC").live("logtime_utc"),
	str("log_file", func(o *Options) *string { return &o.LogFile }).alias("logfile").def("standard error").
		doc("file to log to").live("log_file"),
	integer("log_size_limit", func(o *Options) *int64 { return &o.LogSizeLimit }).alias("logfile_size_limit").since("2.1.4").limits("0 is unlimited").
		doc("bytes of the log file before a new one is begun").fixed("LogSizeLimit"),
	integer("log_max_num", func(o *Options) *int64 { return &o.LogMaxNum }).alias("logfile_max_num").since("2.10").limits("0 is all").
		doc("log files to keep, with the active one").fixed("LogMaxFiles"),
	boolean("syslog", func(o *Options) *bool { return &o.Syslog }).
		doc("log to the local syslog").live("syslog"),
	str("remote_syslog", func(o *Options) *string { return &o.RemoteSyslog }).
		doc("syslog server: `udp://host:port`, `tcp://host:port` or `unix:///path`").live("remote_syslog"),

	// Files.
	str("pid_file", func(o *Options) *string { return &o.PidFile }).alias("pidfile").
		doc("file for the process id").live("pid_file"),
	str("ports_file_dir", func(o *Options) *string { return &o.PortsFileDir }).
		doc("directory for a file that names all ports").live("ports_file_dir"),
	custom("store_dir", "string", readStoreDir).alias("storedir").
		doc("the same as `jetstream.store_dir`").grouped(),

	// Identity.
	str("server_name", func(o *Options) *string { return &o.ServerName }).since("2.1.2").limits("no spaces").def("the server id").
		doc("name of this server, unique among all that are connected").fixed("ServerName").
		check(func(_ string, o *Options) error { return checkServerName(o.ServerName) }),
	custom("server_tags", "string or list", readTags).since("2.2").
		doc("tags of this server; trimmed, in lower case").live("tags"),
	custom("server_metadata", "map of strings", readMetadata).since("2.12").
		doc("metadata of this server").live("metadata"),
	custom("system_account", "string", readSystemAccount).alias("system").def(`"$SYS"`).
		doc("account of events and monitoring services").fixed("SystemAccount"),
	boolean("no_system_account", func(o *Options) *bool { return &o.NoSystemAccount }).alias("no_system", "no_sys_acc").since("2.2").
		doc("have no system account").fixed("NoSystemAccount"),
	custom("default_js_domain", "map of strings", readDefaultJSDomain).since("2.7").
		doc("JetStream domain of accounts whose clients name none").fixed("JsAccDefaultDomain"),
	custom("feature_flags", "map of booleans", readFeatureFlags).since("2.14").
		doc("switches for behaviour that is to become the default").fixed("FeatureFlags"),

	// Authentication.
	custom("authorization", "block", readAuthorization).of(authorizationTable).
		doc("who may connect").grouped(),
	custom("accounts", "block or list", readAccounts).of(accountTable).
		doc("accounts: separate spaces of subjects, with their users").live("accounts"),
	custom("mappings", "block", readGlobalMappings).alias("maps").of(mappingTable).
		doc("subject mappings of the account `$G`").live("accounts"),
	str("no_auth_user", func(o *Options) *string { return &o.NoAuthUser }).since("2.1.7").
		doc("user of clients without credentials").partial("NoAuthUser", "", "may be removed together with the user"),
	str("default_sentinel", func(o *Options) *string { return &o.DefaultSentinel }).since("2.11.2").
		doc("user JWT of clients without credentials, in operator mode").live("default_sentinel"),
	custom("proxies", "block", readProxies).of(proxiesTable).since("2.12").
		doc("proxies that may vouch for clients").live("proxies trusted keys"),

	// Operator mode.
	custom("operator", "string or list", readOperators).alias("operators", "root", "roots", "root_operator", "root_operators").
		doc("trusted operators: files, or JWTs as they are").fixed("TrustedOperators"),
	custom("resolver", "string or block", readResolver).alias("account_resolver", "accounts_resolver").of(resolverTable).
		doc("where account JWTs come from: `MEMORY`, `URL(<url>)`, or a directory").
		partial("", "accounts", "one may replace another; none may not become one, nor the reverse"),
	custom("resolver_tls", "block", func(r *reader, e *conf.Entry, o *Options) (err error) {
		o.ResolverTLS, err = r.tls(e, tlsClient)
		return err
	}).of(tlsTable).since("2.1.6").doc("TLS towards the URL resolver").live(""),
	custom("resolver_preload", "map of strings", readPreload).
		doc("account JWTs by account key").live(""),
	stringList("resolver_pinned_accounts", "resolver_pinned_accounts", func(o *Options) *[]string { return &o.ResolverPinnedAccounts }).since("2.4").
		doc("accounts whose users may log in").live(""),
	custom("trusted", "string or list", readTrustedKeys).alias("trusted_keys").
		doc("public keys of trusted operators").fixed("TrustedKeys"),

	// Subsystems.
	custom("jetstream", "boolean, string or block", readJetStream).of(jetStreamTable).since("2.2").
		doc("streams and consumers").live("JetStream"),
	custom("cluster", "block", readCluster).of(clusterTable).
		doc("routes to the servers of the same cluster").partial("", "cluster", "host and port may not change"),
	custom("gateway", "block", readGateway).of(gatewayTable).
		doc("connections to other clusters").partial("Gateway", "", "only certificates and pinned_certs may change"),
	custom("leafnodes", "block", readLeafNodes).alias("leaf").of(leafNodesTable).
		doc("leaf nodes: listening for them, and being one").partial("LeafNode", "", "certificates, compression, remotes may change"),
	custom("websocket", "block", readWebSocket).alias("ws").of(webSocketTable).since("2.2").
		doc("clients over WebSocket").partial("Websocket", "", "only certificates may change"),
	custom("mqtt", "block", readMQTT).of(mqttTable).since("2.2").
		doc("clients that speak MQTT").partial("MQTT", "MQTT", "some may change, see below"),
)

func fitsInt32(name string, n int64) error {
	if n > math.MaxInt32 {
		return fmt.Errorf("%s value is too big", name)
	}
	return nil
}

func checkServerName(name string) error {
	if strings.Contains(name, " ") {
		return errorText("server name cannot contain spaces")
	}
	return nil
}

func readStoreDir(r *reader, e *conf.Entry, o *Options) error {
	if r.storeDir {
		return errorText("Duplicate 'store_dir' configuration")
	}
	dir, err := asString(e.Value)
	if err != nil {
		return err
	}
	r.storeDir = true
	o.JetStream.StoreDir = dir
	return nil
}

func readTags(_ *reader, e *conf.Entry, o *Options) error {
	list, err := asStrings(e.Value, "tags")
	if err != nil {
		return placed{err, e.Pos}
	}
	o.ServerTags = nil
	for _, tag := range list {
		if tag = strings.ToLower(strings.TrimSpace(tag)); !slices.Contains(o.ServerTags, tag) {
			o.ServerTags = append(o.ServerTags, tag)
		}
	}
	return nil
}

func readMetadata(_ *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("error parsing metadata: unsupported type %s", e.Value.Kind)
	}
	m, err := stringMap(e.Value)
	if err != nil {
		return err
	}
	o.ServerMetadata = m
	return nil
}

// stringMap returns a map whose values are strings; another value is an error at its key.
func stringMap(v *conf.Value) (map[string]string, error) {
	m := make(map[string]string, len(v.Items))
	for _, e := range v.Items {
		if e.Value.Kind != conf.String {
			return nil, placed{&typeError{got: e.Value.Kind, want: conf.String}, e.Pos}
		}
		m[e.Key] = e.Value.Str
	}
	return m, nil
}

func readSystemAccount(_ *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.String {
		return errorText("system account name must be a string")
	}
	o.SystemAccount = e.Value.Str
	return nil
}

func readDefaultJSDomain(_ *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("error default_js_domain config: unsupported type %s", e.Value.Kind)
	}
	m, err := stringMap(e.Value)
	if err != nil {
		return placed{err, e.Pos}
	}
	o.DefaultJSDomain = m
	return nil
}

func readFeatureFlags(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("error parsing feature flags: unsupported type %s", e.Value.Kind)
	}
	o.FeatureFlags = make(map[string]bool, len(e.Value.Items))
	for _, f := range e.Value.Items {
		if f.Value.Kind != conf.Bool {
			r.errorf(f.Pos, "error parsing feature flag %q: expected bool, got %s", f.Key, f.Value.Kind)
			continue
		}
		o.FeatureFlags[f.Key] = f.Value.Bool
	}
	return nil
}
