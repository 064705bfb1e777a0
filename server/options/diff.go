package options

import (
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Change is an option that a reload changes: its path, such as "cluster.routes", and what to log when it is applied.
type Change struct {
	Path  string
	Lines []string
}

// reloadOrder is the order in which options are compared, reported and applied.
var reloadOrder = []string{
	"server_name", "host", "port", "client_advertise", "trace", "debug", "trace_verbose", "trace_headers",
	"disable_sublist_cache", "no_header_support", "logtime", "logtime_utc",
	"max_connections", "max_subscriptions", "max_sub_tokens",
	"authorization.users", "accounts", "no_auth_user", "default_sentinel", "system_account", "no_system_account",
	"authorization.user", "authorization.pass", "authorization.proxy_required", "proxy_protocol", "authorization.token",
	"authorization.auth_callout", "ping_interval", "ping_max", "http", "http_port", "http_base_path", "https_port",
	"authorization.timeout", "max_control_line", "max_payload", "max_pending", "no_fast_producer_stall",
	"cluster", "gateway", "leafnodes",
	"jetstream", "jetstream.strict", "jetstream.max_memory_store", "jetstream.max_file_store", "jetstream.domain",
	"jetstream.extension_hint", "jetstream.key", "jetstream.prev_key", "jetstream.cipher", "jetstream.unique_tag",
	"jetstream.limits", "jetstream.tpm", "jetstream.max_outstanding_catchup", "jetstream.request_queue_limit",
	"jetstream.info_queue_limit", "jetstream.meta_compact", "jetstream.meta_compact_size", "jetstream.meta_compact_sync",
	"jetstream.max_concurrent_io", "jetstream.max_buffered_msgs", "jetstream.max_buffered_size", "jetstream.store_dir",
	"jetstream.sync_interval", "default_js_domain",
	"websocket", "mqtt", "prof_port", "prof_block_rate", "pid_file", "ports_file_dir",
	"log_file", "log_size_limit", "log_max_num", "syslog", "remote_syslog",
	"cluster.routes", "tls", "allow_non_tls", "write_deadline", "write_timeout", "max_closed_clients",
	"lame_duck_duration", "lame_duck_grace_period", "max_traced_msg_len",
	"trusted", "operator", "resolver", "resolver_tls", "resolver_preload", "resolver_pinned_accounts",
	"connect_error_reports", "reconnect_error_reports", "server_tags", "server_metadata", "feature_flags",
	"ocsp", "proxies", "ocsp_cache",
}

// notCompared are options without a value of their own: others show their effect.
var notCompared = []string{"listen", "https", "store_dir", "authorization", "mappings"}

// differ compares options.
type differ struct {
	old, new *Options
	changes  []Change
}

// Diff compares the options of a running server with new ones. The error is about the first change that a running server
// cannot make. Users and accounts always count as changed. The ports of old must be those in use; a random port in new
// is no change, and the one in use is put there.
func Diff(old, new *Options) ([]Change, error) {
	d := &differ{old: old, new: new}
	for _, port := range []struct{ old, new *int }{
		{&old.Port, &new.Port}, {&old.HTTPPort, &new.HTTPPort}, {&old.HTTPSPort, &new.HTTPSPort}, {&old.ProfPort, &new.ProfPort},
		{&old.Cluster.Port, &new.Cluster.Port}, {&old.Gateway.Port, &new.Gateway.Port}, {&old.LeafNodes.Port, &new.LeafNodes.Port},
		{&old.WebSocket.Port, &new.WebSocket.Port}, {&old.MQTT.Port, &new.MQTT.Port},
	} {
		if *port.new == -1 && *port.old != 0 {
			*port.new = *port.old
		}
	}
	for _, path := range reloadOrder {
		compare := comparisons[path]
		if compare == nil {
			compare = (*differ).byRule
		}
		if err := compare(d, path); err != nil {
			return nil, err
		}
	}
	return d.changes, nil
}

// applied notes a change.
func (d *differ) applied(path string, lines ...string) {
	d.changes = append(d.changes, Change{Path: path, Lines: lines})
}

// reloaded notes a change with its usual line.
func (d *differ) reloaded(path, format string, args ...any) {
	d.applied(path, "Reloaded: "+fmt.Sprintf(format, args...))
}

// refused is the error about a change that cannot be made.
func refused(name string, old, new any) error {
	return fmt.Errorf("config reload not supported for %s: old=%v, new=%v", name, old, new)
}

// redacted is what is shown of a secret.
func redacted(s string) string {
	if s == "" {
		return ""
	}
	return "[REDACTED]"
}

// rowAt returns the row at a path of the tables whose values are in Options.
func rowAt(path string) *row[Options] {
	name, rest, nested := strings.Cut(path, ".")
	r := top.index[name]
	if r == nil || !nested {
		return r
	}
	if t, ok := r.block.(*table[Options]); ok {
		return t.index[rest]
	}
	return nil
}

// byRule compares an option by its row of the table.
func (d *differ) byRule(path string) error {
	r := rowAt(path)
	old, new := r.get(d.old), r.get(d.new)
	if strings.HasPrefix(path, "jetstream.") && !(d.old.JetStream.Enabled && d.new.JetStream.Enabled) {
		return nil // It is started, or stopped, with whatever options.
	}
	if reflect.DeepEqual(old, new) {
		return nil
	}
	switch rule := r.Reload; {
	case rule.Change == Fixed && r.Secret:
		return refused(rule.Name, redacted(fmt.Sprint(old)), redacted(fmt.Sprint(new)))
	case rule.Change == Fixed:
		return refused(rule.Name, old, new)
	case rule.Applied == "":
		d.applied(path)
	case isScalar(new):
		d.reloaded(path, "%s = %v", rule.Applied, new)
	default:
		d.reloaded(path, "%s", rule.Applied)
	}
	return nil
}

func isScalar(v any) bool {
	switch v.(type) {
	case bool, int, int64, string, time.Duration:
		return true
	}
	return false
}

// comparisons of options that the rules of the table do not cover.
var comparisons = map[string]func(*differ, string) error{
	"client_advertise": func(d *differ, path string) error {
		v := d.new.ClientAdvertise
		if v == d.old.ClientAdvertise {
			return nil
		}
		if _, _, err := HostPort(v, d.new.Port); err != nil {
			return fmt.Errorf("invalid ClientAdvertise value of %s, err=%w", v, err)
		}
		d.applied(path, "Reload: client_advertise = "+v)
		return nil
	},
	"authorization.users": func(d *differ, path string) error {
		if !slices.Equal(nkeysOf(d.old), nkeysOf(d.new)) {
			d.reloaded(path, "authorization nkey users")
		}
		d.reloaded(path, "authorization users")
		return nil
	},
	"accounts": func(d *differ, path string) error {
		d.reloaded(path, "accounts")
		return nil
	},
	"no_auth_user": func(d *differ, path string) error {
		old, new := d.old.NoAuthUser, d.new.NoAuthUser
		if old == new {
			return nil
		}
		if new != "" || d.new.knowsUser(old) {
			return refused("NoAuthUser", old, new)
		}
		d.applied(path)
		return nil
	},
	"system_account": func(d *differ, path string) error {
		old, new := d.old.SystemAccount, d.new.SystemAccount
		if old != new && !(old == DefaultSystemAccount && new == "") {
			return refused("SystemAccount", old, new)
		}
		return nil
	},
	"authorization.user": func(d *differ, path string) error {
		return d.credential(path, "username", d.old.Authorization.Username, d.new.Authorization.Username)
	},
	"authorization.pass": func(d *differ, path string) error {
		return d.credential(path, "password", d.old.Authorization.Password, d.new.Authorization.Password)
	},
	"authorization.token": func(d *differ, path string) error {
		return d.credential(path, "token", d.old.Authorization.Token, d.new.Authorization.Token)
	},
	"authorization.proxy_required": func(d *differ, path string) error {
		if old, new := d.old.Authorization.ProxyRequired, d.new.Authorization.ProxyRequired; old != new {
			return refused("ProxyRequired", old, new)
		}
		return nil
	},
	"authorization.auth_callout": func(d *differ, path string) error {
		old, new := d.old.Authorization.Callout, d.new.Authorization.Callout
		if !reflect.DeepEqual(old, new) {
			return refused("AuthCallout", pointed(old), pointed(new))
		}
		return nil
	},
	"authorization.timeout": func(d *differ, path string) error {
		if new := d.new.Authorization.Timeout; new != d.old.Authorization.Timeout {
			d.reloaded(path, "authorization timeout = %v", new.Seconds())
		}
		return nil
	},
	"http": func(d *differ, path string) error {
		if old, new := d.old.HTTPHost, d.new.HTTPHost; old != new {
			return refused("HTTPHost", old, new)
		}
		return nil
	},
	"no_fast_producer_stall": func(d *differ, path string) error {
		if new := d.new.NoFastProducerStall; new != d.old.NoFastProducerStall {
			will := "will be"
			if new {
				will = "will not be"
			}
			d.reloaded(path, "fast producers %s stalled", will)
		}
		return nil
	},
	"cluster":        (*differ).cluster,
	"cluster.routes": (*differ).routes,
	"gateway":        (*differ).gateway,
	"leafnodes":      (*differ).leafNodes,
	"websocket":      (*differ).webSocket,
	"mqtt":           (*differ).mqtt,
	"tls":            (*differ).tls,
	"jetstream": func(d *differ, path string) error {
		if d.old.JetStream.Enabled != d.new.JetStream.Enabled {
			d.reloaded(path, "JetStream")
		}
		return nil
	},
	"jetstream.strict": func(d *differ, path string) error {
		old, new := d.old.JetStream, d.new.JetStream
		if old.Enabled && new.Enabled && old.Strict != new.Strict {
			return refused("NoJetStreamStrict", !old.Strict, !new.Strict)
		}
		return nil
	},
	"jetstream.max_memory_store": func(d *differ, path string) error {
		return d.storage(path, "max_mem_store", d.old.JetStream.MaxMemory, d.new.JetStream.MaxMemory)
	},
	"jetstream.max_file_store": func(d *differ, path string) error {
		return d.storage(path, "max_file_store", d.old.JetStream.MaxStore, d.new.JetStream.MaxStore)
	},
	"jetstream.store_dir": func(d *differ, path string) error {
		old, new := d.old.JetStream, d.new.JetStream
		switch {
		case !old.Enabled || !new.Enabled || old.StoreDir == new.StoreDir:
			return nil
		case new.StoreDir == "":
			return errorText("config reload not supported for jetstream storage dir")
		}
		return errorText("config reload not supported for jetstream storage directory")
	},
	"jetstream.limits": func(d *differ, path string) error {
		old, new := d.old.JetStream, d.new.JetStream
		if old.Enabled && new.Enabled && old.Limits != new.Limits {
			return refused("JetStreamLimits", old.Limits, new.Limits)
		}
		return nil
	},
	"jetstream.tpm": func(d *differ, path string) error {
		old, new := d.old.JetStream, d.new.JetStream
		if old.Enabled && new.Enabled && valueOf(old.TPM) != valueOf(new.TPM) {
			return refused("JetStreamTpm", shownTPM(old.TPM), shownTPM(new.TPM))
		}
		return nil
	},
	"jetstream.cipher": func(d *differ, path string) error {
		old, new := d.old.JetStream, d.new.JetStream
		if old.Enabled && new.Enabled && old.Cipher != new.Cipher {
			return refused("JetStreamCipher", CipherName(old.Cipher), CipherName(new.Cipher))
		}
		return nil
	},
	"jetstream.sync_interval": func(d *differ, path string) error {
		switch old, new := d.old.JetStream, d.new.JetStream; {
		case !old.Enabled || !new.Enabled:
			return nil
		case old.SyncInterval != new.SyncInterval:
			return refused("SyncInterval", old.SyncInterval, new.SyncInterval)
		case old.SyncAlways != new.SyncAlways:
			return refused("SyncAlways", old.SyncAlways, new.SyncAlways)
		}
		return nil
	},
	"default_js_domain": func(d *differ, path string) error {
		if old, new := d.old.DefaultJSDomain, d.new.DefaultJSDomain; !maps.Equal(old, new) {
			return refused("JsAccDefaultDomain", old, new)
		}
		return nil
	},
	"feature_flags": func(d *differ, path string) error {
		if old, new := d.old.FeatureFlags, d.new.FeatureFlags; !maps.Equal(old, new) {
			return refused("FeatureFlags", old, new)
		}
		return nil
	},
	"write_timeout": func(d *differ, path string) error {
		if old, new := d.old.WriteTimeout, d.new.WriteTimeout; old != new {
			return refused("WriteTimeout", old, new)
		}
		return nil
	},
	"trusted": func(d *differ, path string) error {
		if old, new := sorted(d.old.TrustedKeys), sorted(d.new.TrustedKeys); !slices.Equal(old, new) {
			return refused("TrustedKeys", old, new)
		}
		return nil
	},
	"operator": func(d *differ, path string) error {
		old, new := operatorsOf(d.old, false), operatorsOf(d.new, false)
		if !slices.Equal(old, new) {
			return refused("TrustedOperators", operatorsOf(d.old, true), operatorsOf(d.new, true))
		}
		return nil
	},
	"resolver": func(d *differ, path string) error {
		if (d.old.Resolver == nil) != (d.new.Resolver == nil) {
			return errorText("config reload does not support moving to or from an account resolver")
		}
		if !reflect.DeepEqual(d.old.Resolver, d.new.Resolver) {
			d.applied(path)
		}
		return nil
	},
	"resolver_tls": func(d *differ, path string) error {
		if d.new.ResolverTLS != nil || d.old.ResolverTLS != nil {
			d.applied(path)
		}
		return nil
	},
	"resolver_preload": func(d *differ, path string) error {
		if !maps.Equal(d.old.ResolverPreload, d.new.ResolverPreload) {
			d.applied(path)
		}
		return nil
	},
	"resolver_pinned_accounts": func(d *differ, path string) error {
		if !slices.Equal(sorted(d.old.ResolverPinnedAccounts), sorted(d.new.ResolverPinnedAccounts)) {
			d.applied(path)
		}
		return nil
	},
	"server_tags": func(d *differ, path string) error {
		if !slices.Equal(sorted(d.old.ServerTags), sorted(d.new.ServerTags)) {
			d.reloaded(path, "tags")
		}
		return nil
	},
	"server_metadata": func(d *differ, path string) error {
		if !maps.Equal(d.old.ServerMetadata, d.new.ServerMetadata) {
			d.reloaded(path, "metadata")
		}
		return nil
	},
	"ocsp": func(d *differ, path string) error {
		if !reflect.DeepEqual(d.old.OCSP, d.new.OCSP) {
			d.reloaded(path, "OCSP")
		}
		return nil
	},
	"ocsp_cache": func(d *differ, path string) error {
		if !reflect.DeepEqual(d.old.OCSPCache, d.new.OCSPCache) {
			d.applied(path, "Reloaded OCSP peer cache")
		}
		return nil
	},
	"proxies": func(d *differ, path string) error {
		added := slices.DeleteFunc(slices.Clone(d.new.ProxyKeys), func(k string) bool { return slices.Contains(d.old.ProxyKeys, k) })
		removed := slices.DeleteFunc(slices.Clone(d.old.ProxyKeys), func(k string) bool { return slices.Contains(d.new.ProxyKeys, k) })
		if len(removed) > 0 {
			d.reloaded(path, "proxies trusted keys %q were removed", removed)
		}
		if len(added) > 0 {
			d.reloaded(path, "proxies trusted keys %q were added", added)
		}
		return nil
	},
}

// credential compares a name, password or token, which is not shown.
func (d *differ) credential(path, what, old, new string) error {
	if old != new {
		d.reloaded(path, "authorization %s", what)
	}
	return nil
}

// storage compares a limit of JetStream, which may grow.
func (d *differ) storage(path, name string, old, new int64) error {
	switch {
	case !d.old.JetStream.Enabled || !d.new.JetStream.Enabled || old == new:
		return nil
	case new == -1:
		return errorText("config reload not supported for jetstream max memory and max store")
	case old == -1:
		return errorText("config reload not supported for jetstream dynamic max memory and store")
	case new < old:
		return errorText("config reload not supported for decreasing jetstream max memory and store")
	}
	d.reloaded(path, "JetStream %s = %s", name, BinarySize(new))
	return nil
}

// BinarySize formats bytes in binary units with two decimals, as in 1.86 GB.
func BinarySize(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	unit, f := -1, float64(n)
	for f >= 1<<10 && unit < 4 {
		f /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.2f %cB", f, "KMGTP"[unit])
}

// tls compares the TLS of clients. Certificates are read again by every reload, so that TLS which is there is always a
// change.
func (d *differ) tls(path string) error {
	off := &TLS{Timeout: defaultTLSTimeout}
	old, new := off, off
	if d.old.TLS != nil {
		old = d.old.TLS
	}
	if d.new.TLS != nil {
		new = d.new.TLS
	}
	if old.Timeout != new.Timeout {
		d.reloaded(path, "tls timeout = %v", new.Timeout.Seconds())
	}
	if old.VerifyAndMap != new.VerifyAndMap {
		return refused("TLSMap", old.VerifyAndMap, new.VerifyAndMap)
	}
	switch {
	case d.new.TLS != nil:
		d.reloaded(path, "tls = enabled")
	case d.old.TLS != nil:
		d.reloaded(path, "tls = disabled")
	}
	if !maps.Equal(old.PinnedCerts, new.PinnedCerts) {
		d.reloaded(path, "%d pinned_certs", len(new.PinnedCerts))
	}
	if old.RateLimit != new.RateLimit {
		return refused("TLSRateLimit", old.RateLimit, new.RateLimit)
	}
	if old.HandshakeFirst != new.HandshakeFirst {
		d.reloaded(path, "Client TLS handshake first: %v", new.HandshakeFirst)
	}
	if old.HandshakeFirstFallback != new.HandshakeFirstFallback {
		d.reloaded(path, "Client TLS handshake first fallback delay: %v", new.HandshakeFirstFallback)
	}
	return nil
}

// nkeysOf returns the nkey users with what they may do, in an order of their own.
func nkeysOf(o *Options) []string {
	var list []string
	add := func(account string, users []*User) {
		for _, u := range users {
			if u.NKey != "" {
				list = append(list, fmt.Sprintf("%s %s %v %v %v", account, u.NKey, describe(u.Permissions), sorted(u.ConnectionTypes), u.ProxyRequired))
			}
		}
	}
	add(GlobalAccount, o.Authorization.Users)
	for _, a := range o.Accounts {
		add(a.Name, a.Users)
	}
	slices.Sort(list)
	return list
}

// describe formats permissions.
func describe(p *Permissions) string {
	if p == nil {
		return ""
	}
	s := fmt.Sprintf("%q %q %q %q", p.Publish.Allow, p.Publish.Deny, p.Subscribe.Allow, p.Subscribe.Deny)
	if p.Responses != nil {
		s += fmt.Sprint(*p.Responses)
	}
	return s
}

// operatorsOf returns the operators: their JWTs, or their names.
func operatorsOf(o *Options, names bool) []string {
	var list []string
	for _, op := range o.Operators {
		if names {
			list = append(list, op.Claims.Subject)
		} else {
			list = append(list, op.JWT)
		}
	}
	slices.Sort(list)
	return list
}

// sorted returns a sorted copy.
func sorted(list []string) []string {
	return slices.Sorted(slices.Values(list))
}

// pointed formats what a pointer refers to; nothing for nil.
func pointed[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%+v", *p)
}

func shownTPM(t *TPM) string {
	c := valueOf(t)
	c.EncryptionPassword, c.SRKPassword = redacted(c.EncryptionPassword), redacted(c.SRKPassword)
	return pointed(&c)
}

// HostPort splits an address to be advertised: a host with or without a port. White space around the port is ignored.
func HostPort(addr string, defaultPort int) (host string, port int, err error) {
	if addr == "" {
		return "", defaultPort, nil
	}
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		if e, ok := err.(*net.AddrError); ok && e.Err == "missing port in address" {
			return addr, defaultPort, nil
		}
		return "", 0, err
	}
	if port, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
		return "", 0, err
	}
	if port == 0 || port == -1 {
		port = defaultPort
	}
	return strings.TrimSpace(host), port, nil
}
