package options

import (
	"fmt"
	"time"

	"github.com/natsd/natsd/server/conf"
)

var webSocketTable = newTable("websocket",
	listen("listen", func(o *Options) (*string, *int) { return &o.WebSocket.Host, &o.WebSocket.Port }).doc("host and port"),
	str("host", func(o *Options) *string { return &o.WebSocket.Host }).alias("net").def(`"0.0.0.0"`).doc("host"),
	integer("port", func(o *Options) *int { return &o.WebSocket.Port }).limits("-1 is a random port").def("off").doc("port"),
	str("advertise", func(o *Options) *string { return &o.WebSocket.Advertise }).doc("`host[:port]` to tell clients"),
	boolean("no_tls", func(o *Options) *bool { return &o.WebSocket.NoTLS }).doc("accept clear-text clients; else `tls` is required"),
	custom("tls", "block", func(r *reader, e *conf.Entry, o *Options) (err error) {
		o.WebSocket.TLS, err = r.tls(e, tlsServer)
		return err
	}).of(tlsTable).doc("TLS").live(""),
	boolean("same_origin", func(o *Options) *bool { return &o.WebSocket.SameOrigin }).doc("the Origin header must be that of the request"),
	stringList("allowed_origins", "allowed origins", func(o *Options) *[]string { return &o.WebSocket.AllowedOrigins }).
		alias("allowed_origin", "allow_origins", "allow_origin", "origins", "origin").doc("Origin headers that are accepted").def("all"),
	custom("handshake_timeout", "seconds or duration", func(_ *reader, e *conf.Entry, o *Options) (err error) {
		switch e.Value.Kind {
		case conf.Int:
			o.WebSocket.HandshakeTimeout = seconds(float64(e.Value.Int))
		case conf.String:
			o.WebSocket.HandshakeTimeout, err = time.ParseDuration(e.Value.Str)
		default:
			err = fmt.Errorf("error parsing handshake timeout: unsupported type %s", e.Value.Kind)
		}
		return err
	}).doc("time for the upgrade").def("those of TLS and authorization"),
	boolean("compression", func(o *Options) *bool { return &o.WebSocket.Compression }).alias("compress").doc("compress, with clients that ask for it"),
	listenerAuthorization(func(o *Options) *ListenerAuthorization { return &o.WebSocket.Authorization }),
	str("jwt_cookie", func(o *Options) *string { return &o.WebSocket.JWTCookie }).doc("cookie with the user JWT"),
	str("user_cookie", func(o *Options) *string { return &o.WebSocket.UserCookie }).since("2.11").doc("cookie with the name"),
	str("pass_cookie", func(o *Options) *string { return &o.WebSocket.PassCookie }).since("2.11").doc("cookie with the password"),
	str("token_cookie", func(o *Options) *string { return &o.WebSocket.TokenCookie }).since("2.11").doc("cookie with the token"),
	str("no_auth_user", func(o *Options) *string { return &o.WebSocket.NoAuthUser }).doc("user of clients without credentials"),
	custom("headers", "map of strings", func(r *reader, e *conf.Entry, o *Options) error {
		if e.Value.Kind != conf.Map {
			return fmt.Errorf("error parsing headers: unsupported type %s", e.Value.Kind)
		}
		o.WebSocket.Headers = make(map[string]string, len(e.Value.Items))
		for _, h := range e.Value.Items {
			if h.Value.Kind != conf.String {
				r.errorf(h.Pos, "error parsing header key %s: unsupported type %s", h.Key, h.Value.Kind)
				continue
			}
			o.WebSocket.Headers[h.Key] = h.Value.Str
		}
		return nil
	}).since("2.11").doc("headers of the answer to the upgrade"),
	duration("ping_interval", func(o *Options) *time.Duration { return &o.WebSocket.PingInterval }).since("2.11.12").def("of the server").
		doc("time between pings"),
)

func readWebSocket(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("Expected websocket to be a map, got %s", e.Value.Kind)
	}
	webSocketTable.read(r, e, o)
	return nil
}
