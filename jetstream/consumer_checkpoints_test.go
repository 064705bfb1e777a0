package jetstream

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// checkpointRun is a line whose writes take a time each, and what came of it.
type checkpointRun struct {
	line  checkpoints
	logs  []*consumerLog
	took  time.Duration
	began time.Time
	now   int // writes under way; guarded by line.mu, as the rest
	most  int
	done  []written
}

// written says which log's write began when, in milliseconds.
type written struct {
	log int
	at  int64
}

func newCheckpointRun(logs int, took time.Duration) *checkpointRun {
	r := &checkpointRun{took: took, began: time.Now()}
	for range logs {
		r.logs = append(r.logs, &consumerLog{})
	}
	r.line.write = func(l *consumerLog) {
		r.line.mu.Lock()
		for i := range r.logs {
			if r.logs[i] == l {
				r.done = append(r.done, written{i, time.Since(r.began).Milliseconds()})
			}
		}
		r.now++
		r.most = max(r.most, r.now)
		r.line.mu.Unlock()
		time.Sleep(r.took)
		r.line.mu.Lock()
		r.now--
		r.line.mu.Unlock()
	}
	return r
}

func (r *checkpointRun) push(urgent bool, logs ...int) {
	for _, i := range logs {
		r.line.push(r.logs[i], urgent)
	}
}

// want waits for a while and compares what was written, and that nothing is left.
func (r *checkpointRun) want(t *testing.T, want ...written) {
	t.Helper()
	time.Sleep(time.Minute)
	synctest.Wait()
	if !reflect.DeepEqual(r.done, want) {
		t.Errorf("written %v, want %v", r.done, want)
	}
	q := &r.line
	if q.running != 0 || q.resting || q.urgent != nil || q.lazy != nil {
		t.Errorf("%d writers, resting %v, %d urgent and %d lazy are left", q.running, q.resting, len(q.urgent), len(q.lazy))
	}
	for i, l := range r.logs {
		if l.due != dueNot {
			t.Errorf("log %d is still in a line", i)
		}
	}
}

// TestLazyCheckpoints: one after the other, in the order of their coming, with a
// rest of four times as long as the write before took.
func TestLazyCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCheckpointRun(3, 10*time.Millisecond)
		r.push(false, 2, 0, 1, 0, 1) // who waits already does not wait twice
		r.want(t, written{2, 0}, written{0, 50}, written{1, 100})
	})
}

// TestLazyCheckpointAgain: what changes while it is written is written again.
func TestLazyCheckpointAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCheckpointRun(1, 10*time.Millisecond)
		r.push(false, 0)
		time.Sleep(5 * time.Millisecond)
		r.push(false, 0)
		r.want(t, written{0, 0}, written{0, 50})
	})
}

// TestUrgentCheckpoints: without rests, and never more than checkpointWriters at a
// time.
func TestUrgentCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2*checkpointWriters + 1
		r := newCheckpointRun(n, 10*time.Millisecond)
		for i := range n {
			r.push(true, i)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		times, logs := map[int64]int{}, map[int]int{}
		for _, w := range r.done {
			times[w.at]++
			logs[w.log]++
		}
		if want := (map[int64]int{0: checkpointWriters, 10: checkpointWriters, 20: 1}); !reflect.DeepEqual(times, want) {
			t.Errorf("writes by time %v, want %v", times, want)
		}
		if len(logs) != n || r.most != checkpointWriters {
			t.Errorf("%d of %d written, %d at a time", len(logs), n, r.most)
		}
		if r.line.running != 0 || r.line.urgent != nil {
			t.Errorf("%d writers are left", r.line.running)
		}
	})
}

// TestUrgentOvertakesLazy: who becomes urgent while it waits is written at once,
// once; and who is urgent need not be lazy, too.
func TestUrgentOvertakesLazy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCheckpointRun(3, 10*time.Millisecond)
		r.push(false, 0, 1, 2)
		time.Sleep(20 * time.Millisecond)
		r.push(true, 2, 2)
		r.push(false, 2)
		r.want(t, written{0, 0}, written{2, 20}, written{1, 50})
	})
}

// Who rests between two writes does not come back behind the end.
func TestCheckpointsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCheckpointRun(2, time.Hour)
		ended := make(chan struct{})
		r.line.ended = ended
		r.push(false, 0, 1)
		time.Sleep(time.Hour + time.Minute) // the first is written, and four hours of rest have begun
		close(ended)
		time.Sleep(10 * time.Hour)
		r.line.mu.Lock()
		defer r.line.mu.Unlock()
		if len(r.done) != 1 {
			t.Errorf("written %v", r.done)
		}
	})
}
