package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/natsd/natsd/server/options"
)

// streams is everything that streams do without consumers of applications: publishing
// in all forms, removing in all forms, configuration, a key-value bucket, a counter,
// a stream that comes and goes, one that keeps nothing. Readers, a mirror and
// republished messages say what was shown.
type streams struct {
	seed    uint64
	cipher  string
	clients int // of one stream
	ws      []*witness
	judged  uint64 // the first stream's end when it was judged last
	mirror  bool   // its creation was confirmed
	bucket  bucket
	counter counter
	churn   churn
	skipped skipped
}

// Few streams are synced side by side, many go through the journal.
func newStreams(seed uint64) scenario {
	rng := rand.New(rand.NewPCG(seed, 11))
	n, clients := 1+rng.IntN(3), 3
	if rng.IntN(2) == 0 {
		n, clients = 20+rng.IntN(10), 2
	}
	sc := &streams{seed: seed, cipher: []string{"", "", "chacha", "aes"}[rng.IntN(4)], clients: clients}
	for i := range n {
		w := newWitness(fmt.Sprintf("S%d", i))
		if rng.IntN(4) == 0 {
			w.max = 50 + rng.IntN(300)
		}
		sc.ws = append(sc.ws, w)
	}
	return sc
}

func (sc *streams) options(o *options.JetStream) {
	if sc.cipher != "" {
		o.Cipher, o.Key = sc.cipher, "secret"
	}
}

func (sc *streams) forgetAcks() {
	for _, w := range sc.ws {
		w.forget()
	}
	sc.mirror = false
	sc.bucket, sc.counter, sc.churn, sc.skipped = bucket{lax: true}, counter{lax: true}, churn{lax: true, life: sc.churn.life}, skipped{}
}

// config of a stream in a version; compression changes with it.
func (sc *streams) config(w *witness, version int) string {
	limit := -1
	if w.max > 0 {
		limit = w.max
	}
	// Else the mirror of the first stream would answer for it.
	direct := w != sc.ws[0]
	compression := []string{"none", "s2"}[(int(sc.seed)+version)%2]
	return fmt.Sprintf(`{"name":%q,"subjects":["%s.>"],"description":"%d","compression":%q,"max_msgs":%d,"allow_direct":%v,`+
		`"allow_rollup_hdrs":true,"allow_atomic":true,"allow_batched":true,"allow_msg_ttl":true,"republish":{"src":">","dest":"again.>"}}`,
		w.stream, w.stream, version, compression, limit, direct)
}

func (sc *streams) verify(p *powered) error {
	ctx, cancel := patient(answerWithin)
	defer cancel()
	for i, w := range sc.ws {
		a, err := p.ask(ctx, "$JS.API.STREAM.INFO."+w.stream, "")
		if isCode(err, codeStreamNotFound) && !w.created {
			if i == 0 {
				sc.judged = 0
			}
			*w = witness{stream: w.stream, max: w.max, messages: map[string]*publication{}, batches: map[string][]*publication{}}
			continue
		}
		if err != nil {
			return fmt.Errorf("info of stream %s: %w", w.stream, err)
		}
		w.created = true
		found, err := p.consumeStream(w.stream)
		if err != nil {
			return err
		}
		if i == 0 {
			if err := sc.verifyMirror(p, found); err != nil {
				return err
			}
			sc.judged = a.State.LastSeq
		}
		if err := w.judge(found, a); err != nil {
			return err
		}
		if err := w.verifyIDs(ctx, p); err != nil {
			return err
		}
	}
	return errors.Join(sc.bucket.verify(p), sc.counter.verify(ctx, p), sc.churn.verify(ctx, p), sc.skipped.verify(ctx, p))
}

func (sc *streams) verifyMirror(p *powered, found map[uint64]stored) error {
	copied, err := p.readStream("M")
	if err != nil && (sc.mirror || !errors.Is(err, nats.ErrNoResponders)) {
		return err
	}
	return sc.ws[0].judgeCopy(found, copied, sc.judged)
}

// verifyIDs sends messages again whose ids the stream must know.
func (w *witness) verifyIDs(ctx context.Context, p *powered) error {
	left := 3
	for _, m := range w.messages {
		if m.id == "" {
			continue
		}
		a, err := p.ask(ctx, m.subject, "again", "Nats-Msg-Id", m.id)
		if err != nil {
			return fmt.Errorf("stream %s: id %s again: %w", w.stream, m.id, err)
		}
		if !a.Duplicate || a.Seq != m.seq {
			return fmt.Errorf("stream %s: id %s of message %d is taken for message %d, duplicate %v", w.stream, m.id, m.seq, a.Seq, a.Duplicate)
		}
		if left--; left == 0 {
			return nil
		}
	}
	return nil
}

