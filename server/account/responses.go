package account

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// maxResponses and maxResponseBytes (of reply subjects) bound the requests of one
	// exporting account that wait for answers: some 60 MiB. A request beyond it is not
	// delivered, which the requester sees as no responders.
	maxResponses     = 1 << 17
	maxResponseBytes = 32 << 20

	// maxFree bounds the entries that are kept for later requests, maxFreeReply
	// the reply subjects that are kept with them.
	maxFree      = 1024
	maxFreeReply = 256

	// expirySlice is how many requests are looked at before others get a turn.
	expirySlice = 512
)

const (
	replyPrefix = "_R_."
	ackPrefix   = "$JS.ACK"
	// The part of a reply subject behind replyPrefix: six characters that stand
	// for the exporting account, a dot, six for the request.
	replyToken = 6
	replyLen   = len(replyPrefix) + 2*replyToken + 1
)

func isServiceReply(subject []byte) bool {
	return len(subject) >= replyLen && string(subject[:len(replyPrefix)]) == replyPrefix
}

// A publisher of a fast-ingest batch asks for answers on
//
//	<prefix>.<batch id>.<flow>.<gap mode>.<seq>.<op>.$FI
//
// and gets one for many messages: the batch has one way back, to which the last
// tokens of each reply subject are added.
const (
	fastSuffix = ".$FI"
	fastTokens = 5 // behind the batch id
)

// batchOf is the length of the part of a reply subject that all messages of a
// fast-ingest batch have; 0 if it is no such subject.
func batchOf(reply []byte) int {
	if !bytes.HasSuffix(reply, []byte(fastSuffix)) {
		return 0
	}
	at := len(reply)
	for range fastTokens {
		if at = bytes.LastIndexByte(reply[:at], '.'); at <= 0 {
			return 0
		}
	}
	return at
}

func isAck(reply []byte) bool {
	return len(reply) > len(ackPrefix) && string(reply[:len(ackPrefix)]) == ackPrefix
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

type replyKey [replyToken]byte

func randomToken() (t replyKey) {
	n := rand.Uint64()
	for i := range t {
		t[i] = base62[n%62]
		n /= 62
	}
	return t
}

// responses are the requests to services of an account that wait for answers.
type responses struct {
	prefix [len(replyPrefix) + replyToken + 1]byte // constant

	mu      sync.Mutex // guards the rest, and the fields of each response
	waiting replyTable
	bytes   int                    // of the reply subjects in waiting
	batches map[batchKey]*response // of waiting: those of fast-ingest batches
	free    []*response            // to be used again
	timer   *time.Timer            // of expire; nil until the first request
	due     time.Time              // of the timer; zero while it does not run
	stopped bool
}

// batchKey is a fast-ingest batch: who imports, and what its reply subjects begin
// with.
type batchKey struct {
	imp   *ServiceImport
	reply string
}

// response is the way back of one request, or of a batch. Those that are not
// measured are used again, so nobody keeps a pointer to one.
type response struct {
	imp   *ServiceImport
	key   replyKey
	reply []byte    // its own memory
	batch int       // how much of reply stands for the batch; 0: it is the way back of one request
	probe *probe    // nil: not measured
	used  time.Time // of the request, or of the last answer

	next    *response // of its chain in the table
	awaited link      // in the importing account
}

// appendReply appends the subject that answers to the request come on.
func (rs *responses) appendReply(dst []byte, key replyKey, probe *probe) []byte {
	dst = append(dst, rs.prefix[:]...)
	dst = append(dst, key[:]...)
	if probe != nil {
		dst = probe.appendSuffix(dst)
	}
	return dst
}

func (rs *responses) init() {
	t := randomToken()
	n := copy(rs.prefix[:], replyPrefix)
	n += copy(rs.prefix[n:], t[:])
	rs.prefix[n] = '.'
}

// keyOf returns the key in the subject of an answer to a service of this account.
func (rs *responses) keyOf(subject []byte) (key replyKey, ok bool) {
	if string(subject[:len(rs.prefix)]) != string(rs.prefix[:]) {
		return key, false
	}
	return replyKey(subject[len(rs.prefix):]), true
}

// add notes a request; ok is false if there are too many.
func (rs *responses) add(now time.Time, imp *ServiceImport, reply []byte, probe *probe) (key replyKey, ok bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.waiting.n >= maxResponses || rs.bytes+len(reply) > maxResponseBytes || rs.stopped {
		return key, false
	}
	rs.bytes += len(reply)
	var r *response
	if last := len(rs.free) - 1; last >= 0 {
		r, rs.free[last] = rs.free[last], nil
		rs.free = rs.free[:last]
	} else {
		r = new(response)
	}
	r.imp, r.reply, r.probe, r.used = imp, append(r.reply[:0], reply...), probe, now
	for r.key = randomToken(); rs.waiting.get(r.key) != nil; r.key = randomToken() {
	}
	rs.waiting.put(r)
	imp.Importer.awaiting.add(r)
	rs.expireIn(now, imp.Export.threshold())
	return r.key, true
}

// addBatch is add for a message of a fast-ingest batch, n as batchOf tells. The
// batch is noted with its first message.
func (rs *responses) addBatch(now time.Time, imp *ServiceImport, reply []byte, n int) (key replyKey, ok bool) {
	rs.mu.Lock()
	if r := rs.batches[batchKey{imp, string(reply[:n])}]; r != nil {
		r.used, key = now, r.key
		rs.mu.Unlock()
		return key, true
	}
	rs.mu.Unlock()
	if key, ok = rs.add(now, imp, reply, nil); !ok {
		return key, false
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.waiting.get(key); r != nil {
		if rs.batches == nil {
			rs.batches = map[batchKey]*response{}
		}
		r.batch = n
		rs.batches[batchKey{imp, string(reply[:n])}] = r
	}
	return key, true
}

// expireIn lets expire run in d, or earlier if that is due already; mu is held.
func (rs *responses) expireIn(now time.Time, d time.Duration) {
	at := now.Add(d)
	if !rs.due.IsZero() && !at.Before(rs.due) {
		return
	}
	rs.due = at
	if rs.timer == nil {
		rs.timer = time.AfterFunc(d, rs.expire)
	} else {
		rs.timer.Reset(d)
	}
}

// drop forgets a request and tells whether it was still waiting.
func (rs *responses) drop(key replyKey) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.waiting.get(key)
	if r == nil {
		return false
	}
	rs.remove(r)
	return true
}

// remove takes r out; mu is held. Nothing of it may be used afterwards, unless it
// is measured.
func (rs *responses) remove(r *response) {
	rs.waiting.remove(r)
	rs.bytes -= len(r.reply)
	r.imp.Importer.awaiting.remove(r)
	if r.batch > 0 {
		delete(rs.batches, batchKey{r.imp, string(r.reply[:r.batch])})
		r.batch = 0
	}
	if r.probe == nil && len(rs.free) < maxFree && cap(r.reply) <= maxFreeReply {
		r.imp = nil
		rs.free = append(rs.free, r)
	}
}

// routed notes how long the routing of a measured request took.
func (rs *responses) routed(b *probe) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	b.system = time.Since(b.arrived)
}

