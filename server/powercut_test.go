package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
	"github.com/natsd/natsd/server/options"
)

// What any client was told before the power went off must be true after it came
// back. A run is a server on a simulated disk with clients over loopback, in a few
// lives, each ended by a cut of the power at a random I/O call. Everything that
// clients are told goes into a witness, which judges what the next life finds.

// stuckAfter is how long a life may last: a server that refuses all work never
// reaches its cut.
const stuckAfter = 60 * time.Second

// patient is a context with a timeout that counts only while this process runs: a
// machine that stands still for a minute has not hung the server.
func patient(timeout time.Duration) (context.Context, context.CancelFunc) {
	const step = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		t := time.NewTicker(step) // drops the ticks that nobody took
		defer t.Stop()
		for range timeout / step {
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
		}
		cancel()
	}()
	return ctx, cancel
}

// forged is a disk that lies about its syncs.
type forged struct{ vfs.FS }

func (f forged) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return forgedFile{file}, nil
}

type forgedFile struct{ vfs.File }

func (forgedFile) SyncData() error { return nil }

// fault is a deliberate fault of the server, which the test must notice.
type fault int

const (
	noFault fault = iota
	ackBeforeSync
	visibleBeforeDurable
	duplicateAckEarly
	confirmEarly
)

// scenario is what clients do in the lives of one run.
type scenario interface {
	// options of the server; the same in each life.
	options(*options.JetStream)
	// verify asks a server that has just been started whether everything that
	// clients were told is so.
	verify(*powered) error
	// work keeps the server busy until ctx ends.
	work(ctx context.Context, p *powered, rng *rand.Rand, life int) error
	// forgetAcks drops what acknowledgements have said, and keeps what was shown.
	forgetAcks()
}

// powered is a server on a simulated disk, and a client.
type powered struct {
	disk    *crashfs.FS
	s       *Server
	nc      *nats.Conn
	js      nats.JetStreamContext
	hearing sync.WaitGroup
}

// powerOn starts a server on the disk. An error that comes from a power cut is no
// failure.
func powerOn(disk *crashfs.FS, f fault, configure func(*options.JetStream), log *testLog) (*powered, error) {
	o := options.Default()
	o.Host, o.Port = "127.0.0.1", -1
	o.JetStream.Enabled, o.JetStream.StoreDir = true, "/store"
	o.JetStream.SyncAlways = true
	o.JetStream.MaxMemory, o.JetStream.MaxStore = 1<<30, 1<<30
	configure(&o.JetStream)
	if f == visibleBeforeDurable {
		// The relaxed mode shows what is not durable; its acks are not looked at.
		o.JetStream.SyncAlways, o.JetStream.SyncInterval = false, time.Hour
	}
	s, err := New(o, log)
	if err != nil {
		return nil, err
	}
	s.disk = disk
	if f == ackBeforeSync {
		s.disk = forged{disk}
	}
	s.mutations = jetstream.Mutations{DuplicateAckEarly: f == duplicateAckEarly, ConfirmEarly: f == confirmEarly}
	if err := s.Start(); err != nil {
		s.Shutdown()
		return nil, err
	}
	p := &powered{disk: disk, s: s}
	p.nc, err = nats.Connect("nats://"+s.Addr().String(), nats.NoReconnect(), nats.Timeout(5*answerWithin))
	if err == nil {
		p.js, err = p.nc.JetStream(nats.MaxWait(5*answerWithin), nats.PublishAsyncMaxPending(256))
	}
	if err != nil {
		p.off()
		return nil, err
	}
	return p, nil
}

// hear calls fn with each message on a subject, one at a time, until the client is
// closed. None of the calls outlasts the life: what one life was shown must not be
// taken for what the next one shows.
func (p *powered) hear(subject string, fn func(*nats.Msg)) error {
	sub, err := p.nc.SubscribeSync(subject)
	if err != nil {
		return err
	}
	p.hearing.Go(func() {
		for {
			m, err := sub.NextMsgWithContext(context.Background())
			if err != nil {
				return
			}
			fn(m)
		}
	})
	return nil
}

