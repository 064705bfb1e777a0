package options

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/natsd/natsd/server/conf"
)

// maxRoutePing is the longest ping interval of routes.
const maxRoutePing = 30 * time.Second

var clusterTable = newTable("cluster",
	str("name", func(o *Options) *string { return &o.Cluster.Name }).limits("no spaces").def("the gateway's name, or generated").
		doc("name of the cluster").live("").
		check(func(_ string, o *Options) error {
			if strings.Contains(o.Cluster.Name, " ") {
				return errorText("cluster name cannot contain spaces")
			}
			return nil
		}),
	listen("listen", func(o *Options) (*string, *int) { return &o.Cluster.Host, &o.Cluster.Port }).
		doc("host and port for routes").fixed("cluster host"),
	str("host", func(o *Options) *string { return &o.Cluster.Host }).alias("net").def(`"0.0.0.0"`).doc("host for routes").fixed("cluster host"),
	integer("port", func(o *Options) *int { return &o.Cluster.Port }).limits("-1 is a random port").def("off").
		doc("port for routes").fixed("cluster port"),
	linkAuthorization("Cluster", func(o *Options) *LinkAuthorization { return &o.Cluster.Authorization }).live(""),
	custom("routes", "list", func(r *reader, e *conf.Entry, o *Options) (err error) {
		o.Cluster.Routes, err = r.urls(e, "route")
		return err
	}).doc("URLs of the other servers").live("cluster routes"),
	custom("tls", "block", func(r *reader, e *conf.Entry, o *Options) (err error) {
		o.Cluster.TLS, err = r.tls(e, tlsPeer)
		return err
	}).of(tlsTable).doc("TLS of routes, with certificates on both sides").live(""),
	str("advertise", func(o *Options) *string { return &o.Cluster.Advertise }).alias("cluster_advertise").
		doc("`host[:port]` to tell the other servers").live(""),
	boolean("no_advertise", func(o *Options) *bool { return &o.Cluster.NoAdvertise }).
		doc("do not tell clients about the servers of the cluster").live(""),
	integer("connect_retries", func(o *Options) *int64 { return &o.Cluster.ConnectRetries }).
		doc("attempts to reach a server that others told of").live(""),
	boolean("connect_backoff", func(o *Options) *bool { return &o.Cluster.ConnectBackoff }).since("2.12").
		doc("wait longer after each failed attempt, from 1s to 30s").live(""),
	custom("permissions", "block", func(r *reader, e *conf.Entry, o *Options) error {
		p, err := r.permissions(e)
		if err != nil {
			return err
		}
		if p.Responses != nil {
			return errorText("Cluster permissions do not support dynamic responses")
		}
		o.Cluster.Permissions = p
		return nil
	}).doc("subjects that cross routes: `import` and `export`").def("all").live(""),
	integer("pool_size", func(o *Options) *int64 { return &o.Cluster.PoolSize }).since("2.10").limits("negative is no pooling").
		doc("connections to each server").live(""),
	stringList("accounts", "accounts", func(o *Options) *[]string { return &o.Cluster.Accounts }).since("2.10").
		doc("accounts with a connection of their own; the system account is one when pooling is on").live(""),
	compression(func(o *Options) *Compression { return &o.Cluster.Compression }, "s2_fast").def(`"accept"`).live(""),
	duration("ping_interval", func(o *Options) *time.Duration { return &o.Cluster.PingInterval }).since("2.10.11").limits("..30s").def("of the server, at most 30s").
		doc("time between pings").live(""),
	integer("ping_max", func(o *Options) *int64 { return &o.Cluster.PingMax }).since("2.10.11").def("of the server").
		doc("unanswered pings before a route is stale").live(""),
	duration("write_deadline", func(o *Options) *time.Duration { return &o.Cluster.WriteDeadline }).since("2.11.12").def("of the server").
		doc("time a write to a route may take").live(""),
	writeTimeout(func(o *Options) *WriteTimeout { return &o.Cluster.WriteTimeout }).live(""),
)

func readCluster(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("Expected map to define cluster, got %s", e.Value.Kind)
	}
	clusterTable.read(r, e, o)
	if o.Cluster.PingInterval > maxRoutePing {
		r.warnf(lastKey(e.Value), "Cluster 'ping_interval' will reset to 30s which is the max for routes")
		o.Cluster.PingInterval = maxRoutePing
	}
	return nil
}

// urls reads a list of URLs; kind names them in errors. Of duplicates the first is kept.
func (r *reader) urls(e *conf.Entry, kind string) ([]*url.URL, error) {
	texts, err := elements(e.Value)
	if err != nil {
		return nil, err
	}
	var list []*url.URL
	seen := make(map[string]bool)
	for i, s := range texts {
		v := e.Value.Elems[i]
		s = strings.TrimSpace(s)
		if seen[s] {
			r.misuse(v.Pos, redactURL(s), "Duplicate %s entry detected", kind)
			continue
		}
		seen[s] = true
		u, err := url.Parse(s)
		if err != nil {
			r.errorf(v.Pos, "error parsing %s url [%q]", kind, redactURL(s))
			continue
		}
		list = append(list, u)
	}
	return list, nil
}

// redactURL hides the password of a URL.
func redactURL(s string) string {
	if u, err := url.Parse(s); err == nil {
		return u.Redacted()
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if i := strings.LastIndexByte(rest, '@'); ok && i >= 0 {
		return scheme + "://xxxxx@" + rest[i+1:]
	}
	return s
}

// compression reads the compression of a link; on is the mode of true.
func compression[T any](at func(*T) *Compression, on string) *row[T] {
	return custom("compression", "boolean, string or block", func(r *reader, e *conf.Entry, dst *T) error {
		c := at(dst)
		switch v := e.Value; v.Kind {
		case conf.String:
			*c = Compression{Mode: v.Str}
		case conf.Bool:
			*c = Compression{Mode: "off"}
			if v.Bool {
				c.Mode = on
			}
		case conf.Map:
			*c = Compression{}
			compressionTable.read(r, e, c)
		default:
			return fmt.Errorf("field %q should be a boolean or a structure, got %s", e.Key, v.Kind)
		}
		return nil
	}).of(compressionTable).since("2.10").
		doc("compression: `off`, `accept`, `s2_auto` (by round-trip time), `s2_fast`, `s2_better`, `s2_best`")
}

var compressionTable = newTable("compression",
	str("mode", func(c *Compression) *string { return &c.Mode }).doc("the mode"),
	custom("rtt_thresholds", "list of durations", func(_ *reader, e *conf.Entry, c *Compression) error {
		texts, err := elements(e.Value)
		if err != nil {
			return err
		}
		c.RTTThresholds = nil
		for i, s := range texts {
			d, err := time.ParseDuration(s)
			if err != nil {
				return at(e.Value.Elems[i], err)
			}
			c.RTTThresholds = append(c.RTTThresholds, d)
		}
		return nil
	}).alias("thresholds", "rtts", "rtt").doc("round-trip times of `s2_auto`: below the first off, then fast, better, best").def("10ms, 50ms, 100ms"),
)