func (sc *streams) work(ctx context.Context, p *powered, rng *rand.Rand, life int) error {
	var wg sync.WaitGroup
	defer wg.Wait() // also when something cannot be created
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed atomic.Pointer[error]
	run := func(f func() error) {
		wg.Go(func() {
			err := f()
			if err != nil && ctx.Err() == nil && !p.disk.IsCut() {
				failed.CompareAndSwap(nil, &err)
				p.disk.Cut() // the life ends here
			}
		})
	}
	for i, w := range sc.ws {
		if !w.created {
			w.asked = max(w.asked, 1)
			if _, err := p.ask(ctx, "$JS.API.STREAM.CREATE."+w.stream, sc.config(w, 1)); err != nil {
				return err
			}
			w.created, w.confirmed = true, 1
		}
		if err := w.listen(p); err != nil {
			return err
		}
		for c := range sc.clients {
			client := &publisher{powered: p, w: w, rng: rand.New(rand.NewPCG(rng.Uint64(), uint64(c))),
				subject: fmt.Sprintf("%s.%d", w.stream, c), name: fmt.Sprintf("%d.%d.%d", life, i, c)}
			if c == 0 {
				client.config = sc.config
			}
			run(func() error { return client.run(ctx) })
		}
		if i < 3 {
			run(func() error { return w.read(ctx, p) })
		}
	}
	run(func() error { return sc.mirrored(ctx, p) })
	run(func() error { return sc.bucket.work(ctx, p, life) })
	run(func() error { return sc.counter.work(ctx, p) })
	run(func() error { return sc.churn.work(ctx, p) })
	run(func() error { return sc.skipped.work(ctx, p) })
	wg.Wait()
	if err := failed.Load(); err != nil {
		return &clientError{*err}
	}
	return nil
}

// clientError is an answer that no client should get.
type clientError struct{ error }

// listen notes what a push consumer delivers and what is republished.
func (w *witness) listen(p *powered) error {
	inbox := p.nc.NewInbox()
	if err := p.hear(inbox, func(m *nats.Msg) {
		if meta, err := m.Metadata(); err == nil {
			w.show(meta.Sequence.Stream, m.Subject, string(m.Data))
		}
	}); err != nil {
		return err
	}
	if err := p.hear("again."+w.stream+".>", func(m *nats.Msg) {
		if seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64); err == nil {
			w.show(seq, strings.TrimPrefix(m.Subject, "again."), string(m.Data))
		}
	}); err != nil {
		return err
	}
	return p.nc.PublishMsg(message("$JS.API.CONSUMER.CREATE."+w.stream,
		fmt.Sprintf(`{"stream_name":%q,"config":{"deliver_subject":%q,"deliver_policy":"new","ack_policy":"none","mem_storage":true}}`, w.stream, inbox)))
}

// read asks for messages and for the state in all forms.
func (w *witness) read(ctx context.Context, p *powered) error {
	for n := 0; ctx.Err() == nil; n++ {
		switch n % 3 {
		case 0:
			a, err := p.ask(ctx, "$JS.API.STREAM.INFO."+w.stream, "")
			if err != nil {
				return fmt.Errorf("info of %s: %w", w.stream, err)
			}
			w.end(a.State.LastSeq)
		case 1:
			a, err := p.ask(ctx, "$JS.API.STREAM.MSG.GET."+w.stream, fmt.Sprintf(`{"last_by_subj":"%s.%d"}`, w.stream, n/3%3))
			if err == nil {
				w.show(a.Message.Seq, a.Message.Subject, string(a.Message.Data))
			} else if !isCode(err, codeNoMessage) {
				return fmt.Errorf("get from %s: %w", w.stream, err)
			}
		case 2:
			m, err := p.nc.RequestWithContext(ctx, fmt.Sprintf("$JS.API.DIRECT.GET.%s.%s.%d", w.stream, w.stream, n/3%3), nil)
			if errors.Is(err, nats.ErrNoResponders) && w.stream == "S0" {
				continue
			}
			if err != nil {
				return fmt.Errorf("direct get from %s: %w", w.stream, err)
			}
			if seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64); err == nil {
				w.show(seq, m.Header.Get("Nats-Subject"), string(m.Data))
			}
		}
	}
	return nil
}

// mirrored makes a mirror of the first stream and reads it.
func (sc *streams) mirrored(ctx context.Context, p *powered) error {
	if !sc.mirror {
		if _, err := p.ask(ctx, "$JS.API.STREAM.CREATE.M", `{"name":"M","mirror":{"name":"S0"},"allow_direct":true}`); err != nil {
			return fmt.Errorf("mirror: %w", err)
		}
		sc.mirror = true
	}
	inbox := p.nc.NewInbox()
	if err := p.hear(inbox, func(m *nats.Msg) {
		if meta, err := m.Metadata(); err == nil {
			sc.ws[0].show(meta.Sequence.Stream, m.Subject, string(m.Data))
		}
	}); err != nil {
		return err
	}
	_, err := p.ask(ctx, "$JS.API.CONSUMER.CREATE.M", fmt.Sprintf(`{"stream_name":"M","config":{"deliver_subject":%q,"deliver_policy":"new","ack_policy":"none","mem_storage":true}}`, inbox))
	return err
}

func TestPowerCutStreams(t *testing.T) { runSeeds(t, 50, newStreams) }

func TestPowerCutStreamsCatchesFaults(t *testing.T) {
	catches(t, newStreams, map[string]fault{
		"ack before sync":                     ackBeforeSync,
		"visible before durable":              visibleBeforeDurable,
		"duplicate's ack before the original": duplicateAckEarly,
	})
}
