package independent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Tables are thw.db, sched.db and sources.db of a stream, as far as they exist.
type Tables struct {
	TTLs     map[uint64]int64    // sequence -> expiry
	Schedule map[string]Schedule // subject -> its schedule
	Sources  map[string]Source   // index name -> progress
}

// Schedule is an entry of sched.db.
type Schedule struct {
	At  int64
	Seq uint64
}

// Source is an entry of sources.db.
type Source struct {
	Seq      uint64
	Identity string
}

// table reads one file: version, count and stamp, then entries by entry. It
// returns the stamp, 0 for no file.
func (s *Stream) table(file string, entry func(*cursor) error) (stamp uint64) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err == nil {
		stamp, err = decodeTable(b, entry)
	}
	if err != nil {
		s.problem("%s: %v", filepath.Base(file), err)
		return 0
	}
	if stamp > s.Last+1 {
		s.problem("%s: stamp %d, the stream ends at %d", filepath.Base(file), stamp, s.Last)
	}
	return stamp
}

func decodeTable(b []byte, entry func(*cursor) error) (stamp uint64, err error) {
	defer catch(&err)
	c := &cursor{b}
	if v := c.take(1)[0]; v != 1 {
		return 0, fmt.Errorf("version %d", v)
	}
	count := binary.LittleEndian.Uint64(c.take(8))
	stamp = binary.LittleEndian.Uint64(c.take(8))
	for range count {
		if err := entry(c); err != nil {
			return 0, err
		}
	}
	if len(c.b) > 0 {
		return 0, fmt.Errorf("%d bytes behind the end", len(c.b))
	}
	return stamp, nil
}

// readTables reads the tables and checks them against the messages: each live one
// in front of the stamp expires as its header says, and schedules are such
// messages. Whether a schedule is missing the messages do not tell, since a later
// one, which may be gone, cancels it.
func (s *Stream) readTables(dir string) {
	t := &s.Tables
	t.TTLs, t.Schedule, t.Sources = map[uint64]int64{}, map[string]Schedule{}, map[string]Source{}
	ttlStamp := s.table(filepath.Join(dir, "msgs", "thw.db"), func(c *cursor) error {
		at := c.i()
		t.TTLs[c.u()] = at
		return nil
	})
	schedStamp := s.table(filepath.Join(dir, "msgs", "sched.db"), func(c *cursor) error {
		subject := string(c.take(uint64(binary.LittleEndian.Uint16(c.take(2)))))
		at, seq := c.i(), c.u()
		if _, twice := t.Schedule[subject]; twice || subject == "" || seq == 0 {
			return fmt.Errorf("schedule %d of %q", seq, subject)
		}
		t.Schedule[subject] = Schedule{at, seq}
		return nil
	})
	s.table(filepath.Join(dir, "sources.db"), func(c *cursor) error {
		name := string(c.take(c.u()))
		seq := c.u()
		identity := string(c.take(c.u()))
		if _, twice := t.Sources[name]; twice || name == "" || seq == 0 {
			return fmt.Errorf("source %q at %d", name, seq)
		}
		t.Sources[name] = Source{seq, identity}
		return nil
	})
	for _, m := range s.Messages {
		if m.Seq < ttlStamp {
			s.checkTTL(m)
		}
	}
	for subject, e := range t.Schedule {
		i := sort.Search(len(s.Messages), func(i int) bool { return s.Messages[i].Seq >= e.Seq })
		live := i < len(s.Messages) && s.Messages[i].Seq == e.Seq
		if live && (s.Messages[i].Subject != subject || field(s.Messages[i].Header, "Nats-Schedule") == "") {
			s.problem("sched.db: message %d is no schedule of %q", e.Seq, subject)
		}
		if !live && schedStamp == s.Last+1 && s.IndexUsed { // as old as the blocks
			s.problem("sched.db: message %d, the schedule of %q, is gone", e.Seq, subject)
		}
	}
}

func (s *Stream) checkTTL(m Message) {
	value := field(m.Header, "Nats-TTL")
	if value == "" || strings.EqualFold(value, "never") {
		if at, ok := s.Tables.TTLs[m.Seq]; ok {
			s.problem("thw.db: message %d expires at %d, its TTL is %q", m.Seq, at, value)
		}
		return
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		d, err := time.ParseDuration(value)
		if err != nil {
			return // refused at publish; a store takes it for none
		}
		seconds = int64(d / time.Second)
	}
	// Without index.db some that a limit removed look live.
	at, ok := s.Tables.TTLs[m.Seq]
	if want := m.Time + seconds*1e9; seconds > 0 && at != want && (ok || s.IndexUsed) {
		s.problem("thw.db: message %d expires at %d, want %d", m.Seq, at, want)
	}
}

// field is the value of a header, "" if there is none.
func field(header []byte, name string) string {
	_, rest, ok := bytes.Cut(header, []byte("\r\n"+name+":"))
	if !ok {
		return ""
	}
	value, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return strings.TrimSpace(string(value))
}
