package client

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/logging"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/server/transport"
)

// Client is one client connection.
//
// Its read loop, the goroutine that runs Serve, owns the fields without other
// words. Deliveries come from the goroutines of other connections; they use
// bound, conn and the atomics only.
type Client struct {
	host  Host
	id    uint64
	typ   Type
	start time.Time
	nonce string

	// conn is set before the connection can have a subscription.
	conn   *transport.Conn
	bound  atomic.Pointer[binding]
	reason atomic.Uint32 // a Reason; 0 while open
	closed atomic.Bool
	filter atomic.Bool // deliveries are checked one by one

	// login is held while the identity changes: by CONNECT, and by a reload.
	login   sync.Mutex
	grants  *grants     // of the login; guarded by login
	parting sync.Mutex  // held by depart
	revised atomic.Bool // permissions or limits changed; the read loop has yet to notice

	parser  natsproto.Parser
	prod    account.Producer
	msg     account.Msg
	partial bool // an operation is under way since an earlier read
	lone    bool // what is being flushed is all that a read brought, one message
	judged  bool // checkPedantic has seen the message whose payload is awaited

	perms permissionCache
	churn churn
	in    struct{ msgs, bytes int64 } // not yet counted

	inMsgs, inBytes atomic.Int64
	stalls          atomic.Int64
	stallWarned     logging.Seldom
	stuck           stuckTurn
	lastActivity    atomic.Int64 // Unix nanoseconds

	mu      sync.Mutex // guards the rest
	nc      net.Conn
	addr    net.Addr
	opts    natsproto.Connect
	ident   auth.Identity
	subs    map[string]*account.Sub
	state   connState
	ping    pinger
	auth    *time.Timer
	expiry  *time.Timer // of the login; nil: none
	stop    time.Time
	label   string
	maxSubs int64
	slow    bool // a write timed out and is being retried
	tlsConn tlsInfo
}

// connState is how far a connection got.
type connState struct {
	admitted  bool
	listed    bool // as closed
	connected bool // a CONNECT was accepted
	guest     bool // logged in by its first verb, before any CONNECT
	pinged    bool // the first PING behind a CONNECT was answered
}

// binding is what deliveries and publishes need to know of the login. It is
// immutable.
type binding struct {
	acc          *account.Account
	perms        *auth.Permissions
	echo         bool
	headers      bool
	noResponders bool
	verbose      bool
	pedantic     bool
	system       bool // acc is the system account
	user         auth.Limits
	grants       *grants
}

// leaveWait is how long the socket of a connection that is closed stays open while its
// read loop is at work elsewhere.
const leaveWait = 100 * time.Millisecond

// errClosed ends the read loop of a connection that was closed on this side.
var errClosed = errors.New("client: closed")

// New makes a connection of a socket; Serve runs it.
func New(host Host, id uint64, typ Type, nc net.Conn) *Client {
	c := &Client{host: host, id: id, typ: typ, nc: nc, addr: nc.RemoteAddr(), start: time.Now(), opts: natsproto.DefaultConnect(), grants: new(grants)}
	c.label = c.makeLabel()
	c.bound.Store(c.binding(host.Account(options.GlobalAccount)))
	c.prod.Self, c.prod.Kind = c, account.Client
	c.prod.Out.Patient = true
	c.msg.From = c
	if host.Users().Nonce() {
		var raw [11]byte
		rand.Read(raw[:])
		c.nonce = base64.RawURLEncoding.EncodeToString(raw[:])
	}
	return c
}

// ID is the connection's number.
func (c *Client) ID() uint64 { return c.id }

// Kind is that of a client.
func (c *Client) Kind() account.Kind { return account.Client }

// ConnectOptions are those of the last CONNECT.
func (c *Client) ConnectOptions() natsproto.Connect {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opts
}

// Account is the one that the connection is bound to.
func (c *Client) Account() *account.Account { return c.bound.Load().acc }

