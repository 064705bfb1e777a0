package consumer

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/consumerstate"
)

var rewrite = flag.Bool("rewrite", false, "write what came out into the transcripts")

// TestTranscripts runs the files of testdata: blocks of commands, a line of
// four dashes, and what comes out of them. Time is virtual and begins at 0.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { runTranscript(t, f) })
	}
}

func runTranscript(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newSim()
	var out, want strings.Builder
	var commands []string
	expecting := false
	finish := func() {
		if !expecting {
			return
		}
		expecting = false
		s.out.Reset()
		for _, c := range commands {
			s.command(c)
		}
		commands = nil
		if got := s.out.String(); got != want.String() && !*rewrite {
			t.Errorf("%s: got\n%swant\n%s", file, got, want.String())
		}
		out.WriteString(s.out.String())
		want.Reset()
	}
	sc := bufio.NewScanner(strings.NewReader(string(data)))
	for sc.Scan() {
		line := sc.Text()
		switch {
		case line == "----":
			expecting = true
			out.WriteString(line + "\n")
		case expecting && line != "":
			want.WriteString(line + "\n")
		default:
			if expecting {
				finish()
			}
			out.WriteString(line + "\n")
			if line != "" && line[0] != '#' {
				commands = append(commands, line)
			}
		}
	}
	finish()
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// sim is a stream in memory with one consumer, on virtual time.
type sim struct {
	m      *Machine
	cfg    *jsapi.ConsumerConfig
	now    int64
	msgs   map[uint64]simMsg
	first  uint64
	last   uint64
	deaf   map[string]bool // inboxes without interest
	ids    int
	quiet  bool // do not write the outputs
	out    strings.Builder
	onSend func(d *Delivery)
	onRun  func([]consumerstate.Step)
	onEff  func(*Effect)
}

type simMsg struct {
	subject string
	size    int
	time    int64
}

func newSim() *sim {
	return &sim{msgs: map[uint64]simMsg{}, first: 1, deaf: map[string]bool{}}
}

func (s *sim) Interest(reply string) bool { return !s.deaf[reply] }
func (s *sim) Random(n int) int           { return 0 }
func (s *sim) ID() string                 { s.ids++; return fmt.Sprintf("pin%d", s.ids) }

func (s *sim) options() Options {
	return Options{AckPrefix: "$JS.ACK.S.C.", FlowPrefix: "$JS.FC.S.C.", Burst: 1000, ReplayEnd: s.last, Now: s.now}
}

// matches reports whether the filters take a subject; a filter that ends in
// ".>" takes everything below.
func (s *sim) matches(subject string) bool {
	fs := s.cfg.Filters()
	for _, f := range fs {
		if prefix, ok := strings.CutSuffix(f, ">"); ok && strings.HasPrefix(subject, prefix) || f == subject {
			return true
		}
	}
	return len(fs) == 0
}

func (s *sim) recount() {
	n := uint64(0)
	for q, msg := range s.msgs {
		if q >= s.m.CountFrom() && s.matches(msg.subject) {
			n++
		}
	}
	s.m.SetPending(n, s.last)
}

// turn is what the engine does after each input.
func (s *sim) turn() {
	m := s.m
	if m == nil {
		return
	}
	s.effects()
	for {
		w := m.Next(s.now, s.last)
		s.effects()
		if w.Kind == Nothing {
			break
		}
		var load []uint64
		if w.Kind == Listed {
			load = slices.Clone(w.Seqs)
		} else {
			for q := w.From; q <= s.last && len(load) < w.Max; q++ {
				if msg, ok := s.msgs[q]; ok && s.matches(msg.subject) {
					load = append(load, q)
				}
			}
			if len(load) == 0 {
				m.Exhausted(s.last)
			}
		}
	deliver:
		for i := 0; i < len(load); i++ {
			q := load[i]
			msg, ok := s.msgs[q]
			if !ok {
				m.Missing(q)
				continue
			}
			d, v := m.Offer(&Message{Seq: q, Time: msg.time, Subject: len(msg.subject), Data: msg.size}, s.now)
			switch v {
			case Stop:
				break deliver
			case Skip:
				s.effects()
				continue
			}
			if s.deaf[d.Target] {
				m.Unsent()
				i--
				continue
			}
			if s.onSend != nil {
				s.effects() // who was passed over is known before
			}
			s.sent(d)
			m.Sent(s.now)
			s.effects()
		}
		s.effects()
	}
	s.effects()
	if steps := m.Steps(); s.onRun != nil {
		s.onRun(steps)
	}
	for _, q := range m.Released() {
		s.printf("released %d\n", q)
	}
}

func (s *sim) sent(d *Delivery) {
	if s.onSend != nil {
		s.onSend(d)
	}
	pin := ""
	if d.PinID != "" {
		pin = " " + d.PinID
	}
	s.printf("%s <- seq %d as %d, delivery %d, %d left%s\n", d.Target, d.Seq, d.ConsumerSeq, d.Count, d.Pending, pin)
}

func (s *sim) effects() {
	for _, e := range s.m.Effects() {
		if s.onEff != nil {
			s.onEff(&e)
		}
		switch e.Kind {
		case Status:
			if e.Remaining {
				s.printf("%s <- %s (%d messages, %d bytes)\n", e.Target, e.Text, e.Messages, e.Bytes)
			} else {
				s.printf("%s <- %s\n", e.Target, e.Text)
			}
		case Heartbeat:
			s.printf("%s <- heartbeat %d/%d %s\n", e.Target, e.ConsumerSeq, e.Seq, e.Reply)
		case FlowRequest:
			s.printf("%s <- flow request %s\n", e.Target, e.Reply)
		case Confirm:
			s.printf("%s <- confirmed\n", e.Target)
		case Naked:
			s.printf("naked %d\n", e.Seq)
		case Premature:
			s.printf("premature ack of %d\n", e.Seq)
		case Garbled:
			s.printf("garbled argument %q\n", e.Text)
		case Terminated:
			s.printf("terminated %d: %s\n", e.Seq, e.Text)
		case MaxDeliver:
			s.printf("given up %d after %d\n", e.Seq, e.Count)
		case Sampled:
			s.printf("sampled %d after %v\n", e.Seq, time.Duration(e.Elapsed))
		case Pinned:
			s.printf("pinned %s %s\n", e.Target, e.Text)
		case Unpinned:
			s.printf("unpinned %s: %s\n", e.Target, e.Text)
		case Resumed:
			s.printf("resumed\n")
		case Inactive:
			s.printf("inactive: delete\n")
		}
	}
}

func (s *sim) printf(format string, args ...any) {
	if s.quiet {
		return
	}
	if strings.HasSuffix(format, " \n") {
		format = strings.TrimSuffix(format, " \n") + "\n"
	}
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(&s.out, "%8s  %s\n", time.Duration(s.now).Round(time.Millisecond), strings.TrimRight(line, " \n"))
}

// sleep lets time pass, from deadline to deadline.
func (s *sim) sleep(d time.Duration) {
	end := s.now + int64(d)
	for s.m != nil {
		t := s.m.NextDeadline(s.now)
		if t == 0 || t > end {
			break
		}
		s.now = max(t, s.now)
		s.m.Tick(s.now)
		s.turn()
	}
	s.now = end
}

func (s *sim) store(subject string, size int) {
	s.last++
	s.msgs[s.last] = simMsg{subject, size, s.now}
	if s.m != nil && s.matches(subject) {
		s.m.Stored(1, s.last)
		s.turn()
	}
}

func (s *sim) remove(q uint64) {
	msg, ok := s.msgs[q]
	if !ok {
		return
	}
	delete(s.msgs, q)
	for s.first <= s.last {
		if _, ok := s.msgs[s.first]; ok {
			break
		}
		s.first++
	}
	s.m.Removed(q, s.matches(msg.subject))
	s.turn()
}

func (s *sim) purge(filter string, below uint64) {
	s.purged(filter, below)
	s.turn()
}

// purged removes the messages of a filter ("" for all) below a sequence.
func (s *sim) purged(filter string, below uint64) {
	for q, msg := range s.msgs {
		if q < below && (filter == "" || msg.subject == filter) {
			delete(s.msgs, q)
		}
	}
	for s.first <= s.last {
		if _, ok := s.msgs[s.first]; ok {
			break
		}
		s.first++
	}
	if filter == "" {
		s.m.Purged(s.first)
	} else {
		for _, q := range s.m.Pending(nil) {
			if _, ok := s.msgs[q]; !ok {
				s.m.Gone(q)
			}
		}
	}
	s.recount()
}

func (s *sim) restart() {
	state, scanned := s.m.Snapshot()
	s.m, _ = Restore(s.cfg, &state, scanned, s.first, s.last, s, s.options())
	s.recount()
	if s.cfg.Push() {
		s.m.SetActive(!s.deaf[s.cfg.DeliverSubject], s.now)
	}
	s.turn()
}

func parseConfig(text string) *jsapi.ConsumerConfig {
	cfg := &jsapi.ConsumerConfig{MaxDeliver: -1, MaxWaiting: 512}
	if err := json.Unmarshal([]byte(text), cfg); err != nil {
		panic(err)
	}
	if len(cfg.BackOff) > 0 {
		cfg.AckWait = cfg.BackOff[0]
	}
	return cfg
}

func num(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func (s *sim) command(line string) {
	verb, rest, _ := strings.Cut(line, " ")
	f := strings.Fields(rest)
	switch verb {
	case "new": // new CONFIG
		s.cfg = parseConfig(rest)
		next := uint64(1)
		if s.cfg.DeliverPolicy == jsapi.DeliverNew {
			next = s.last + 1
		}
		s.m = New(s.cfg, next, s, s.options())
		if s.cfg.DeliverPolicy == jsapi.DeliverLastPerSubject {
			lasts := map[string]uint64{}
			for q, msg := range s.msgs {
				lasts[msg.subject] = max(lasts[msg.subject], q)
			}
			var list []uint64
			for _, q := range lasts {
				list = append(list, q)
			}
			slices.Sort(list)
			s.m.SetList(list, s.last+1)
		}
		s.recount()
		if s.cfg.Push() {
			s.m.SetActive(!s.deaf[s.cfg.DeliverSubject], s.now)
		}
	case "store": // store SUBJECT... [size=N]
		size := 0
		if n := len(f) - 1; strings.HasPrefix(f[n], "size=") {
			size = int(num(f[n][5:]))
			f = f[:n]
		}
		for _, subject := range f {
			s.store(subject, size)
		}
		return
	case "delete":
		s.remove(num(f[0]))
		return
	case "purge": // purge [SUBJECT]
		s.purge(rest, s.last+1)
		return
	case "pull": // pull INBOX [BODY]
		reply, body, _ := strings.Cut(rest, " ")
		s.m.PullBody([]byte(body), reply, false, s.now)
	case "ack": // ack SEQ CONSUMERSEQ [REPLY|-] [BODY]
		a := Ack{Seq: num(f[0]), ConsumerSeq: num(f[1]), Deliveries: 1}
		if len(f) > 2 && f[2] != "-" {
			a.Reply = f[2]
		}
		if len(f) > 3 {
			a.Body = []byte(strings.Join(f[3:], " "))
		}
		s.m.Ack(a, s.now)
	case "sleep":
		d, err := time.ParseDuration(rest)
		if err != nil {
			panic(err)
		}
		s.sleep(d)
		return
	case "stall": // as sleep, but nobody looks at the clock meanwhile
		d, err := time.ParseDuration(rest)
		if err != nil {
			panic(err)
		}
		s.now += int64(d)
		s.m.Tick(s.now)
	case "deaf":
		s.deaf[rest] = true
		if s.cfg != nil && s.cfg.Push() && rest == s.cfg.DeliverSubject {
			s.m.SetActive(false, s.now)
		}
	case "hear":
		delete(s.deaf, rest)
		if s.cfg != nil && s.cfg.Push() && rest == s.cfg.DeliverSubject {
			s.m.SetActive(true, s.now)
		}
	case "flow": // flow SUBJECT [CONSUMERSEQ SEQ]
		var q uint64
		if len(f) == 3 {
			q = num(f[2])
		}
		s.m.FlowAnswer(f[0], q, s.now)
	case "pause":
		d, _ := time.ParseDuration(rest)
		s.m.Pause(s.now+int64(d), s.now)
	case "unpin":
		s.m.Unpin(rest, "admin")
	case "update":
		s.cfg = parseConfig(rest)
		s.m.Update(s.cfg, s.now)
		s.m.Filtered()
		s.recount()
	case "reset":
		n := uint64(0)
		if rest != "" {
			n = num(rest)
		}
		s.printf("reset to %d\n", s.m.Reset(n, s.now))
		s.recount()
	case "restart":
		s.restart()
		return
	case "info":
		i := s.m.Info(s.now)
		s.printf("delivered %d/%d floor %d/%d ack-pending %d redelivered %d waiting %d pending %d\n",
			i.Delivered.Consumer, i.Delivered.Stream, i.Floor.Consumer, i.Floor.Stream, i.AckPending, i.Redelivered, i.Waiting, i.Pending)
	default:
		panic("unknown command " + line)
	}
	s.turn()
}
