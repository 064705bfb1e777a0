package msgstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/mutation"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// proof is a run of the power-cut proof: five lives of a few stores of one host,
// all but the last ended by a power cut at a random I/O call, a killed process or
// an orderly stop. What a store then has must be what its ledger says, and
// nothing may be reported lost.
type proof struct {
	rng     *rand.Rand
	host    HostOptions
	opts    FileOptions
	disk    *crashfs.FS
	ledger  []*ledger
	nextID  uint64
	visited bool // another server uses the directory between two lives
	removes bool // much is removed, and compacted
	limited bool // there are limits, or will be

	notes
}

// notes are what a random run has done, in order.
type notes struct {
	mu  sync.Mutex // events come from several goroutines
	log []string
}

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, fmt.Sprintf(format, args...))
}

func newProof(seed uint64, m mutation.Set) *proof {
	rng := rand.New(rand.NewPCG(seed, 3))
	p := &proof{rng: rng, disk: crashfs.New(seed)}
	p.opts = FileOptions{
		Account:    "A",
		Durability: []Durability{Always, Always, Interval, External}[rng.IntN(4)],
		BlockSize:  int64(200 + rng.IntN(8000)),
		Clock:      func() time.Time { return time.Unix(0, 77) },
	}
	switch rng.IntN(4) {
	case 0:
		p.opts.Keys = KeyRing{Key: []byte("secret"), Cipher: ChaCha}
	case 1:
		p.opts.Keys = KeyRing{Key: []byte("secret"), Cipher: AES}
	}
	cfg := Config{Storage: FileStorage, Subjects: []string{">"}, Compression: Compression(rng.IntN(2))}
	if rng.IntN(3) == 0 {
		cfg.MaxMsgs = 1 + rng.Int64N(60)
	}
	if rng.IntN(4) == 0 {
		cfg.MaxBytes = 1 + rng.Int64N(8000)
	}
	if rng.IntN(4) == 0 {
		cfg.MaxMsgsPerSubject = 1 + rng.Int64N(20)
	}
	p.host = HostOptions{
		Manual: true, CacheBytes: 1 + rng.Int64N(100_000),
		Commit: commit.Options{
			SyncThreads:  1 + rng.IntN(4),
			NoJournal:    rng.IntN(3) == 0,
			JournalFiles: 1 + rng.IntN(3),
			SyncsAlone:   1 + rng.IntN(30),
			SegmentSize:  int64(16<<10) << rng.IntN(3),
			Segments:     2 + rng.IntN(2),
			Mutations:    m,
		},
		Events: func(e Event) {
			if _, ok := e.(commit.SyncDone); !ok {
				p.note("%s", e)
			}
		},
	}
	p.removes, p.limited = rng.IntN(2) == 0, rng.IntN(2) == 0 || cfg.MaxMsgs+cfg.MaxBytes+cfg.MaxMsgsPerSubject > 0
	stores := 1 + rng.IntN(4)
	if p.visited = rng.IntN(4) == 0; p.visited {
		// What others find is plain, and what the message that they take away had
		// pushed out would be a matter of opinion. Much is in the journal.
		stores, p.limited = 3, false
		p.opts.Keys, p.opts.Durability = KeyRing{}, Always
		cfg.MaxMsgs, cfg.MaxBytes, cfg.MaxMsgsPerSubject = 0, 0, 0
		p.host.Commit.NoJournal, p.host.Commit.JournalFiles = false, 1
	}
	for i := range stores {
		c := cfg
		c.Name = string(rune('P' + i))
		p.ledger = append(p.ledger, newLedger(c))
	}
	p.note("%+v, %+v, %+v", p.opts, cfg, p.host.Commit)
	return p
}

// verbose says that a run that fails shows what it did.
var verbose = os.Getenv("NATSD_LOG") != ""

// end is how a life ends.
type end uint8

const (
	endCut end = iota
	endKill
	endOrderly
)

// run returns what was violated.
func (p *proof) run() error {
	const lives = 5
	for life := range lives {
		how := endCut
		switch p.rng.IntN(8) {
		case 0:
			how = endOrderly
		case 1:
			how = endKill
		}
		last := life == lives-1
		if last {
			how = endOrderly
		}
		if how == endCut {
			p.disk.CutAt(1 + p.rng.Int64N(1+p.rng.Int64N(1200)))
		}
		if err := p.life(how, last); err != nil && !errors.Is(err, crashfs.ErrPowerCut) {
			return fmt.Errorf("life %d: %w", life, err)
		} else if err != nil && how != endCut {
			return fmt.Errorf("life %d: %w", life, err)
		}
		p.note("=== end of life %d: %d", life, how)
		switch how {
		case endCut:
			p.disk = p.disk.Crash()
		case endKill:
			p.disk = p.disk.Kill()
			if p.rng.IntN(3) == 0 {
				p.disk = p.disk.Crash()
			}
		}
		if how != endOrderly && p.visited {
			if err := p.visit(); err != nil {
				return fmt.Errorf("life %d: visit: %w", life, err)
			}
		}
		p.forgetIndex()
	}
	return nil
}

