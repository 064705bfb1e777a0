package client

import (
	"crypto/tls"
	"net"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/msgtrace"
	"github.com/natsd/natsd/server/options"
)

// Logger takes log lines; the debug and trace levels are asked for first.
type Logger interface {
	Noticef(format string, v ...any)
	Warnf(format string, v ...any)
	Errorf(format string, v ...any)
	Debugf(format string, v ...any)
	Tracef(format string, v ...any)
}

// Host is the server as a connection sees it. Its methods are safe for
// concurrent use and do not call back into the connection, except those of the
// life cycle, which say so.
type Host interface {
	Logger
	// Tracing tells whether protocol lines are logged.
	Tracing() bool

	// Options are the present ones; immutable.
	Options() *options.Options
	// Users are the present ones; immutable.
	Users() *auth.Table
	// Login says who a connection is. It may take as long as the timeout of an
	// account's look-up or of an auth callout.
	Login(c *Client, r *auth.Request) (auth.Identity, auth.Failure)
	// Judge judges a connection again that logged in without claims. No service is
	// asked.
	Judge(r *auth.Request) (auth.Identity, auth.Failure)
	// JudgeClaims does so for one that logged in with claims, which hold still.
	JudgeClaims(id auth.Identity) (auth.Identity, auth.Failure)
	// Account returns an account by its name, nil if there is none.
	Account(name string) *account.Account
	// SystemAccount is nil if there is none.
	SystemAccount() *account.Account

	// Info fills what is the same for all connections of the listener.
	Info(c *Client) natsproto.Info
	// ListenerTLS is the configuration for the client's listener, nil for none.
	ListenerTLS() *options.TLS
	// ServerTLS makes the configuration of a handshake.
	ServerTLS(t *options.TLS) *tls.Config
	// AllowTLS is the rate limit of handshakes.
	AllowTLS() bool

	// Go starts a goroutine that Shutdown waits for.
	Go(f func())

	// Hold makes a connection from this address wait before it is served, if many
	// broke the protocol. It returns false if it is not to be served.
	Hold(ip string) bool
	// Admit registers a connection when it may stay. It returns false when there
	// are too many.
	Admit(c *Client) bool
	// LoggedIn is called after each successful CONNECT, and for a connection
	// that needs none when it was admitted. first is false for later CONNECTs.
	LoggedIn(c *Client, first bool)
	// LoginFailed is called for a refused login.
	LoginFailed(c *Client, acc *account.Account, r Reason)
	// Left is called once after a connection that was admitted, or refused as one too many, is gone.
	Left(c *Client)
	// SlowConsumer counts one.
	SlowConsumer(c *Client)
	// Stalled counts a wait of a producer.
	Stalled()
	// Stale counts a connection closed as stale.
	Stale()

	// SendTrace publishes a trace report.
	SendTrace(t *msgtrace.Trace, r *msgtrace.Report)
	// ServerName and ClusterName are told to services of the system account, and
	// with share to others. The cluster's may be empty.
	ServerName() string
	ClusterName() string
}

// Type is the kind of listener that a client came through.
type Type uint8

const (
	NATS Type = iota
	InProcess
)

func (t Type) String() string { return "nats" }

// connectionType is what users may be restricted to.
func (t Type) connectionType() string {
	if t == InProcess {
		return auth.InProcess
	}
	return auth.Standard
}

// peerAddr splits an address.
func peerAddr(a net.Addr) (host string, port int) {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.IP.String(), t.Port
	}
	return a.String(), 0
}