func (p *powered) off() {
	if p.nc != nil {
		p.nc.Close()
	}
	p.hearing.Wait()
	p.s.Shutdown()
}

// live lets the clients work until the power goes off. What the server sent up to
// the cut still reaches them.
func (p *powered) live(sc scenario, rng *rand.Rand, life int) error {
	ctx, cancel := patient(stuckAfter)
	defer cancel()
	stuck := false
	var where []byte
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-p.disk.Done():
			p.nc.FlushTimeout(time.Second)
		case <-ctx.Done():
			stuck = true
			where = make([]byte, 1<<20)
			where = where[:runtime.Stack(where, true)]
		}
		cancel()
		p.nc.Close()
	})
	err := sc.work(ctx, p, rng, life)
	failed := !p.disk.IsCut() && err != nil
	timeUp := ctx.Err() != nil
	if failed {
		cancel()
	}
	wg.Wait()
	switch {
	case stuck && timeUp && err != nil:
		return fmt.Errorf("no progress (%w)\n%s", err, where)
	case stuck && timeUp:
		return fmt.Errorf("no progress\n%s", where)
	case failed:
		return err
	}
	return nil
}

// lives is how often the power goes off in one run.
const lives = 3

// powerCutRun lets a server work in a few lives, and returns what clients were told
// and is not so.
func powerCutRun(seed uint64, f fault, sc scenario, log *testLog) error {
	rng := rand.New(rand.NewPCG(seed, 4))
	disk := crashfs.New(seed)
	for life := range lives {
		if rng.IntN(4) == 0 {
			disk.CutAt(1 + rng.Int64N(100)) // during the start
		}
		p, err := powerOn(disk, f, sc.options, log)
		disk.CutAt(1 << 60) // not while it is judged what is there
		switch {
		case disk.IsCut():
			if err == nil {
				p.off()
			}
		case err != nil:
			return fmt.Errorf("life %d: start: %w", life, err)
		default:
			log.add("--- ", "life %d", life)
			err := sc.verify(p)
			if err == nil {
				disk.CutAt(1 + rng.Int64N(1+rng.Int64N(800)))
				err = p.live(sc, rng, life)
			}
			p.off()
			if err != nil {
				return fmt.Errorf("life %d: %w", life, err)
			}
		}
		if f == visibleBeforeDurable {
			sc.forgetAcks()
		}
		disk = disk.Crash()
	}
	p, err := powerOn(disk, noFault, sc.options, log)
	if err != nil {
		return fmt.Errorf("last start: %w", err)
	}
	err = sc.verify(p)
	p.off()
	if err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return verifyDirectory(disk, sc)
}

// verifyDirectory is what `storetool verify` says about the directory of a server
// that was stopped in order.
func verifyDirectory(disk *crashfs.FS, sc scenario) error {
	var o options.JetStream
	sc.options(&o)
	cipher, err := check.ParseCipher(o.Cipher)
	if err != nil {
		return err
	}
	rep, err := check.Verify("/store", check.Options{FS: disk, Keys: check.Keys{Key: []byte(o.Key), Cipher: cipher}})
	if errors.Is(err, check.ErrNoStore) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	for _, f := range rep.Findings {
		if f.Severity == check.Damage {
			return fmt.Errorf("verify: %s", f)
		}
	}
	return nil
}

// runSeeds runs a scenario on each seed and reports all that fail.
func runSeeds(t *testing.T, share int, make func(seed uint64) scenario) {
	for seed := range seedtest.Seeds(t, share) {
		log := &testLog{}
		if err := powerCutRun(seed, noFault, make(seed), log); err != nil {
			t.Errorf("seed %d: %v\n%s", seed, err, strings.Join(log.lines, "\n"))
		}
	}
}

// catches checks that each fault is noticed within 20 seeds.
func catches(t *testing.T, make func(seed uint64) scenario, faults map[string]fault) {
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				if err := powerCutRun(seed+1, f, make(seed+1), &testLog{}); err != nil {
					t.Logf("caught at seed %d: %v", seed+1, err)
					return
				}
			}
			t.Error("not caught within 20 seeds")
		})
	}
}
