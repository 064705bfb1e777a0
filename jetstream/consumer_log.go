package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/natsd/natsd/jetstream/consumer"
	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/consumerstate"
)

// consumerLog makes the state of a consumer durable: each turn's changes go as a
// run to the commit journal; o.dat is a checkpoint, written when the journal
// needs its space back, when the consumer has been quiet for a while, and when
// it stops. Fields under "state" are guarded by the consumer's state lock.
type consumerLog struct {
	c     *Consumer
	runs  *commit.RunLog
	epoch uint64

	keep atomic.Bool // no more checkpoints: the journal's acks are needed at the next start

	op uint64 // state: of the last run

	due        checkpointDue // guarded by the engine's checkpoints
	checkpoint timer

	mu     sync.Mutex // held while a file is written, and guards the rest; taken before state, never after it
	files  *consumerstate.Files
	closed bool
}

// errLogClosed says that a checkpoint came too late to be written.
var errLogClosed = errors.New("consumer is closed")

// checkpointDue says in which line a log waits for its checkpoint.
type checkpointDue uint8

const (
	dueNot checkpointDue = iota
	dueLazy
	dueUrgent
)

// quietCheckpoint is how long after a change o.dat follows by itself, for a
// process that is killed and for the reference server that may come after it.
const quietCheckpoint = 2 * time.Second

// newConsumerLog opens the log of a new consumer; what an earlier one of its name
// left is void.
func newConsumerLog(c *Consumer) (*consumerLog, error) {
	if err := c.set.queue.Perform(&commit.Op{Forget: c.relativePath()}); err != nil {
		return nil, err
	}
	l, _ := openConsumerLog(c)
	return l, nil
}

// openConsumerLog opens the log and returns the runs that wait in it.
func openConsumerLog(c *Consumer) (*consumerLog, [][]byte) {
	l := &consumerLog{c: c, epoch: 1}
	var runs [][]byte
	l.runs, runs = c.set.queue.NewRunLog(c.relativePath(), l.request)
	l.checkpoint.fire = l.quiet
	return l, runs
}

// relativePath is the consumer's directory below the store directory.
func (c *Consumer) relativePath() string {
	return path.Join("jetstream", c.stream.account.name, "streams", c.stream.name, "obs", c.name)
}

func (c *Consumer) filesOptions() consumerstate.FilesOptions {
	d := c.stream.engine.disk
	return consumerstate.FilesOptions{
		FS: d.fs, Maker: d.maker, Dir: path.Join(d.opts.StoreDir, c.relativePath()), Account: c.stream.account.name,
		Stream: c.stream.name, Consumer: c.name, Ring: d.keys,
	}
}

// create writes the files of a new consumer, whose engine runs already, or makes it
// unknown. The caller has locked mu, which is released.
func (l *consumerLog) create(cfg *jsapi.ConsumerConfig) error {
	defer l.mu.Unlock()
	meta, err := encodeConsumerMeta(l.c, cfg)
	if err == nil {
		l.c.state.Lock()
		state, cp, mark := l.c.snapshot()
		l.c.state.Unlock()
		if l.files, err = consumerstate.CreateFiles(l.c.filesOptions(), meta, &state, cp, time.Now().UnixNano()); err == nil {
			l.runs.Checkpointed(mark)
			return nil
		}
	}
	l.c.set.drop(l.c)
	return err
}

// writeMeta makes a new configuration durable.
func (l *consumerLog) writeMeta(cfg *jsapi.ConsumerConfig) error {
	meta, err := encodeConsumerMeta(l.c, cfg)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files == nil {
		return errLogClosed
	}
	return l.files.WriteMeta(meta)
}

// runOp is a run on its way to the journal, with the answers that wait for it.
type runOp struct {
	commit.Op // first: completed gets its address back
	log       *consumerLog
	encoded   []byte
	confirms  []string
}

var runOps = sync.Pool{New: func() any { return new(runOp) }}

