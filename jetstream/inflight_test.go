package jetstream

import (
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// heldDisk is a disk whose syncs of blocks wait until it is let go.
type heldDisk struct {
	vfs.FS
	held    atomic.Bool
	waiting atomic.Int32
	letGo   chan struct{}
}

func (d *heldDisk) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".blk") {
		return f, err
	}
	return heldFile{f, d}, nil
}

type heldFile struct {
	vfs.File
	d *heldDisk
}

func (f heldFile) SyncData() error {
	if f.d.held.Load() {
		f.d.waiting.Add(1)
		<-f.d.letGo
	}
	return f.File.SyncData()
}

// What is in flight counts for the checks of what comes behind it, in proposals of
// its own as well: sequences of subjects, rollups, counters, schedules, totals. What
// the proposals held of it was given back before.
func TestInFlightCounts(t *testing.T) {
	disk := &heldDisk{FS: crashfs.New(1), letGo: make(chan struct{})}
	_, a, c := newTestEngine(t, Options{FS: disk, StoreDir: "/store"})
	for name, config := range map[string]string{
		"X": `"subjects":["x"]`,
		"S": `"subjects":["s.>"],"allow_rollup_hdrs":true`,
		"D": `"subjects":["d.>"],"discard":"new","max_msgs":3,"max_msgs_per_subject":1,"discard_new_per_subject":true`,
		"C": `"subjects":["c"],"allow_msg_counter":true`,
		"T": `"subjects":["t.>"],"allow_msg_schedules":true,"allow_rollup_hdrs":true`,
	} {
		if r := c.request("$JS.API.STREAM.CREATE."+name, `{"name":"`+name+`",`+config+`}`); strings.Contains(r.data, `"error"`) {
			t.Fatal(r.data)
		}
	}
	wait := func(what string, ok func() bool) {
		for end := time.Now().Add(20 * time.Second); !ok(); {
			if time.Now().After(end) {
				t.Fatal(what)
			}
			<-time.After(time.Millisecond)
		}
	}
	disk.held.Store(true)
	answers := c.subscribe("answers.>")
	// The first stream's turn syncs itself; from then on workers do.
	c.publish("x", "answers.x", "")
	wait("X does not sync", func() bool { return disk.waiting.Load() == 1 })
	const schedule = "Nats-Schedule: @at 2100-01-01T00:00:00Z"
	for i, first := range [][]string{
		{"s.a"}, {"d.a"}, {"c", "Nats-Incr: 1"}, {"t.a", schedule, "Nats-Schedule-Target: t.z"},
	} {
		c.publish(first[0], "answers."+first[0], "", first[1:]...)
		wait("a stream does not sync", func() bool { return disk.waiting.Load() == int32(i+2) })
	}
	const wrong, expected = `"err_code":10071,"description":"wrong last sequence: `, "Nats-Expected-Last-Subject-Sequence: "
	// Each message is admitted before the next one is sent, in a turn of its own.
	admitted := func(stream string, last uint64) func() bool {
		return func() bool {
			n := make(chan uint64, 1)
			st := a.Stream(stream)
			st.do(func() { n <- st.turn.overlay.lastSeq })
			return <-n == last
		}
	}
	for _, s := range []struct {
		stream  string
		last    uint64 // accepted afterwards
		refusal string
		subject string
		headers []string
	}{
		{"S", 2, "", "s.a", []string{expected + "1"}},
		{"S", 2, wrong + "2", "s.a", []string{expected + "1"}},
		{"S", 3, "", "s.b", []string{expected + "0"}},
		{"S", 3, wrong + "3", "s.c", []string{expected + "2", "Nats-Expected-Last-Subject-Sequence-Subject: s.*"}},
		{"S", 4, "", "s.a", []string{"Nats-Rollup: sub"}},
		{"S", 5, "", "s.a", []string{expected + "4"}},
		{"D", 1, `"description":"maximum messages per subject exceeded"`, "d.a", nil},
		{"D", 2, "", "d.b", nil},
		{"D", 3, "", "d.c", nil},
		{"D", 3, `"description":"maximum messages exceeded"`, "d.d", nil},
		{"C", 2, "", "c", []string{"Nats-Incr: 2"}},
		{"C", 3, "", "c", []string{"Nats-Incr: 3"}},
		{"T", 2, "", "t.b", []string{"Nats-Scheduler: t.a", "Nats-Schedule-Next: purge"}},
		{"T", 3, "", "t.c", nil},
		{"T", 3, `"err_code":10212`, "t.b", []string{"Nats-Scheduler: t.c", "Nats-Schedule-Next: purge"}},
	} {
		c.publish(s.subject, "answers."+s.subject, "", s.headers...)
		if s.refusal != "" {
			if r := next(t, answers); !strings.Contains(r.data, s.refusal) {
				t.Errorf("%s %v: %s, want %s", s.subject, s.headers, r.data, s.refusal)
			}
		}
		wait(s.stream+" has not accepted a message", admitted(s.stream, s.last))
	}
	select {
	case r := <-answers:
		t.Errorf("before the disk has synced: %s", r.data)
	default:
	}
	disk.held.Store(false)
	close(disk.letGo)
	got := make(map[string]string)
	for range 1 + 5 + 3 + 3 + 3 {
		r := next(t, answers)
		got[r.subject[len("answers."):len("answers.")+1]] += r.data
	}
	for subject, want := range map[string]string{
		"x": `{"stream":"X","seq":1}`,
		"s": `{"stream":"S","seq":1}{"stream":"S","seq":2}{"stream":"S","seq":3}{"stream":"S","seq":4}{"stream":"S","seq":5}`,
		"d": `{"stream":"D","seq":1}{"stream":"D","seq":2}{"stream":"D","seq":3}`,
		"c": `{"stream":"C","seq":1,"val":"1"}{"stream":"C","seq":2,"val":"3"}{"stream":"C","seq":3,"val":"6"}`,
		"t": `{"stream":"T","seq":1}{"stream":"T","seq":2}{"stream":"T","seq":3}`,
	} {
		if got[subject] != want {
			t.Errorf("answers on %s: %s, want %s", subject, got[subject], want)
		}
	}
}
