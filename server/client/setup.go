package client

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/server/proxyproto"
	"github.com/natsd/natsd/server/transport"
)

const (
	// proxyTimeout bounds the wait for a PROXY header.
	proxyTimeout = 5 * time.Second
	// inProcessFallback is how long an in-process client may take to begin a TLS
	// handshake.
	inProcessFallback = 50 * time.Millisecond
	// recordTypeHandshake is the first byte of a ClientHello.
	recordTypeHandshake = 0x16
)

// tlsInfo is what monitoring shows of a handshake.
type tlsInfo struct {
	state *tls.ConnectionState
	first bool
}

// setUp takes a connection from accept to its transport: INFO, admission, PROXY
// header, TLS. It returns bytes that were read ahead.
func (c *Client) setUp() (rest []byte, err error) {
	o := c.host.Options()
	t := c.host.ListenerTLS()
	proxied := o.ProxyProtocol && c.typ == NATS
	if !proxied && !c.host.Hold(c.IP()) {
		c.Close(ClientClosed)
		return nil, errClosed
	}
	infoSent := t == nil || (!t.HandshakeFirst && c.typ != InProcess)
	if infoSent {
		if err := c.writeInfo(!o.ProxyProtocol); err != nil {
			return nil, err
		}
	}
	if !c.host.Admit(c) {
		if c.Reason() == 0 {
			c.refuseEarly("maximum connections exceeded", MaxConnectionsExceeded)
		}
		return nil, errClosed
	}
	c.mu.Lock()
	c.state.admitted = true
	c.mu.Unlock()
	if proxied {
		if !infoSent && t.HandshakeFirstFallback > 0 {
			// Who is silent waits for INFO, behind a proxy or not. One whose header comes gets the same time after it.
			if rest, err = c.peek(t.HandshakeFirstFallback); err != nil {
				return nil, err
			}
			if len(rest) == 0 {
				if err := c.writeInfo(false); err != nil {
					return nil, err
				}
				infoSent = true
			}
		}
		if rest, err = c.readProxyHeader(rest); err != nil {
			return nil, err
		}
		if !c.host.Hold(c.IP()) {
			c.Close(ClientClosed)
			return nil, errClosed
		}
	}
	nc := c.nc
	if t != nil {
		if nc, rest, err = c.startTLS(t, rest, infoSent); err != nil {
			return nil, err
		}
	}
	c.open(nc, o)
	return rest, nil
}

// open makes the transport, and starts the timers.
func (c *Client) open(nc net.Conn, o *options.Options) {
	conn := transport.New(nc, transport.Config{
		Owner:         (*writes)(c),
		WriteDeadline: o.WriteDeadline,
		GateAbove:     o.MaxPending / 4 * 3,
		Go:            c.host.Go,
	})
	required := c.host.Users().Required()
	c.mu.Lock()
	c.nc = nc
	c.conn = conn
	if required {
		c.auth = time.AfterFunc(o.Authorization.Timeout, c.authTimeout)
	}
	c.ping.start(c, o.PingInterval)
	if !required {
		c.ident = auth.Identity{Account: options.GlobalAccount}
	}
	c.mu.Unlock()
	c.parser.RequireConnect = required
	c.parser.NoHeaders = true
	if !required {
		c.Account().Bind()
	}
	c.applyLimits()
	c.lastActivity.Store(c.start.UnixNano())
}

// writeInfo writes the first INFO, before there is a transport.
func (c *Client) writeInfo(withIP bool) error {
	info := c.host.Info(c)
	info.Nonce = c.nonce
	if !withIP {
		info.ClientIP = ""
	}
	return c.writeNow(info.Append(nil))
}

func (c *Client) writeNow(b []byte) error {
	if d := c.host.Options().WriteDeadline; d > 0 {
		c.nc.SetWriteDeadline(time.Now().Add(d))
		defer c.nc.SetWriteDeadline(time.Time{})
	}
	_, err := c.nc.Write(b)
	return err
}

// refuseEarly sends an error line before there is a transport, and closes.
func (c *Client) refuseEarly(text string, r Reason) {
	c.traceOut("[-ERR %s]", text)
	c.writeNow([]byte("-ERR '" + text + "'\r\n"))
	c.Close(r)
}

// readProxyHeader reads a header that may begin in head; rest is what was read of what follows it.
func (c *Client) readProxyHeader(head []byte) (rest []byte, err error) {
	ahead := bytes.NewReader(head)
	c.nc.SetReadDeadline(time.Now().Add(proxyTimeout))
	src, rest, err := proxyproto.Read(io.MultiReader(ahead, c.nc))
	c.nc.SetReadDeadline(time.Time{})
	rest = append(rest, head[len(head)-ahead.Len():]...)
	if err != nil {
		c.host.Warnf("Error reading PROXY protocol header from %s: %v", c.nc.RemoteAddr(), err)
		c.Close(ProtocolViolation)
		return nil, err
	}
	if src != nil {
		c.mu.Lock()
		c.addr = src
		c.label = c.makeLabel()
		c.mu.Unlock()
	}
	return rest, nil
}