// append hands the changes of a turn to the journal. Under state.
func (l *consumerLog) append(steps []consumerstate.Step, confirms []string) {
	l.op++
	o := runOps.Get().(*runOp)
	run := consumerstate.Run{Epoch: l.epoch, Op: l.op, Steps: steps}
	o.encoded = run.AppendTo(o.encoded[:0])
	o.confirms = append(o.confirms[:0], confirms...)
	o.log = l
	o.Op = commit.Op{Runs: l.runs, Data: o.encoded, Lazy: len(confirms) == 0}
	l.changed()
	q := l.c.set.queue
	q.Submit(&o.Op)
	q.Start()
}

// changed sees to it that a checkpoint follows. Under state.
func (l *consumerLog) changed() {
	if !l.c.dirty {
		l.c.dirty = true
		l.c.stream.engine.timers.armEarlier(&l.checkpoint, time.Now().Add(quietCheckpoint))
	}
}

// runsCompleted is called by the queue of a stream's consumers with the runs that
// are durable, or lost.
func runsCompleted(ops []*commit.Op) {
	var p Publisher
	var a *Account
	for _, op := range ops {
		if op.Runs == nil {
			continue
		}
		o := (*runOp)(unsafe.Pointer(op)) // Op is the first field, and only append submits runs
		a = o.log.c.stream.account
		if op.Err != nil {
			o.log.fallBack(op.Err, o.confirms)
		} else {
			for _, reply := range o.confirms {
				a.publisher(&p).Publish(asBytes(reply), nil, nil, nil)
			}
		}
		clear(o.confirms)
		o.confirms = o.confirms[:0]
		if cap(o.encoded) <= keepBatch {
			runOps.Put(o)
		}
	}
	if a != nil {
		a.release(p)
	}
}

// fallBack does without the journal: the answers wait for a checkpoint.
func (l *consumerLog) fallBack(err error, confirms []string) {
	waiting := append([]string(nil), confirms...)
	go func() {
		if l.keep.Load() {
			return // stopping: the client asks again
		}
		if werr := l.write(); werr != nil {
			l.c.stream.engine.event(ErrorEvent{"state of consumer '" + l.c.path() + "': " + err.Error() + "; " + werr.Error()})
			return // unanswered: the client asks again
		}
		for _, reply := range waiting {
			l.c.stream.account.publish(asBytes(reply), nil, nil, nil)
		}
	}()
}

// request writes a checkpoint soon, since the journal needs its space.
func (l *consumerLog) request() { l.c.stream.engine.checkpoints.push(l, true) }

// quiet writes a checkpoint when there is time.
func (l *consumerLog) quiet() { l.c.stream.engine.checkpoints.push(l, false) }

// write makes o.dat hold the present state, durably.
func (l *consumerLog) write() error {
	if l.keep.Load() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errLogClosed
	}
	if l.files == nil {
		return nil // deleted meanwhile
	}
	c := l.c
	c.state.Lock()
	state, cp, mark := c.snapshot()
	c.dirty = false
	c.state.Unlock()
	if err := l.files.WriteState(&state, cp, time.Now().UnixNano()); err != nil {
		return err
	}
	l.runs.Checkpointed(mark)
	return nil
}

