package server

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/events"
	"github.com/natsd/natsd/server/monitor"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/server/version"
	"github.com/natsd/natsd/subjecttree"
)

// Logger is where the server logs to.
type Logger = client.Logger

// apiLevel is the level of the JetStream API.
const apiLevel = 5

// Server is one natsd. Its methods are safe for concurrent use.
type Server struct {
	log   Logger
	start time.Time
	key   nkeys.KeyPair // of the server's id
	id    string
	xkey  nkeys.KeyPair
	xpub  string

	opts      atomic.Pointer[options.Options]
	users     atomic.Pointer[auth.Table]
	tracing   atomic.Bool
	accounts  *account.Set
	global    *account.Account
	system    *account.Account                 // nil: none
	operator  *operatorMode                    // nil: accounts are those of the configuration
	js        atomic.Pointer[jetstream.Engine] // nil: JetStream is off
	mutations jetstream.Mutations              // of JetStream, set by tests before Start
	disk      vfs.FS                           // of JetStream; tests put a simulated one here before Start

	nextID       atomic.Uint64
	seq          atomic.Uint64 // of system messages
	totalClients atomic.Uint64
	slow         atomic.Int64
	stalled      atomic.Int64
	stale        atomic.Int64
	tlsLimit     rateLimit
	revocation   *revocation
	offenders    offenders
	tasks        tasks
	monitor      *monitor.Monitor
	events       *events.Service // nil: there is no system account

	// implicitUser stands in for a missing no_auth_user; once set it stays. Reloads own it.
	implicitUser string

	reloading  sync.Mutex   // over a reload
	configTime atomic.Int64 // when the options were loaded, Unix nanoseconds

	mu         sync.Mutex // guards the rest
	state      runState
	listener   net.Listener
	profiler   net.Listener // nil: none
	monitoring net.Listener // nil: none
	clients    map[uint64]*client.Client
	closed     closedRing
	done       chan struct{} // closed at the end of Shutdown
	ending     chan struct{} // closed at its beginning
}

type runState uint8

const (
	created runState = iota
	starting
	running
	lameDuck
	stopped
)

// New makes a server of options that were loaded and validated. log must not be
// nil.
func New(opts *options.Options, log Logger) (*Server, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		log: log, start: time.Now(), accounts: account.NewSet(), disk: vfs.OS, revocation: newRevocation(),
		clients: map[uint64]*client.Client{}, done: make(chan struct{}), ending: make(chan struct{}),
	}
	s.closed.max = int(opts.MaxClosedClients)
	s.monitor = monitor.New((*monitored)(s))
	var err error
	if s.key, err = nkeys.CreateServer(); err != nil {
		return nil, err
	}
	if s.id, err = s.key.PublicKey(); err != nil {
		return nil, err
	}
	if s.xkey, err = nkeys.CreateCurveKeys(); err != nil {
		return nil, err
	}
	if s.xpub, err = s.xkey.PublicKey(); err != nil {
		return nil, err
	}
	if needsImplicitUser(opts) {
		s.implicitUser = "nats-" + rand.Text()[:8]
	}
	s.opts.Store(opts)
	s.accounts.NameHash = nameHash(s.Name())
	s.configTime.Store(s.start.UnixNano())
	s.tracing.Store(opts.Trace)
	if s.operator, err = s.newOperatorMode(opts); err != nil {
		return nil, err
	}
	if err := s.configureAccounts(opts); err != nil {
		return nil, err
	}
	s.users.Store(auth.NewTable(opts, s.implicitUser))
	if s.system != nil {
		s.events = events.New((*eventHost)(s), s.monitor)
		s.accounts.ClientsChanged = s.events.ConnectionsChanged
	}
	return s, nil
}

// needsImplicitUser tells whether clients without credentials would be locked
// out only because the system account has users.
func needsImplicitUser(o *options.Options) bool {
	a := &o.Authorization
	if o.NoAuthUser != "" || a.Defined || a.Username != "" || a.Token != "" || len(a.Users) > 0 || len(o.Operators) > 0 || len(o.TrustedKeys) > 0 {
		return false
	}
	users := false
	for _, acc := range o.Accounts {
		switch acc.Name {
		case o.SystemAccountName():
			users = users || len(acc.Users) > 0
		case options.GlobalAccount:
		default:
			return false
		}
	}
	return users
}

// Options are the present ones.
func (s *Server) Options() *options.Options { return s.opts.Load() }

// ID is the server's public key.
func (s *Server) ID() string { return s.id }

// Name is the configured name, or the id.
func (s *Server) Name() string {
	if n := s.Options().ServerName; n != "" {
		return n
	}
	return s.id
}

// Accounts are all accounts.
func (s *Server) Accounts() *account.Set { return s.accounts }

// SystemAccount is nil if there is none.
func (s *Server) SystemAccount() *account.Account { return s.system }

// GlobalAccount is the account of everybody who has no other.
func (s *Server) GlobalAccount() *account.Account { return s.global }

// Start listens and returns.
func (s *Server) Start() error {
	o := s.Options()
	s.announce(o)
	if err := s.open(o); err != nil {
		return err
	}
	s.log.Noticef("Server is ready")
	s.writePortsFile(o.PortsFileDir)
	return nil
}