func (c *Client) binding(a *account.Account) *binding {
	headers := c.opts.Headers && !c.host.Options().NoHeaderSupport
	user := auth.Limits{Subscriptions: -1, Payload: -1}
	if c.ident.Limits != nil {
		user = *c.ident.Limits
	}
	return &binding{
		user: user, grants: c.grants,
		acc: a, perms: c.ident.Permissions,
		echo: c.opts.Echo, headers: headers, noResponders: c.opts.NoResponders && headers,
		verbose: c.opts.Verbose, pedantic: c.opts.Pedantic,
		system: a != nil && a == c.host.SystemAccount(),
	}
}

// Serve runs the connection until it is closed and everything that it held is
// given back.
func (c *Client) Serve() {
	err := c.run()
	if c.reason.Load() == 0 {
		r := ReadError
		switch {
		case errors.Is(err, io.EOF):
			r = ClientClosed
		case errors.Is(err, net.ErrClosed):
			r = ClientClosed
		}
		if r == ReadError {
			c.Debugf("read error: %v", err)
		}
		c.Close(r)
	}
	c.leave()
	c.depart()
}

func (c *Client) run() error {
	rest, err := c.setUp()
	if err != nil {
		return err
	}
	if c.reason.Load() != 0 {
		return errClosed
	}
	if len(rest) > 0 {
		if err := c.data(rest); err != nil {
			return err
		}
	}
	return c.conn.Read(c.data)
}

// leave gives back what the connection held.
func (c *Client) leave() {
	c.mu.Lock()
	c.ping.stop()
	if c.auth != nil {
		c.auth.Stop()
	}
	c.expireAt(time.Time{})
	subs := make([]*account.Sub, 0, len(c.subs))
	for _, s := range c.subs {
		subs = append(subs, s)
	}
	login := c.ident.Account != ""
	c.mu.Unlock()
	a := c.Account()
	if a != nil {
		a.UnsubscribeAll(subs)
		if login {
			a.Unbind()
		}
	}
}

// depart lists the connection as closed, and then closes its socket: who sees the end
// may ask at once why. The read loop does so when it is done; if that is at work
// elsewhere, whoever closed the connection.
func (c *Client) depart() {
	c.parting.Lock()
	defer c.parting.Unlock()
	c.mu.Lock()
	list := !c.state.listed && (c.state.admitted || c.Reason() == MaxConnectionsExceeded)
	if list {
		c.state.listed = true
		c.stop = time.Now()
	}
	conn, nc := c.conn, c.nc
	c.mu.Unlock()
	if list {
		c.host.Left(c)
	}
	switch {
	case conn == nil:
		nc.Close()
	case c.Reason().abrupt():
		conn.Abort()
	default:
		conn.Close()
	}
}

// Close closes the connection for a reason; the first one counts. It does not
// wait: the read loop cleans up, and closes the socket.
func (c *Client) Close(r Reason) {
	if c.reason.CompareAndSwap(0, uint32(r)) {
		c.shut(r)
	}
}

// end closes the connection behind what the read loop has staged. The reason
// counts from here on, not one that the peer gives by being gone already.
func (c *Client) end(r Reason) error {
	first := c.reason.CompareAndSwap(0, uint32(r))
	c.prod.Flush()
	if first {
		c.shut(r)
	}
	return errClosed
}

func (c *Client) shut(r Reason) {
	c.closed.Store(true)
	c.mu.Lock()
	conn, nc := c.conn, c.nc
	c.mu.Unlock()
	if conn != nil && r.abrupt() {
		conn.Cut()
	}
	nc.SetReadDeadline(time.Unix(1, 0))
	time.AfterFunc(leaveWait, c.depart)
}

// Reason is why the connection was closed, 0 while it is open.
func (c *Client) Reason() Reason { return Reason(c.reason.Load()) }