// close writes the last checkpoint, if there is something new, and ends the log.
func (l *consumerLog) close() error {
	l.c.stream.engine.timers.disarm(&l.checkpoint)
	l.c.state.Lock()
	dirty := l.c.dirty
	l.c.state.Unlock()
	var err error
	if dirty {
		err = l.write()
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.runs.Close()
	return err
}

// drop ends the log of a consumer whose files go with its stream's, or went.
func (l *consumerLog) drop() {
	l.c.stream.engine.timers.disarm(&l.checkpoint)
	l.mu.Lock()
	l.files = nil
	l.mu.Unlock()
	l.runs.Drop()
}

// remove ends the log of a consumer that is deleted, and deletes its files.
func (l *consumerLog) remove() error {
	l.mu.Lock()
	files := l.files
	l.mu.Unlock()
	op := &commit.Op{Forget: l.c.relativePath()}
	if files != nil {
		op.Do = files.Remove
	}
	err := l.c.set.queue.Perform(op)
	l.drop()
	return err
}

// snapshot is what a checkpoint holds, and the position in the journal up to
// which it covers. Under state.
func (c *Consumer) snapshot() (consumerstate.State, consumerstate.Checkpoint, int64) {
	state, scanned := c.m.Snapshot()
	cfg := c.config.Load()
	return state, consumerstate.Checkpoint{
		Created: c.created.UnixNano(), Filters: consumerstate.FiltersHash(cfg.Filters()),
		Delivered: state.Delivered.Stream, Scanned: scanned, Epoch: c.log.epoch, Op: c.log.op,
	}, c.log.runs.Mark()
}

// consumerMeta is the content of a consumer's meta.inf.
type consumerMeta struct {
	Created time.Time
	Name    string
	jsapi.ConsumerConfig
}

func encodeConsumerMeta(c *Consumer, cfg *jsapi.ConsumerConfig) ([]byte, error) {
	return json.Marshal(consumerMeta{c.created, c.name, *cfg})
}

// recover opens the consumers found on disk. It is called before the stream is
// served, on the goroutine that opens it, and may block.
func (cs *consumerSet) recover() {
	if cs.queue == nil {
		return
	}
	d := cs.stream.engine.disk
	dir := path.Join(d.streamDir(cs.stream.account.name, cs.stream.name), "obs")
	entries, err := d.fs.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		cs.stream.engine.event(ErrorEvent{"reading the consumers of '" + cs.stream.account.name + " > " + cs.stream.name + "': " + err.Error()})
		cs.setBroken("") // nobody knows which there are
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if cleared, err := consumerstate.Clear(d.fs, path.Join(dir, e.Name())); cleared || err != nil {
			if err != nil {
				cs.stream.engine.event(ErrorEvent{"clearing consumer '" + cs.stream.account.name + " > " + cs.stream.name + " > " + e.Name() + "': " + err.Error()})
			}
			continue
		}
		if !jsapi.ValidName(e.Name()) {
			continue
		}
		if err := cs.recoverOne(e.Name()); err != nil && !errors.Is(err, consumerstate.ErrNoFiles) {
			cs.stream.engine.event(ErrorEvent{"recovering consumer '" + cs.stream.account.name + " > " + cs.stream.name + " > " + e.Name() + "': " + err.Error()})
			cs.setBroken(e.Name())
		}
	}
	if len(entries) == 0 {
		return
	}
	// An ack may have become durable before the removal that follows from it.
	cs.recheck()
	for _, c := range cs.list() {
		cs.release(c.acked)
		c.acked = nil
	}
}

// recoverOne opens one consumer: its configuration, the checkpoint of its state,
// and the runs of the journal behind it.
func (cs *consumerSet) recoverOne(name string) error {
	c := cs.newConsumer(name, time.Time{}, &jsapi.ConsumerConfig{})
	files, inf, err := consumerstate.OpenFiles(c.filesOptions())
	if err != nil {
		return err
	}
	var meta consumerMeta
	_, strict := jsapi.Decode(inf, &meta, true)
	if strict != nil {
		if _, err := jsapi.Decode(inf, &meta, false); err != nil {
			return err
		}
	}
	if why := unsupported(meta.Metadata, strict); why != "" {
		cs.setOffline(name, why)
		return nil
	}
	state, cp, err := files.ReadState()
	if err != nil {
		return err
	}
	cfg := &meta.ConsumerConfig
	if err := cfg.Revive(name); err != nil {
		return err
	}
	created := meta.Created
	c = cs.newConsumer(name, created, cfg)
	log, runs := openConsumerLog(c)
	log.files = files
	t := consumerstate.NewTracker(trackerConfig(cfg))
	if err := t.ForceUpdate(&state); err != nil {
		log.runs.Close()
		return err
	}
	t.Resume(cp.Epoch, cp.Op)
	if c.acked, err = replay(t, runs, cfg.AckPolicy); err != nil {
		log.runs.Close()
		return err
	}
	state = t.State()
	epoch, _ := t.Position()
	log.epoch = epoch + 1
	c.log = log

	last := cs.stream.store.Positions().Visible
	scanned := max(t.Scanned(), cp.ScannedFor(created.UnixNano(), consumerstate.FiltersHash(cfg.Filters()), state.Delivered.Stream, last))
	if c.goOn(&state, scanned) {
		// The runs tell of messages whose sequences are given anew: they must not come
		// back at another start.
		return log.write()
	}
	return nil
}