// startTLS decides between TLS and clear text and makes the handshake. The
// result is the connection to go on with.
func (c *Client) startTLS(t *options.TLS, rest []byte, infoSent bool) (net.Conn, []byte, error) {
	o := c.host.Options()
	optional := o.AllowNonTLS || c.typ == InProcess
	if !infoSent {
		fallback := t.HandshakeFirstFallback
		if c.typ == InProcess {
			fallback = inProcessFallback
		}
		if fallback == 0 {
			optional = false
		} else if len(rest) == 0 {
			var err error
			if rest, err = c.peek(fallback); err != nil {
				return nil, nil, err
			}
			if len(rest) == 0 {
				// Nobody began a handshake: INFO goes first after all.
				if err := c.writeInfo(true); err != nil {
					return nil, nil, err
				}
				infoSent = true
			} else {
				optional = false
			}
		}
	}
	if optional {
		if len(rest) == 0 {
			var err error
			if rest, err = c.peek(t.Timeout); err != nil {
				return nil, nil, err
			}
		}
		if len(rest) == 0 || rest[0] != recordTypeHandshake {
			return c.nc, rest, nil
		}
	}
	if !c.host.AllowTLS() {
		c.refuseEarly("Connection throttling is active. Please try again later.", MaxConnectionsExceeded)
		return nil, nil, errClosed
	}
	below := &handshaking{Conn: c.nc, head: rest}
	tc := tls.Server(below, c.host.ServerTLS(t))
	tc.SetDeadline(time.Now().Add(t.Timeout))
	err := tc.Handshake()
	below.rest()
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.host.Errorf("%s - TLS handshake timeout", c.Label())
			c.refuseEarly("Secure Connection - TLS Required", TLSHandshakeError)
		} else {
			c.host.Errorf("%s - TLS handshake error: %v", c.Label(), err)
			c.Close(TLSHandshakeError)
		}
		return nil, nil, err
	}
	tc.SetDeadline(time.Time{})
	state := tc.ConnectionState()
	c.mu.Lock()
	c.tlsConn = tlsInfo{state: &state, first: !infoSent}
	c.nc = tc
	c.mu.Unlock()
	if !infoSent {
		if err := c.writeInfo(true); err != nil {
			return nil, nil, err
		}
	}
	return tc, nil, nil
}

// peek waits for the first bytes, at most d; none is not an error.
func (c *Client) peek(d time.Duration) ([]byte, error) {
	buf := make([]byte, 512)
	c.nc.SetReadDeadline(time.Now().Add(d))
	n, err := c.nc.Read(buf)
	c.nc.SetReadDeadline(time.Time{})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	return buf[:n], nil
}

func (c *Client) authTimeout() {
	c.CloseErr("Authentication Timeout", AuthenticationTimeout)
}

// writes is the Owner of the client's transport.
type writes Client

func (w *writes) WriteFailed(err error) {
	c := (*Client)(w)
	c.Debugf("Error flushing: %v", err)
	c.Close(WriteError)
}

func (w *writes) WriteTimeout(t transport.Timeout) bool {
	c := (*Client)(w)
	c.mu.Lock()
	waiting := c.ident.Account == ""
	was := c.slow
	retry := c.host.Options().WriteTimeout == options.WriteTimeoutRetry && t.Written && c.tlsConn.state == nil && !waiting
	c.slow = retry
	c.mu.Unlock()
	if !waiting {
		c.host.SlowConsumer(c)
		c.Account().Stats().SlowConsumers.Add(1)
		word := "Detected"
		if was {
			word = "State"
		}
		c.host.Noticef("%s - Slow Consumer %s: WriteDeadline of %v exceeded with %d chunks of %d total bytes.", c.Label(), word, t.After, t.Chunks, t.Bytes)
	}
	if !retry {
		c.Close(SlowConsumerWriteDeadline)
	}
	return retry
}

func (w *writes) WriteRecovered(t transport.Timeout) {
	c := (*Client)(w)
	c.mu.Lock()
	c.slow = false
	c.mu.Unlock()
	c.host.Noticef("%s - Slow Consumer Recovered: Flush took %.3fs with %d chunks of %d total bytes.", c.Label(), t.After.Seconds(), t.Chunks, t.Bytes)
}

var (
	_ account.Receiver = (*Client)(nil)
	_ transport.Owner  = (*writes)(nil)
	_ fmt.Stringer     = Reason(0)
)
