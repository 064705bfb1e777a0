package options

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// urlsOf returns URLs as text, sorted; with secrets, or fit for a message.
func urlsOf(urls []*url.URL, secrets bool) []string {
	var list []string
	for _, u := range urls {
		if secrets {
			list = append(list, u.String())
		} else {
			list = append(list, u.Redacted())
		}
	}
	slices.Sort(list)
	return list
}

// secret returns a secret, or what is shown of it.
func secret(s string, secrets bool) string {
	if secrets {
		return s
	}
	return redacted(s)
}

// material is what of a tls block is not read from files.
type material struct {
	On      bool
	Timeout time.Duration
	Map     bool
	Pinned  []string
}

// materialOf describes a tls block; pins tells whether pinned certificates count.
func materialOf(t *TLS, pins bool) material {
	if t == nil {
		return material{}
	}
	m := material{On: true, Timeout: t.Timeout, Map: t.VerifyAndMap}
	if pins {
		for p := range t.PinnedCerts {
			m.Pinned = append(m.Pinned, p)
		}
		slices.Sort(m.Pinned)
	}
	return m
}

// cluster compares the block except its routes.
func (d *differ) cluster(path string) error {
	old, new := &d.old.Cluster, &d.new.Cluster
	if old.Host != new.Host {
		return refused("cluster host", old.Host, new.Host)
	}
	if old.Port != new.Port {
		return refused("cluster port", old.Port, new.Port)
	}
	if _, _, err := HostPort(new.Advertise, new.Port); err != nil {
		return fmt.Errorf("invalid Cluster.Advertise value of %s, err=%w", new.Advertise, err)
	}
	if new.Port != 0 {
		for _, a := range new.Accounts {
			if !d.new.HasAccount(a) && a != GlobalAccount && a != d.new.SystemAccountName() && !d.new.operatorMode() {
				return fmt.Errorf("unable to add account %q to the list of dedicated routes: account missing", a)
			}
		}
	}
	view := func(c *Cluster) Cluster {
		v := *c
		v.Routes, v.TLS = nil, nil
		v.Accounts = sorted(c.Accounts)
		return v
	}
	if new.TLS != nil || old.TLS != nil || !reflect.DeepEqual(view(old), view(new)) {
		d.reloaded(path, "cluster")
	}
	return nil
}

// routes compares the URLs of routes.
func (d *differ) routes(path string) error {
	if !slices.Equal(urlsOf(d.old.Cluster.Routes, true), urlsOf(d.new.Cluster.Routes, true)) {
		d.reloaded(path, "cluster routes")
	}
	return nil
}

// gatewayView is what of a gateway block may not change.
type gatewayView struct {
	Name, Host     string
	Port           int
	Authorization  LinkAuthorization
	TLS            material
	Advertise      string
	ConnectRetries int64
	ConnectBackoff bool
	RejectUnknown  bool
	WriteDeadline  time.Duration
	WriteTimeout   WriteTimeout
	Gateways       []string
}

func viewGateway(g *Gateway, secrets bool) gatewayView {
	v := gatewayView{
		g.Name, g.Host, g.Port, g.Authorization, materialOf(g.TLS, false), g.Advertise, g.ConnectRetries, g.ConnectBackoff,
		g.RejectUnknown, g.WriteDeadline, g.WriteTimeout, nil,
	}
	v.Authorization.Password = secret(v.Authorization.Password, secrets)
	for _, r := range g.Gateways {
		v.Gateways = append(v.Gateways, fmt.Sprint(r.Name, urlsOf(r.URLs, secrets), materialOf(r.TLS, false)))
	}
	slices.Sort(v.Gateways)
	return v
}

func (d *differ) gateway(path string) error {
	old, new := &d.old.Gateway, &d.new.Gateway
	if !reflect.DeepEqual(viewGateway(old, true), viewGateway(new, true)) {
		return refused("Gateway", viewGateway(old, false), viewGateway(new, false))
	}
	if new.TLS != nil || slices.ContainsFunc(new.Gateways, func(g RemoteGateway) bool { return g.TLS != nil }) {
		d.applied(path)
	}
	return nil
}

// viewWebSocket is what of the block may not change.
func viewWebSocket(w *WebSocket, secrets bool) any {
	v := *w
	v.TLS = nil
	v.AllowedOrigins = sorted(w.AllowedOrigins)
	v.Authorization.Password = secret(w.Authorization.Password, secrets)
	v.Authorization.Token = secret(w.Authorization.Token, secrets)
	return struct {
		WebSocket
		Material material
	}{v, materialOf(w.TLS, true)}
}

func (d *differ) webSocket(path string) error {
	old, new := &d.old.WebSocket, &d.new.WebSocket
	if !reflect.DeepEqual(viewWebSocket(old, true), viewWebSocket(new, true)) {
		return refused("Websocket", viewWebSocket(old, false), viewWebSocket(new, false))
	}
	if new.TLS != nil {
		d.applied(path)
	}
	return nil
}