// SendErr sends an error line that does not come from the read loop.
func (c *Client) SendErr(text string) {
	c.traceOut("[-ERR %s]", text)
	if conn := c.transport(); conn != nil {
		conn.Send(natsproto.AppendErr(nil, text))
	}
}

// CloseErr sends an error line, not from the read loop, and closes. The reason is set
// first: who reads the line may close the connection at once.
func (c *Client) CloseErr(text string, r Reason) {
	if c.reason.CompareAndSwap(0, uint32(r)) {
		c.SendErr(text)
		c.shut(r)
	}
}

func (c *Client) transport() *transport.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// reserve makes room for n bytes that are about to be staged. Where the queue is full
// it closes the connection and returns false.
func (c *Client) reserve(n int) bool {
	if c.conn.Reserve(n) > c.host.Options().MaxPending {
		c.conn.Unreserve(n)
		c.slowPending()
		return false
	}
	return true
}

// line stages a control line for the connection itself.
func (c *Client) line(s string) {
	if c.reserve(len(s)) {
		c.prod.Out.Stage(c.conn).AppendString(s)
	}
}

func (c *Client) errLine(text string) {
	c.traceOut("[-ERR %s]", text)
	c.line("-ERR '" + text + "'\r\n")
}

// fail stages an error line and closes; for the read loop.
func (c *Client) fail(text string, r Reason) error {
	c.errLine(text)
	return c.end(r)
}

// data handles one read buffer.
func (c *Client) data(b []byte) error {
	c.takeRevision()
	p := &c.prod
	p.Out.Expect(len(b))
	p.Out.Yielding = !c.host.Options().NoFastProducerStall
	p.Stall, p.Stalled = maxStall, 0
	err := c.operations(b)
	c.lone = c.in.msgs == 1 && !c.partial
	if c.in.msgs > 0 {
		c.inMsgs.Add(c.in.msgs)
		c.inBytes.Add(c.in.bytes)
		c.bound.Load().acc.Received(c.in.msgs, c.in.bytes)
		c.in.msgs, c.in.bytes = 0, 0
	}
	p.Flush()
	c.lone = false
	c.churn.rest()
	if p.Stalled >= noticedStall && c.stallWarned.Due(stallWarnings) {
		c.host.Warnf("%s - Producer was stalled for a total of %v", c.Label(), p.Stalled)
	}
	if err == nil && c.closed.Load() {
		err = errClosed
	}
	return err
}

// BeforeRest is for receivers inside the server, while they take what the read loop
// flushes: see transport.Conn. It is refused if they are given one of several messages.
func (c *Client) BeforeRest(work func(here bool)) bool {
	return c.lone && c.conn.BeforeRest(work)
}

func (c *Client) operations(b []byte) error {
	active := false
	for len(b) > 0 {
		op, n, err := c.parser.Next(b)
		if err != nil {
			if err == natsproto.ErrNotConnect && c.loginByVerb() {
				continue
			}
			if c.closed.Load() {
				return errClosed
			}
			return c.refuse(err, op)
		}
		b = b[n:]
		if op == nil {
			c.partial = true
			if half := c.parser.Awaited(); half != nil && !c.judged {
				c.checkPedantic(half.Subject)
				c.judged = true
			}
			break
		}
		straddled := c.partial
		c.partial = false
		switch op.Kind {
		case natsproto.OpPub:
			active = true
			c.churn.rest() // a receiver may make it wait
			c.publish(op)
		case natsproto.OpSub:
			active = true
			c.churn.change()
			c.subscribe(op)
		case natsproto.OpUnsub:
			active = true
			c.churn.change()
			c.unsubscribe(op)
		case natsproto.OpPing:
			active = true
			c.gotPing()
		case natsproto.OpPong:
			c.gotPong()
		case natsproto.OpConnect:
			c.churn.rest()
			err = c.connect(op)
		case natsproto.OpInfo:
			var info natsproto.Info
			if jerr := info.Decode(op.Arg); jerr != nil {
				err = c.refuse(jerr, op)
			}
		case natsproto.OpErr:
			c.traceIn("[-ERR %s]", op.Arg)
			c.host.Errorf("%s - Client error %s", c.Label(), op.Arg)
			err = c.end(ParseError)
		}
		if err != nil {
			return err
		}
		if straddled && c.prod.HasReferences() {
			// What the message points to is in the parser's scratch, which the
			// end of this buffer may overwrite.
			c.prod.Flush()
		}
		if c.closed.Load() {
			return errClosed
		}
	}
	if active {
		now := time.Now().UnixNano()
		c.lastActivity.Store(now)
		c.churn.at(now)
	}
	return nil
}