// provedStore is a store in one life.
type provedStore struct {
	*FileStore
	p    *proof
	l    *ledger
	wait sync.WaitGroup
}

func (p *proof) life(how end, last bool) error {
	told, err := p.examine()
	if err != nil {
		return err
	}
	opts := p.host
	opts.FS = p.disk
	h, err := NewHost("/store", opts)
	if err != nil {
		return err
	}
	var stores []*provedStore
	shut := func() error {
		var errs []error
		for _, s := range stores {
			errs = append(errs, s.Stop())
			s.wait.Wait()
		}
		return errors.Join(append(errs, h.Close())...)
	}
	fail := func(err error) error {
		cut := p.disk.IsCut()
		p.disk.Cut()
		shut()
		if cut {
			return crashfs.ErrPowerCut // it may not have been able to read
		}
		return err
	}
	for _, l := range p.ledger {
		if verbose {
			p.note("%s", dump(p.disk, path.Join("/store/jetstream/A/streams", l.name, "msgs"), l.name))
		}
		cfg, err := p.config(l)
		if err != nil {
			return fail(fmt.Errorf("meta of %s: %w", l.name, err))
		}
		f, err := OpenFileStore(h, *cfg, p.opts)
		if err != nil {
			return fail(fmt.Errorf("open %s: %w", l.name, err))
		}
		s := &provedStore{FileStore: f, p: p, l: l}
		stores = append(stores, s)
		found, err := inspect(f)
		found.cfg = cfg
		if err == nil {
			err = l.settle(found)
		}
		if x := told[l.name]; err == nil && p.judged() && x != nil && (x.last != found.last || !maps.Equal(x.live, found.live)) {
			err = fmt.Errorf("the checker sees %v;\nthe store has %v", x, &found)
		}
		if err != nil {
			return fail(fmt.Errorf("store %s: %w", l.name, err))
		}
		p.note("store %s: %v", l.name, &found)
	}
	for range 150 + p.rng.IntN(300) {
		if last || p.disk.IsCut() {
			break
		}
		stores[p.rng.IntN(len(stores))].step()
	}
	if how != endOrderly {
		p.disk.Cut()
		shut()
		return nil
	}
	for _, s := range stores {
		s.wait.Wait()
	}
	if err := shut(); err != nil {
		return err
	}
	for _, l := range p.ledger {
		l.durable(len(l.steps))
	}
	return nil
}

// finished returns a callback for an operation that ends with the steps so far.
func (s *provedStore) finished(what string, args ...any) func(error) {
	s.p.note("%s: "+what+" (%d)", slices.Concat([]any{s.l.name}, args, []any{len(s.l.steps)})...)
	n := len(s.l.steps)
	s.wait.Add(1)
	return func(err error) {
		if err == nil && s.p.opts.Durability == Always {
			s.l.durable(n)
		}
		s.wait.Done()
	}
}

