package options

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/natsd/natsd/server/conf"
)

var gatewayTable = newTable("gateway",
	str("name", func(o *Options) *string { return &o.Gateway.Name }).limits("no spaces").doc("name of this cluster").
		check(func(_ string, o *Options) error {
			if strings.Contains(o.Gateway.Name, " ") {
				return errorText("gateway name cannot contain spaces")
			}
			return nil
		}),
	listen("listen", func(o *Options) (*string, *int) { return &o.Gateway.Host, &o.Gateway.Port }).doc("host and port for gateways"),
	str("host", func(o *Options) *string { return &o.Gateway.Host }).alias("net").def(`"0.0.0.0"`).doc("host for gateways"),
	integer("port", func(o *Options) *int { return &o.Gateway.Port }).limits("-1 is a random port").def("off").doc("port for gateways"),
	linkAuthorization("Gateway", func(o *Options) *LinkAuthorization { return &o.Gateway.Authorization }),
	custom("tls", "block", func(r *reader, e *conf.Entry, o *Options) (err error) {
		o.Gateway.TLS, err = r.tls(e, tlsPeer)
		return err
	}).of(tlsTable).doc("TLS of gateways, with certificates on both sides").live(""),
	str("advertise", func(o *Options) *string { return &o.Gateway.Advertise }).doc("`host[:port]` to tell other clusters"),
	integer("connect_retries", func(o *Options) *int64 { return &o.Gateway.ConnectRetries }).
		doc("attempts to reach a cluster that others told of"),
	boolean("connect_backoff", func(o *Options) *bool { return &o.Gateway.ConnectBackoff }).since("2.12").
		doc("wait longer after each failed attempt"),
	boolean("reject_unknown_cluster", func(o *Options) *bool { return &o.Gateway.RejectUnknown }).alias("reject_unknown").
		doc("refuse clusters that are not in `gateways`"),
	duration("write_deadline", func(o *Options) *time.Duration { return &o.Gateway.WriteDeadline }).def("of the server").
		doc("time a write to a gateway may take"),
	writeTimeout(func(o *Options) *WriteTimeout { return &o.Gateway.WriteTimeout }),
	custom("gateways", "list of blocks", readRemoteGateways).of(remoteGatewayTable).doc("the other clusters"),
)

var remoteGatewayTable = newTable("gateways",
	str("name", func(g *RemoteGateway) *string { return &g.Name }).doc("name of the cluster"),
	custom("url", "string", func(r *reader, e *conf.Entry, g *RemoteGateway) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		u, err := url.Parse(s)
		if err != nil {
			return fmt.Errorf("error parsing gateway url [%q]", redactURL(s))
		}
		g.URLs = append(g.URLs, u)
		return nil
	}).doc("URL of a server there"),
	custom("urls", "list", func(r *reader, e *conf.Entry, g *RemoteGateway) error {
		urls, err := r.urls(e, "gateway")
		g.URLs = urls
		return err
	}).doc("URLs of servers there"),
	custom("tls", "block", func(r *reader, e *conf.Entry, g *RemoteGateway) (err error) {
		g.TLS, err = r.tls(e, tlsPeer)
		return err
	}).of(tlsTable).doc("TLS towards them"),
)

func readGateway(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("Expected gateway to be a map, got %s", e.Value.Kind)
	}
	gatewayTable.read(r, e, o)
	return nil
}

func readRemoteGateways(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Array {
		return errPlain{fmt.Errorf("Expected gateways field to be an array, got %s", e.Value.Kind)}
	}
	o.Gateway.Gateways = nil
	for _, v := range e.Value.Elems {
		if v.Kind != conf.Map {
			r.errorf(v.Pos, "Expected gateway entry to be a map/struct, got %v", v)
			continue
		}
		var g RemoteGateway
		if remoteGatewayTable.read(r, &conf.Entry{Key: e.Key, Pos: e.Pos, Value: v}, &g) == errEnded {
			return nil
		}
		o.Gateway.Gateways = append(o.Gateway.Gateways, g)
	}
	return nil
}
