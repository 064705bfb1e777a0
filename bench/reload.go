package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
)

// reloadCommand measures the start with, and the change of, a large configuration.
func reloadCommand() *cobra.Command {
	var (
		server  string
		size    reloadSize
		rounds  int
		clients int
		quiet   time.Duration
	)
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Start and reload with thousands of users and hundreds of accounts, and what connected clients notice of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := measureReload(cmd.Context(), server, size, rounds, clients, quiet)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%d users, %d accounts with %d imports each, %d idle connections\n", size.users, size.accounts, reloadImports, clients)
			fmt.Fprintf(out, "start: %v\n", r.start.Round(time.Millisecond))
			fmt.Fprintf(out, "request and reply without reloads: median %v, 99.9 %% %v, longest %v of %d\n", r.before.at(0.5), r.before.at(0.999), r.before.at(1), len(r.before))
			fmt.Fprintf(out, "reload: median %v, longest %v of %d; %v of processor time each, traffic included\n",
				r.reloads.at(0.5), r.reloads.at(1), len(r.reloads), (r.cpu / time.Duration(max(len(r.reloads), 1))).Round(time.Millisecond))
			fmt.Fprintf(out, "request and reply during reloads: median %v, 99.9 %% %v, longest %v of %d\n", r.during.at(0.5), r.during.at(0.999), r.during.at(1), len(r.during))
			fmt.Fprintf(out, "on a second server at the same time: median %v, 99.9 %% %v, longest %v of %d\n", r.control.at(0.5), r.control.at(0.999), r.control.at(1), len(r.control))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&server, "server", "./natsd", "the server `binary`")
	f.IntVar(&size.users, "users", 10_000, "how many users")
	f.IntVar(&size.accounts, "accounts", 500, "how many accounts")
	f.IntVar(&rounds, "reloads", 10, "how many reloads")
	f.IntVar(&clients, "connections", 1000, "how many connections of as many users do nothing")
	f.DurationVar(&quiet, "quiet", 3*time.Second, "how long request and reply are measured before the first reload")
	return cmd
}

type reloadSize struct{ users, accounts int }

// reloadImports is how many accounts each account imports from, a service and a stream each.
const reloadImports = 2