// step does something random.
func (s *provedStore) step() {
	l, rng := s.l, s.p.rng
	removed := func(done func(error)) func(uint64, error) { return func(_ uint64, err error) { done(err) } }
	live := l.now.seqs()
	x := rng.IntN(1000)
	if s.p.removes && rng.IntN(3) == 0 {
		x = []int{660, 945}[rng.IntN(2)]
	}
	switch {
	case x < 650:
		s.store()
	case x < 660:
		if s.p.limited {
			s.limit()
		}
	case x < 820:
		var seqs []uint64
		for range 1 + rng.IntN(3) {
			if len(live) > 0 {
				seqs = append(seqs, live[rng.IntN(len(live))])
			}
		}
		for _, seq := range seqs {
			l.add(step{kind: stepRemove, seq: seq})
		}
		erase := rng.IntN(4) == 0
		done := s.finished("remove %v %v", seqs, erase)
		s.RemoveMsgs(seqs, erase, removed(done))
	case x < 850:
		keep := uint64(0)
		if rng.IntN(2) == 0 { // what is in flight counts as kept
			s.wait.Wait()
			keep = rng.Uint64N(5)
		}
		subject := messageSubject(rng.Uint64N(3))
		gone := l.now.matching(subject)
		gone = gone[:max(len(gone)-int(keep), 0)]
		for _, seq := range gone {
			l.add(step{kind: stepRemove, seq: seq})
		}
		done := s.finished("purge %s %d", subject, keep)
		s.PurgeMsgs(subject, 0, keep, removed(done))
	case x < 865:
		l.add(step{kind: stepFloor, seq: l.now.last + 1})
		done := s.finished("purge")
		s.PurgeMsgs("", 0, 0, removed(done))
	case x < 890:
		seq := l.now.first() + rng.Uint64N(l.now.last-l.now.first()+3)
		if seq < 2 {
			return
		}
		l.add(step{kind: stepFloor, seq: seq})
		done := s.finished("compact %d", seq)
		s.PurgeMsgs("", seq, 0, removed(done))
	case x < 905:
		to := l.now.last - rng.Uint64N(min(l.now.last, 20)+1)
		if to == 0 && rng.IntN(4) > 0 {
			return
		}
		l.add(step{kind: stepTruncate, seq: to})
		n := len(l.steps)
		done := s.finished("truncate %d", to)
		err := s.Truncate(to)
		if err == nil {
			l.durable(n)
		}
		done(err)
	case x < 925:
		n := len(l.steps)
		if _, err := s.FlushAllPending(); err == nil {
			l.durable(n)
		}
		s.p.note("%s: flush", l.name)
	case x < 930:
		s.wait.Wait()
	case x < 965:
		s.p.note("maintain")
		s.disk.host.Maintain(rng.Int64N(150))
	default:
		// What is shown is durable in mode always: at least the first step that made
		// this the last sequence.
		state := s.State()
		if s.p.opts.Durability != Always || slices.ContainsFunc(l.steps, func(s step) bool { return s.kind == stepTruncate }) {
			return
		}
		b := book{live: map[uint64]uint64{}, last: l.began.last}
		for n, x := range l.steps {
			if x.kind == stepStore || x.kind == stepSkip || x.kind == stepFloor {
				b.apply(x)
			}
			if b.last == state.LastSeq && b.last > l.began.last {
				l.durable(n + 1)
				return
			}
		}
	}
}

// limit changes the limits.
func (s *provedStore) limit() {
	l, rng := s.l, s.p.rng
	cfg := *l.now.cfg
	for _, x := range []struct {
		limit *int64
		most  int64
	}{{&cfg.MaxMsgs, 60}, {&cfg.MaxBytes, 8000}, {&cfg.MaxMsgsPerSubject, 20}} {
		switch rng.IntN(4) {
		case 0:
			*x.limit = 0
		case 1:
			*x.limit = 1 + rng.Int64N(x.most)
		}
	}
	same := cfg.sameLimits(l.now.cfg)
	l.add(step{kind: stepLimits, cfg: &cfg})
	n := len(l.steps)
	done := s.finished("limits %d %d %d", cfg.MaxMsgs, cfg.MaxBytes, cfg.MaxMsgsPerSubject)
	err := s.UpdateConfig(cfg)
	if err == nil && !same {
		l.durable(n) // in all modes
	}
	done(err)
}

// judged says whether the checker knows as much as the store. What is lost in a visit
// is a matter of opinion, and it does not know that the caller has a log of its own.
func (p *proof) judged() bool { return !p.visited && p.opts.Durability != External }

// examine returns what the offline checker sees of the streams, before a store opens
// them. It finds no damage.
func (p *proof) examine() (map[string]*book, error) {
	opts := check.Options{FS: p.disk, Keys: p.opts.Keys}
	told := map[string]*book{}
	rep, err := check.Verify("/store", opts)
	if errors.Is(err, check.ErrNoStore) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	for _, f := range rep.Findings {
		if f.Severity == check.Damage && p.judged() {
			return nil, fmt.Errorf("verify: %s", f)
		}
	}
	for _, st := range rep.Streams {
		told[st.Stream] = &book{live: map[uint64]uint64{}, last: st.LastSeq}
	}
	err = check.Messages("/store", opts, func(m *check.Message) error {
		id, err := messageID(&StoredMsg{Seq: m.Seq, Subject: m.Subject, Header: m.Header, Data: m.Data, Time: m.Time})
		told[m.Stream].live[m.Seq] = id
		return err
	})
	return told, err
}

// config is the configuration that is in force in the next life.
func (p *proof) config(l *ledger) (*Config, error) {
	cfg := *l.began.cfg
	raw, err := ReadStreamMeta(p.disk, path.Join("/store/jetstream/A/streams", l.name), "A", p.opts.Keys)
	if errors.Is(err, fs.ErrNotExist) {
		return &cfg, nil // the stream was never made
	}
	if err != nil {
		return nil, err
	}
	var x struct {
		Msgs  int64 `json:"max_msgs"`
		Bytes int64 `json:"max_bytes"`
		Per   int64 `json:"max_msgs_per_subject"`
	}
	if err := json.Unmarshal(raw, &x); err != nil {
		return nil, err
	}
	cfg.MaxMsgs, cfg.MaxBytes, cfg.MaxMsgsPerSubject = limit(x.Msgs), limit(x.Bytes), limit(x.Per)
	return &cfg, nil
}