// refuse answers an error of the parser.
func (c *Client) refuse(err error, op *natsproto.Op) error {
	switch err {
	case natsproto.ErrNotConnect:
		c.host.LoginFailed(c, c.Account(), AuthenticationViolation)
		return c.fail("Authorization Violation", AuthenticationViolation)
	case natsproto.ErrUnknownOp:
		if op != nil && op.Kind == natsproto.OpPub {
			c.traceLine(op)
			c.checkPedantic(op.Subject)
		}
		c.host.Errorf("%s - Client parser ERROR", c.Label())
		return c.fail("Unknown Protocol Operation", ProtocolViolation)
	case natsproto.ErrControlLine:
		c.host.Errorf("%s - maximum control line exceeded", c.Label())
		return c.fail("maximum control line exceeded", MaxControlLineExceeded)
	case natsproto.ErrMaxPayload:
		c.traceLine(op)
		c.tooLarge(op)
		c.host.Errorf("%s - maximum payload exceeded: %d vs %d", c.Label(), op.Size, c.parser.MaxPayload)
		return c.fail("Maximum Payload Violation", MaxPayloadExceeded)
	}
	c.traceLine(op)
	c.host.Errorf("%s - %v", c.Label(), err)
	return c.end(ProtocolViolation)
}

// applyLimits computes the limits of the connection from the server's and the
// account's.
func (c *Client) applyLimits() {
	o := c.host.Options()
	l := c.Account().Config().Limits
	c.parser.MaxControlLine = int(o.MaxControlLine)
	c.parser.MaxPayload = int(c.maxPayload())
	c.mu.Lock()
	c.maxSubs = minLimit(minLimit(unlimitedIfZero(o.MaxSubscriptions), l.MaxSubscriptions), c.bound.Load().user.Subscriptions)
	c.mu.Unlock()
}

// minLimit is the smaller of two limits, of which negative ones are none.
func minLimit(a, b int64) int64 {
	if a < 0 {
		return b
	}
	if b < 0 {
		return a
	}
	return min(a, b)
}

// maxPayload is what INFO says.
func (c *Client) maxPayload() int32 {
	b := c.bound.Load()
	n := minLimit(minLimit(c.host.Options().MaxPayload, b.acc.Config().Limits.MaxPayload), b.user.Payload)
	return int32(min(n, math.MaxInt32))
}

func (c *Client) makeLabel() string {
	return c.addr.String() + " - cid:" + strconv.FormatUint(c.id, 10)
}

// Label names the connection in logs.
func (c *Client) Label() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.label
}

// Debugf logs at debug level.
func (c *Client) Debugf(format string, v ...any) {
	c.host.Debugf("%s - "+format, append([]any{c.Label()}, v...)...)
}

// Type is the kind of listener.
func (c *Client) Type() Type { return c.typ }

// IP is the address of the client, as a PROXY header told it if there was one.
func (c *Client) IP() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	host, _ := peerAddr(c.addr)
	return host
}

// Silent tells that the connection sent nothing that it was made for.
func (c *Client) Silent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.state.connected && c.lastActivity.Load() <= c.start.UnixNano()
}

// MaxPayload is the effective limit in bytes, -1 for none.
func (c *Client) MaxPayload() int32 { return c.maxPayload() }