// config is a file of this size. Files of different rounds differ in the permissions of a user of each account, the
// imports of every tenth, mappings and limits.
func (z reloadSize) config(round int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "system_account: SYS\nmax_payload: %d\naccounts {\n SYS { users: [{user: sys, password: p}] }\n", 1<<20+round)
	per := max(z.users/z.accounts, 1)
	for a := range z.accounts {
		fmt.Fprintf(&b, " A%d {\n  exports: [{service: svc.%d}, {stream: 'ev.%d.>'}]\n  imports: [", a, a, a)
		for i := range reloadImports {
			from := (a + i + 1) % z.accounts
			if i == 1 && a%10 == 0 {
				from = (from + round%2) % z.accounts
			}
			if from == a {
				continue
			}
			fmt.Fprintf(&b, "{service: {account: A%d, subject: svc.%d}, to: other.%d}, {stream: {account: A%d, subject: 'ev.%d.>'}, prefix: in%d}, ", from, from, i, from, from, i)
		}
		fmt.Fprintf(&b, "]\n  mappings { 'old.*': 'new%d.{{wildcard(1)}}' }\n  limits { max_payload: %d }\n  users: [\n", round%2, 1<<20+round)
		for u := range per {
			perms := ""
			if u == 1 {
				perms = fmt.Sprintf(", permissions: {publish: {deny: 'no.%d'}, subscribe: ['>', 'work q%d']}", round%2, round%2)
			}
			fmt.Fprintf(&b, "   {user: u%d_%d, password: p%s}\n", a, u, perms)
		}
		b.WriteString("  ]\n }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// durations are sorted.
type durations []time.Duration

func (d durations) at(quantile float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return d[min(int(quantile*float64(len(d))), len(d)-1)].Round(10 * time.Microsecond)
}

type reloadResult struct {
	start          time.Duration
	reloads        durations
	cpu            time.Duration // of the server over all reloads
	before, during durations     // of requests
	// control are the requests to a server that does nothing else, during the reloads of the other: what the machine
	// itself adds.
	control durations
}

func measureReload(ctx context.Context, binary string, size reloadSize, rounds, idle int, quiet time.Duration) (*reloadResult, error) {
	var r reloadResult
	still, err := StartServer(ctx, binary, size.config(0))
	if err != nil {
		return nil, err
	}
	defer still.Stop()
	began := time.Now()
	srv, err := StartServer(ctx, binary, size.config(0))
	if err != nil {
		return nil, err
	}
	defer srv.Stop()
	r.start = time.Since(began)
	loginAt := func(s *Server) func(string) (*nats.Conn, error) {
		return func(user string) (*nats.Conn, error) {
			return nats.Connect("nats://"+s.Addr, nats.UserInfo(user, "p"), nats.NoReconnect(), nats.Timeout(10*time.Second))
		}
	}
	login := loginAt(srv)
	for i := range idle {
		nc, err := login(fmt.Sprintf("u%d_%d", i%size.accounts, i/size.accounts%max(size.users/size.accounts, 1)))
		if err != nil {
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
		defer nc.Close()
		if _, err := nc.SubscribeSync("in0.>"); err != nil {
			return nil, err
		}
	}
	sys, err := login("sys")
	if err != nil {
		return nil, err
	}
	defer sys.Close()
	id := sys.ConnectedServerId()

	traffic, err := newPacers(login, size)
	if err != nil {
		return nil, err
	}
	defer traffic.close()
	control, err := newPacers(loginAt(still), size)
	if err != nil {
		return nil, err
	}
	defer control.close()
	if err := pause(ctx, quiet); err != nil {
		return nil, err
	}
	if _, err = control.take(); err != nil {
		return nil, err
	}
	if r.before, err = traffic.take(); err != nil {
		return nil, err
	}
	cpu, err := srv.CPU()
	if err != nil {
		return nil, err
	}
	for round := 1; round <= rounds; round++ {
		if err := os.WriteFile(filepath.Join(srv.Dir, "conf"), []byte(size.config(round)), 0o600); err != nil {
			return nil, err
		}
		began := time.Now()
		m, err := sys.Request("$SYS.REQ.SERVER."+id+".RELOAD", nil, time.Minute)
		if err != nil {
			return nil, fmt.Errorf("reload %d: %w", round, err)
		}
		r.reloads = append(r.reloads, time.Since(began))
		var answer struct {
			Error *struct{ Description string } `json:"error"`
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Error != nil {
			return nil, fmt.Errorf("reload %d: %s", round, m.Data)
		}
	}
	if r.cpu, err = srv.CPU(); err != nil {
		return nil, err
	}
	r.cpu -= cpu
	slices.Sort(r.reloads)
	if r.during, err = traffic.take(); err != nil {
		return nil, err
	}
	r.control, err = control.take()
	return &r, err
}

// pacers make requests at a steady pace, inside accounts and through imports.
type pacers struct {
	conns []*nats.Conn
	stop  chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex // guards the rest
	times durations
	err   error
}

const (
	pacerCount = 8
	pacerPause = 2 * time.Millisecond
)

func newPacers(login func(user string) (*nats.Conn, error), size reloadSize) (*pacers, error) {
	p := &pacers{stop: make(chan struct{})}
	for i := range min(pacerCount, size.accounts) {
		// Account i+1 answers to itself and to account i, which imports from it.
		responder, err := login(fmt.Sprintf("u%d_0", (i+1)%size.accounts))
		if err != nil {
			return nil, err
		}
		p.conns = append(p.conns, responder)
		subject := fmt.Sprintf("svc.%d", (i+1)%size.accounts)
		if _, err := responder.Subscribe(subject, func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
			return nil, err
		}
		if err := responder.Flush(); err != nil {
			return nil, err
		}
		user := fmt.Sprintf("u%d_0", (i+1)%size.accounts)
		if i%2 == 0 {
			user, subject = fmt.Sprintf("u%d_0", i), "other.0"
		}
		requester, err := login(user)
		if err != nil {
			return nil, err
		}
		p.conns = append(p.conns, requester)
		p.wg.Go(func() { p.run(requester, subject) })
	}
	return p, nil
}

func (p *pacers) run(nc *nats.Conn, subject string) {
	tick := time.NewTicker(pacerPause)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		began := time.Now()
		_, err := nc.Request(subject, []byte("x"), 10*time.Second)
		took := time.Since(began)
		p.mu.Lock()
		p.times = append(p.times, took)
		if err != nil && p.err == nil {
			p.err = fmt.Errorf("request to %s: %w", subject, err)
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take returns how long the requests since the last call took.
func (p *pacers) take() (durations, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.times
	p.times = nil
	slices.Sort(t)
	return t, p.err
}

func (p *pacers) close() {
	close(p.stop)
	p.wg.Wait()
	for _, nc := range p.conns {
		nc.Close()
	}
}