// answer is where an answer goes.
type answer struct {
	to    *Account
	reply []byte // in the memory of the producer
	probe *probe // nil: not measured
}

// take finds the request that an answer belongs to. A request that wants one
// answer, or whose stream of answers ends with this one, which is empty (without
// headers, too), is done.
func (rs *responses) take(p *Producer, subject []byte, empty bool) (a answer, ok bool) {
	key, ok := rs.keyOf(subject)
	if !ok {
		return a, false
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.waiting.get(key)
	if r == nil {
		return a, false
	}
	if r.batch > 0 {
		reply := p.Build(r.batch+len(subject), func(dst []byte) []byte {
			return append(append(dst, r.reply[:r.batch]...), subject[len(rs.prefix)+replyToken:]...)
		})
		r.used = p.now()
		return answer{r.imp.Importer, reply, nil}, true
	}
	a = answer{r.imp.Importer, p.Keep(r.reply), r.probe}
	if r.imp.Export == nil || r.imp.Export.Response == Singleton || empty {
		rs.remove(r)
	} else {
		r.used = p.now()
	}
	return a, true
}

// wanted reports whether an answer on subject would reach anyone.
func (rs *responses) wanted(subject []byte) bool {
	key, ok := rs.keyOf(subject)
	if !ok {
		return false
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.waiting.get(key)
	return r != nil && r.wanted()
}

// wanted tells whether anybody in the importing account would get an answer.
func (r *response) wanted() bool {
	return isServiceReply(r.reply) || r.imp.Importer.list.HasInterest(r.reply)
}

// expire removes requests whose answers are late or that nobody waits for, and
// comes again while there are any. It lets others have turns.
func (rs *responses) expire() {
	rs.mu.Lock()
	rs.due = time.Time{} // requests that come meanwhile set the timer again
	keys := make([]replyKey, 0, rs.waiting.n)
	for r := range rs.waiting.all {
		keys = append(keys, r.key)
	}
	rs.mu.Unlock()
	next := DefaultThreshold
	for len(keys) > 0 {
		n := min(expirySlice, len(keys))
		late, d := rs.expireOf(keys[:n])
		next = min(next, d)
		keys = keys[n:]
		for _, b := range late {
			b.reportAlone(latencyTimeout)
		}
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.waiting.n > 0 && !rs.stopped {
		rs.expireIn(time.Now(), next)
	}
}

// expireOf looks at some requests. It returns those that were measured and are
// late, and the shortest time that one of the others may take.
func (rs *responses) expireOf(keys []replyKey) (late []*probe, next time.Duration) {
	next = DefaultThreshold
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, k := range keys {
		r := rs.waiting.get(k)
		if r == nil {
			continue
		}
		threshold := r.imp.Export.threshold()
		switch {
		case time.Since(r.used) >= threshold:
			if r.probe != nil {
				late = append(late, r.probe)
			}
			rs.remove(r)
		case !r.wanted():
			rs.remove(r)
		default:
			next = min(next, threshold)
		}
	}
	return late, next
}

func (rs *responses) stop() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.stopped = true
	if rs.timer != nil {
		rs.timer.Stop()
	}
	for r := range rs.waiting.all {
		r.imp.Importer.awaiting.remove(r)
	}
	rs.waiting, rs.bytes = replyTable{}, 0
	clear(rs.batches)
	rs.free = nil
}

// respond carries an answer back to the account that the request came from.
func (p *Producer) respond(a *Account, m *Msg) bool {
	to, ok := a.responses.take(p, m.Subject, m.Size() == 0)
	if !ok {
		return false
	}
	p.depth++
	defer func() { p.depth-- }()
	back := &p.frame().msg
	*back = *m
	back.Subject = to.reply
	back.via = nil
	ok = p.Route(to.to, back)
	if to.probe != nil {
		p.report(to.probe, latencyOK, m.From)
	}
	return ok
}