// revive makes a consumer of an archive, whose state is in memory only, go on.
// The stream is not served yet.
func (cs *consumerSet) revive(r restoredConsumer) error {
	t := consumerstate.NewTracker(trackerConfig(r.config))
	if err := t.ForceUpdate(&r.state); err != nil {
		return err
	}
	state := t.State()
	cs.newConsumer(r.name, r.created, r.config).goOn(&state, 0)
	return nil
}

// goOn starts a consumer where its state and the position of its scan say. It reports
// whether the state went beyond the end of the stream.
func (c *Consumer) goOn(state *consumerstate.State, scanned uint64) (cut bool) {
	cs, cfg := c.set, c.config.Load()
	var s msgstore.State
	cs.stream.store.FastState(&s)
	c.state.Lock()
	defer c.state.Unlock()
	c.m, cut = consumer.Restore(cfg, state, scanned, s.FirstSeq, s.LastSeq, c, c.options(cfg))
	if cut {
		cs.stream.engine.event(WarningEvent{"consumer '" + c.path() + "' was ahead of its stream and goes on at its end"})
	}
	c.m.CheckFloor(s.FirstSeq)
	for _, seq := range c.m.Pending(nil) { // the removal was durable, what the consumer made of it not
		if !cs.stream.store.Has(seq) {
			c.m.Gone(seq)
		}
	}
	c.recount()
	for c.counting.Load() != 0 {
		c.count()
	}
	c.floor.Store(c.m.Done())
	c.from.Store(c.m.Cursor())
	cs.add(c)
	c.watch(cfg)
	c.rearm(time.Now().UnixNano())
	return cut
}

// unsupported is why a consumer that needs an API level, and whose configuration
// has a member that is unknown here, cannot be used; "" if it can.
func unsupported(metadata map[string]string, unknown *jsapi.Error) string {
	required, stated := metadata["_nats.req.level"]
	level, err := strconv.Atoi(required)
	high := stated && (err != nil || level > jsapi.Level)
	detail := ""
	if unknown != nil {
		detail = strings.TrimPrefix(unknown.Description, "invalid JSON: ")
	}
	switch {
	case high && unknown != nil:
		return "unsupported - config error: " + strings.TrimPrefix(detail, "json: ")
	case high:
		return fmt.Sprintf("unsupported - required API level: %s, current API level: %d", required, jsapi.Level)
	case unknown != nil:
		return "decoding error: " + detail
	}
	return ""
}

// deleteOffline removes the files of a consumer that is offline; false if there
// is none of the name.
func (cs *consumerSet) deleteOffline(name string) (bool, error) {
	cs.change.Lock()
	defer cs.change.Unlock()
	if !cs.forgetUnusable(name) {
		return false, nil
	}
	c := cs.newConsumer(name, time.Time{}, &jsapi.ConsumerConfig{})
	return true, cs.queue.Perform(&commit.Op{Forget: c.relativePath(), Do: func() error {
		return consumerstate.Remove(cs.stream.engine.disk.fs, c.filesOptions().Dir)
	}})
}

func trackerConfig(cfg *jsapi.ConsumerConfig) consumerstate.Config {
	policy := consumerstate.AckAll
	switch cfg.AckPolicy {
	case jsapi.AckNone:
		policy = consumerstate.AckNone
	case jsapi.AckExplicit:
		policy = consumerstate.AckExplicit
	}
	return consumerstate.Config{Policy: policy, MaxDeliver: cfg.MaxDeliver}
}