// forgetIndex takes index.db away, as one does who changes blocks. The manifest stands
// in for it.
func (p *proof) forgetIndex() {
	if p.rng.IntN(4) > 0 {
		return
	}
	for _, l := range p.ledger {
		msgs := path.Join("/store/jetstream/A/streams", l.name, "msgs")
		p.disk.Remove(path.Join(msgs, indexFile))
		p.disk.SyncDir(msgs)
	}
	p.note("=== no index.db")
}

// store stores a batch.
func (s *provedStore) store() {
	l, rng := s.l, s.p.rng
	var batch []RawMsg
	for range 1 + rng.IntN(3) {
		s.p.nextID++
		id := s.p.nextID
		m := message(id)
		switch rng.IntN(60) {
		case 0:
			m = RawMsg{Skip: 1 + rng.Uint64N(5), Time: m.Time}
			l.add(step{kind: stepSkip, seq: m.Skip})
		case 1:
			m.Rollup = RollupAll
			l.add(step{kind: stepStore, id: id})
			l.add(step{kind: stepFloor, seq: l.now.last})
		case 2:
			m.Rollup = RollupSubject
			same := l.now.matching(m.Subject)
			l.add(step{kind: stepStore, id: id})
			for _, seq := range same {
				l.add(step{kind: stepRemove, seq: seq})
			}
		default:
			l.add(step{kind: stepStore, id: id})
		}
		batch = append(batch, m)
	}
	s.StoreRawMsgs(batch, s.finished("store %d", len(batch)))
}

// visit is what another server may do to the directory before ours opens it again:
// it takes the last message of a plain block away and stores another one. What ours
// has in its journal for that place must not be written over it. What was stored in
// the life before may be gone, since that server does not know the journal.
func (p *proof) visit() error {
	l := p.ledger[p.rng.IntN(len(p.ledger))]
	if l.visitor.id != 0 {
		return nil // nobody has seen yet what the one before left
	}
	msgs := path.Join("/store/jetstream/A/streams", l.name, "msgs")
	entries, err := p.disk.ReadDir(msgs)
	if err != nil {
		return nil // the stream was never made
	}
	var last uint32
	for _, e := range entries {
		var n uint32
		if e.Name() == truncationFile {
			return nil
		}
		if strings.HasSuffix(e.Name(), ".blk") {
			fmt.Sscanf(e.Name(), "%d.blk", &n)
		}
		last = max(last, n)
	}
	name := path.Join(msgs, blockName(last))
	content, err := vfs.ReadFile(p.disk, name, 1<<30)
	if err != nil || len(content) == 0 || blockcomp.Is(content) {
		return nil
	}
	key := record.NewKey(l.name, last)
	var r record.Record
	at := 0
	for off := 0; off < len(content); off += r.Size {
		if r, err = record.Decode(content[off:], &key); err != nil {
			return nil // torn
		}
		at = off
	}
	if r.Kind != record.Message {
		return nil
	}
	p.nextID++
	m := message(p.nextID)
	f, err := p.disk.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(at)); err != nil {
		return err
	}
	if _, err := f.WriteAt(record.AppendMessage(nil, &key, r.Seq, m.Time, m.Subject, m.Header, m.Data), int64(at)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// As one does who changes blocks. If it came back after a power cut, it would say
	// that the message taken away is lost.
	p.disk.Remove(path.Join(msgs, indexFile))
	l.visitor = step{seq: r.Seq, id: p.nextID}
	l.safe = 0
	p.note("%s: a visitor stored %d as %d", l.name, p.nextID, r.Seq)
	return p.disk.SyncDir(msgs)
}

func prove(seed uint64, m mutation.Set) (*proof, error) {
	p := newProof(seed, m)
	return p, p.run()
}

func TestPowerCut(t *testing.T) {
	for seed := range seedtest.Seeds(t, 300) {
		if p, err := prove(seed, mutation.Set{}); err != nil {
			p.mu.Lock()
			t.Errorf("seed %d: %v", seed, err)
			if verbose {
				t.Logf("%s", strings.Join(p.log, "\n"))
			}
			p.mu.Unlock()
			if os.Getenv("NATSD_ALL") == "" {
				return
			}
		}
	}
}

// The proof notices faults of the store.
func TestPowerCutCatchesMutations(t *testing.T) {
	for name, m := range map[string]mutation.Set{
		"completion before sync":             {CompleteBeforeSync: true},
		"rotation without sync":              {RotateWithoutSync: true},
		"journal record without chain check": {SkipChainCheck: true},
		"tombstone not synced":               {TombstoneUnsynced: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(100) {
				if _, err := prove(seed+1, m); err != nil {
					t.Logf("caught at seed %d: %.200v", seed+1, err)
					return
				}
			}
			t.Error("not caught within 100 seeds")
		})
	}
}