// viewMQTT is what of the block may not change.
func viewMQTT(m *MQTT, secrets bool) any {
	v := *m
	v.TLS = nil
	v.AckWait, v.MaxAckPending, v.StreamReplicas = 0, 0, 0
	v.ConsumerMemoryStorage, v.ConsumerInactiveThreshold = false, 0
	v.Authorization.Password = secret(m.Authorization.Password, secrets)
	v.Authorization.Token = secret(m.Authorization.Token, secrets)
	return struct {
		MQTT
		Material material
	}{v, materialOf(m.TLS, true)}
}

func (d *differ) mqtt(path string) error {
	old, new := &d.old.MQTT, &d.new.MQTT
	if !reflect.DeepEqual(viewMQTT(old, true), viewMQTT(new, true)) {
		return refused("MQTT", viewMQTT(old, false), viewMQTT(new, false))
	}
	a, b := *old, *new
	a.TLS, b.TLS = nil, nil
	if a == b {
		if new.TLS != nil {
			d.applied(path)
		}
		return nil
	}
	d.applied(path,
		fmt.Sprintf("Reloaded: MQTT ack_wait = %v", new.AckWait),
		fmt.Sprintf("Reloaded: MQTT max_ack_pending = %v", new.MaxAckPending),
		fmt.Sprintf("Reloaded: MQTT stream_replicas = %v", new.StreamReplicas),
		"Reloaded: MQTT consumer_replicas = 0",
		fmt.Sprintf("Reloaded: MQTT consumer_memory_storage = %v", new.ConsumerMemoryStorage),
		fmt.Sprintf("Reloaded: MQTT consumer_inactive_threshold = %v", new.ConsumerInactiveThreshold))
	return nil
}

// field is a value that may not change, with the name that the refusal calls it.
type field struct {
	name     string
	old, new any
}

// firstChanged returns the first field that differs.
func firstChanged(fields []field) (field, bool) {
	for _, f := range fields {
		if !reflect.DeepEqual(f.old, f.new) {
			return f, true
		}
	}
	return field{}, false
}

// tlsOr returns a tls block, or an empty one.
func tlsOr(t *TLS) *TLS {
	if t == nil {
		return &TLS{Timeout: defaultTLSTimeout}
	}
	return t
}

// pins returns pinned certificates in order.
func pins(t *TLS) []string { return materialOf(t, true).Pinned }

// leafUsersOf describes users in an order of their own.
func leafUsersOf(a *LeafAuthorization, secrets bool) []string {
	var list []string
	for _, u := range a.Users {
		list = append(list, fmt.Sprint(u.Username, " ", secret(u.Password, secrets), " ", u.Account, " ", u.ProxyRequired))
	}
	slices.Sort(list)
	return list
}

// leafNodes compares the block: what stays fixed, then what may change, then the remotes.
func (d *differ) leafNodes(path string) error {
	old, new := &d.old.LeafNodes, &d.new.LeafNodes
	a, b := &old.Authorization, &new.Authorization
	ta, tb := tlsOr(old.TLS), tlsOr(new.TLS)
	f, changed := firstChanged([]field{
		{"Host", old.Host, new.Host},
		{"Port", old.Port, new.Port},
		{"Username", a.Username, b.Username},
		{"Password", a.Password, b.Password},
		{"ProxyRequired", a.ProxyRequired, b.ProxyRequired},
		{"Nkey", a.NKey, b.NKey},
		{"Account", a.Account, b.Account},
		{"Users", leafUsersOf(a, true), leafUsersOf(b, true)},
		{"AuthTimeout", a.Timeout.Seconds(), b.Timeout.Seconds()},
		{"TLSTimeout", ta.Timeout.Seconds(), tb.Timeout.Seconds()},
		{"TLSMap", ta.VerifyAndMap, tb.VerifyAndMap},
		{"TLSPinnedCerts", pins(ta), pins(tb)},
		{"Advertise", old.Advertise, new.Advertise},
		{"NoAdvertise", old.NoAdvertise, new.NoAdvertise},
		{"ReconnectInterval", old.ReconnectInterval, new.ReconnectInterval},
		{"WriteDeadline", old.WriteDeadline, new.WriteDeadline},
		{"WriteTimeout", old.WriteTimeout, new.WriteTimeout},
		{"MinVersion", old.MinVersion, new.MinVersion},
		{"IsolateLeafnodeInterest", old.IsolateLeafnodeInterest, new.IsolateLeafnodeInterest},
		{"DialTimeout", old.DialTimeout, new.DialTimeout},
	})
	if changed {
		switch f.name {
		case "Password":
			f.old, f.new = redacted(a.Password), redacted(b.Password)
		case "Users":
			f.old, f.new = leafUsersOf(a, false), leafUsersOf(b, false)
		}
		return refused(fmt.Sprintf("LeafNode: field %q", f.name), f.old, f.new)
	}
	var lines []string
	lines = append(lines, handshakeLines("LeafNode", ta, tb)...)
	if !reflect.DeepEqual(old.Compression, new.Compression) {
		lines = append(lines, fmt.Sprintf("Reloaded: LeafNode Compression value is: %v", new.Compression))
	}
	remotes, err := d.leafRemotes()
	if err != nil {
		return err
	}
	if lines = append(lines, remotes...); len(lines) > 0 || new.TLS != nil || !sameRemotes(old, new) {
		d.applied(path, lines...)
	}
	return nil
}

