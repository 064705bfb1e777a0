package msgstore

import (
	"math"
	"testing"
	"time"
)

// Several messages of a subject that expire in one pass leave one marker: that
// of the last.
func TestMarkerOfLastMessage(t *testing.T) {
	m, err := NewMemStore(Config{
		Name: "S", Storage: MemoryStorage, Subjects: []string{"s.*"}, MaxAge: time.Second, SubjectDeleteMarkerTTL: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	for i, subject := range []string{"s.a", "s.b", "s.a", "s.c"} {
		header := []byte(nil)
		if subject == "s.b" {
			header = []byte("NATS/1.0\r\nKV-Operation: PURGE\r\n\r\n")
		}
		at := int64(i + 1)
		if subject == "s.c" {
			at = int64(time.Minute)
		}
		if err := m.StoreRawMsg(subject, header, nil, uint64(i+1), at, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	due := m.Due(int64(2*time.Second), 10, nil)
	want := []struct {
		seq    uint64
		marker bool
	}{{1, false}, {2, false}, {3, true}}
	if len(due) != len(want) {
		t.Fatalf("%d due: %+v", len(due), due)
	}
	for i, w := range want {
		if due[i].Seq != w.seq || due[i].Marker != w.marker || (due[i].Publish != nil) != w.marker {
			t.Errorf("due[%d] = %+v, want %+v", i, due[i], w)
		}
	}
}

// Limits and times that no sum with the present one can hold are as far away as
// can be told, and what a message's own time puts before the epoch is due.
func TestDueAtTheEnds(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	for name, c := range map[string]struct {
		cfg    Config
		header string
		at     int64
		next   int64 // 0: nothing
		due    int
	}{
		"age of 292 years":    {Config{MaxAge: math.MaxInt64}, "", now, math.MaxInt64, 0},
		"age, end of time":    {Config{MaxAge: time.Hour}, "", math.MaxInt64, math.MaxInt64, 0},
		"age, before 1970":    {Config{MaxAge: time.Hour}, "", -int64(2 * time.Hour), -int64(time.Hour), 1},
		"TTL, end of time":    {Config{AllowMsgTTL: true}, "Nats-TTL: 9999999999", math.MaxInt64 - 1, math.MaxInt64, 0},
		"TTL, before 1970":    {Config{AllowMsgTTL: true}, "Nats-TTL: 1", math.MinInt64, math.MinInt64 + int64(time.Second), 1},
		"schedule, year 9999": {Config{AllowMsgSchedules: true}, "Nats-Schedule: @at 9999-12-31T23:59:59Z\r\nNats-Schedule-Target: s.t", now, math.MaxInt64, 0},
		"schedule, year 1":    {Config{AllowMsgSchedules: true}, "Nats-Schedule: @at 0001-01-01T00:00:01Z\r\nNats-Schedule-Target: s.t", now, math.MinInt64, 1},
		"every 292 years":     {Config{AllowMsgSchedules: true}, "Nats-Schedule: @every 2562047h\r\nNats-Schedule-Target: s.t", now, math.MaxInt64, 0},
		"next in year 9999":   {Config{AllowMsgSchedules: true}, "Nats-Scheduler: s.x\r\nNats-Schedule-Next: 9999-12-31T23:59:59Z", now, math.MaxInt64, 0},
	} {
		c.cfg.Name, c.cfg.Storage, c.cfg.Subjects = "S", MemoryStorage, []string{"s.*"}
		m, err := NewMemStore(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		header := func(h string) []byte {
			if h == "" {
				return nil
			}
			return []byte("NATS/1.0\r\n" + h + "\r\n\r\n")
		}
		seq := uint64(1)
		if name == "next in year 9999" {
			if err := m.StoreRawMsg("s.x", header("Nats-Schedule: @every 1h\r\nNats-Schedule-Target: s.y"), nil, seq, c.at, 0, false); err != nil {
				t.Fatal(err)
			}
			seq++
		}
		if err := m.StoreRawMsg("s.y", header(c.header), nil, seq, c.at, 0, false); err != nil {
			t.Fatal(err)
		}
		if next := m.NextDue(); next != c.next {
			t.Errorf("%s: next due %d, want %d", name, next, c.next)
		}
		if due := m.Due(now, 10, nil); len(due) != c.due {
			t.Errorf("%s: %d due, want %d", name, len(due), c.due)
		}
		m.Stop()
	}
}