// open opens the listeners, the client port last: whoever can connect finds everything there.
func (s *Server) open(o *options.Options) error {
	s.mu.Lock()
	if s.state != created {
		s.mu.Unlock()
		return errors.New("server: started before")
	}
	s.state = starting
	err := s.startProfiler(o)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.announceOptions(o)
	if _, _, err := options.HostPort(o.ClientAdvertise, o.Port); err != nil {
		return fmt.Errorf("Error setting server INFO with ClientAdvertise value of %s, err=%w", o.ClientAdvertise, err)
	}
	if err := writePidFile(o.PidFile); err != nil {
		return fmt.Errorf("Could not write pidfile: %w", err)
	}
	if s.events != nil {
		if err := s.events.Start(); err != nil {
			return err
		}
	}
	if err := s.startOCSP(o); err != nil {
		return err
	}
	if err := s.startMonitoring(o); err != nil {
		return err
	}
	if err := s.startJetStream(o); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != starting {
		s.stopJetStream()
		return errors.New("server: shut down while it started")
	}
	if s.operator != nil {
		if err := s.operator.serve(); err != nil {
			return err
		}
	}
	if !o.InProcessOnly {
		if err := s.listen(o); err != nil {
			return err
		}
	}
	s.state = running
	return nil
}

// maxSanePayload is the message size above which a warning is logged.
const maxSanePayload = 8 << 20

// Shutdown ends the server: it closes listeners and connections and waits until
// all goroutines ended. It may be called more than once.
func (s *Server) Shutdown() {
	s.mu.Lock()
	if s.state == stopped {
		s.mu.Unlock()
		<-s.done
		return
	}
	s.log.Noticef("Initiating Shutdown...")
	s.state = stopped
	close(s.ending)
	for _, l := range []net.Listener{s.listener, s.profiler, s.monitoring} {
		if l != nil {
			l.Close()
		}
	}
	clients := make([]*client.Client, 0, len(s.clients))
	for _, c := range s.clients {
		clients = append(clients, c)
	}
	s.mu.Unlock()
	if s.events != nil {
		s.events.Shutdown()
	}
	s.stopJetStream() // while clients can still hear how their requests end
	for _, c := range clients {
		c.Close(client.ServerShutdown)
	}
	s.stopOCSP()
	s.tasks.wait()
	if s.operator != nil {
		s.operator.stop()
	}
	s.accounts.Stop()
	s.removePortsFile(s.Options().PortsFileDir)
	s.log.Noticef("Server Exiting..")
	close(s.done)
}

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// info is what all clients are told.
func (s *Server) info(c *client.Client) natsproto.Info {
	o := s.Options()
	i := natsproto.Info{
		ServerID: s.id, ServerName: s.Name(), Version: version.Compatible, Natsd: version.Natsd,
		Proto: 1, GitCommit: version.Commit, Go: runtime.Version(),
		Headers: !o.NoHeaderSupport, JetStream: s.js.Load() != nil, Domain: o.JetStream.Domain,
		APILevel: apiLevel, XKey: s.xpub, Cluster: s.clusterName(),
		ClientID: c.ID(), ClientIP: c.IP(), MaxPayload: c.MaxPayload(),
	}
	i.Host, i.Port = s.advertised(o)
	users := s.users.Load()
	i.AuthRequired = users.Required() && users.NoAuthUser() == ""
	if t := o.TLS; t != nil {
		i.TLSAvailable = o.AllowNonTLS || c.Type() == client.InProcess
		i.TLSRequired = !i.TLSAvailable
		i.TLSVerify = t.Verify || t.VerifyAndMap
	}
	return i
}

// advertised is the address that clients are told.
func (s *Server) advertised(o *options.Options) (string, int) {
	host, port := o.Host, o.Port
	s.mu.Lock()
	if s.listener != nil {
		port = s.listener.Addr().(*net.TCPAddr).Port
	}
	s.mu.Unlock()
	if o.ClientAdvertise == "" {
		return host, port
	}
	h, p, err := options.HostPort(o.ClientAdvertise, port)
	if err != nil {
		return host, port // Start and Reload refuse it
	}
	return h, p
}

func (s *Server) clusterName() string { return s.clusterNameOf(s.Options()) }

func (s *Server) clusterNameOf(o *options.Options) string {
	if o.Cluster.Port == 0 && o.Gateway.Port == 0 {
		return ""
	}
	return o.Cluster.Name
}

func (s *Server) listOptions() subjecttree.ListOptions {
	return subjecttree.ListOptions{NoCache: true} // producers have caches of their own
}

// tasks counts goroutines.
type tasks struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // made by wait
}

func (t *tasks) start(f func()) {
	t.mu.Lock()
	t.n++
	t.mu.Unlock()
	go func() {
		defer t.end()
		f()
	}()
}

func (t *tasks) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// wait returns when no goroutine is left.
func (t *tasks) wait() {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	t.idle = idle
	t.mu.Unlock()
	<-idle
}

// nameHash stands for a server's name in subjects: eight characters of the
// SHA-256 of the name, in base 62.
func nameHash(name string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte(name))
	for i := range sum[:8] {
		sum[i] = digits[sum[i]%62]
	}
	return string(sum[:8])
}