// handshakeLines tells what changed about the handshake before INFO; who begins the lines.
func handshakeLines(who string, old, new *TLS) []string {
	var lines []string
	if old.HandshakeFirst != new.HandshakeFirst {
		lines = append(lines, fmt.Sprintf("Reloaded: %s TLS HandshakeFirst value is: %v", who, new.HandshakeFirst))
	}
	if old.HandshakeFirstFallback != new.HandshakeFirstFallback {
		lines = append(lines, fmt.Sprintf("Reloaded: %s TLS HandshakeFirstFallback value is: %v", who, new.HandshakeFirstFallback))
	}
	return lines
}

// sameRemotes tells whether the same remotes are configured.
func sameRemotes(old, new *LeafNodes) bool {
	keys := func(l *LeafNodes) []string {
		var list []string
		for _, r := range l.Remotes {
			list = append(list, r.key())
		}
		slices.Sort(list)
		return list
	}
	return slices.Equal(keys(old), keys(new))
}

// Remote returns the remote with the same identity as r; nil if there is none.
func (l *LeafNodes) Remote(r *LeafRemote) *LeafRemote {
	for _, x := range l.Remotes {
		if x.key() == r.key() {
			return x
		}
	}
	return nil
}

// leafRemotes compares the remotes that stay, and tells of those that go.
func (d *differ) leafRemotes() ([]string, error) {
	var lines []string
	for _, r := range d.old.LeafNodes.Remotes {
		if d.new.LeafNodes.Remote(r) == nil {
			lines = append(lines, fmt.Sprintf("Reloaded: LeafNode R%s removed", strings.TrimPrefix(r.Identity(), "r")))
		}
	}
	for _, r := range d.new.LeafNodes.Remotes {
		o := d.old.LeafNodes.Remote(r)
		if o == nil {
			continue
		}
		to, tr := tlsOr(o.TLS), tlsOr(r.TLS)
		proxy := func(p LeafProxy) LeafProxy { p.Password = redacted(p.Password); return p }
		f, changed := firstChanged([]field{
			{"NoRandomize", o.NoRandomize, r.NoRandomize},
			{"TLSTimeout", to.Timeout.Seconds(), tr.Timeout.Seconds()},
			{"Hub", o.Hub, r.Hub},
			{"DenyImports", sorted(o.DenyImports), sorted(r.DenyImports)},
			{"DenyExports", sorted(o.DenyExports), sorted(r.DenyExports)},
			{"FirstInfoTimeout", o.FirstInfoTimeout, r.FirstInfoTimeout},
			{"DialTimeout", o.DialTimeout, r.DialTimeout},
			{"Websocket", [2]bool{o.WSCompression, o.WSNoMasking}, [2]bool{r.WSCompression, r.WSNoMasking}},
			{"Proxy", o.Proxy, r.Proxy},
			{"JetStreamClusterMigrate", o.JetStreamClusterMigrate, r.JetStreamClusterMigrate},
			{"JetStreamClusterMigrateDelay", o.JetStreamClusterMigrateTime, r.JetStreamClusterMigrateTime},
			{"LocalIsolation", o.IsolateLeafnodeInterest, r.IsolateLeafnodeInterest},
			{"RequestIsolation", o.RequestIsolation, r.RequestIsolation},
			{"IgnoreDiscoveredServers", o.IgnoreDiscoveredServers, r.IgnoreDiscoveredServers},
		})
		if changed {
			if f.name == "Proxy" {
				f.old, f.new = proxy(o.Proxy), proxy(r.Proxy)
			}
			return nil, refused(fmt.Sprintf("LeafNode: %s: field %q", r.Identity(), f.name), f.old, f.new)
		}
		who := "LeafNode R" + strings.TrimPrefix(r.Identity(), "r")
		if o.Disabled != r.Disabled {
			lines = append(lines, fmt.Sprintf("Reloaded: %s Disabled value is: %v", who, r.Disabled))
		}
		if !reflect.DeepEqual(o.Compression, r.Compression) {
			lines = append(lines, fmt.Sprintf("Reloaded: %s Compression value is: %v", who, r.Compression))
		}
		lines = append(lines, handshakeLines(who, to, tr)...)
	}
	return lines, nil
}
