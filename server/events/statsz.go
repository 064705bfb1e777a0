package events

import (
	"time"

	"github.com/natsd/natsd/server/monitor"
)

const (
	// The statistics are published often at first, then every statszInterval.
	firstStatsz    = 250 * time.Millisecond
	statszInterval = 10 * time.Second
	// statszGap is the least time between two publications that were asked for.
	statszGap = time.Second
)

// Statsz is the message with a server's statistics.
type Statsz struct {
	Server ServerInfo           `json:"server"`
	Stats  *monitor.ServerStats `json:"statsz"`
}

// statszTimer is the state of the periodic publication; Service.mu guards it.
type statszTimer struct {
	timer    *time.Timer
	interval time.Duration
	last     time.Time
}

func (t *statszTimer) start(s *Service) {
	t.interval = firstStatsz
	t.timer = time.AfterFunc(t.interval, s.statszDue)
}

func (t *statszTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
	}
}

func (s *Service) statszDue() {
	s.mu.Lock()
	t := &s.statsz
	if s.stopped {
		s.mu.Unlock()
		return
	}
	t.last = time.Now()
	t.interval = min(2*t.interval, statszInterval)
	t.timer.Reset(t.interval)
	s.mu.Unlock()
	s.event(func() {
		s.send("$SYS.SERVER."+s.id+".STATSZ", func(i ServerInfo) any { return Statsz{i, s.mon.ServerStats()} })
	})
}

// Announce publishes the statistics out of turn: at once, or as soon as the last publication is long enough ago.
func (s *Service) Announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.statsz.timer == nil {
		return
	}
	gap := min(s.statsz.interval, statszGap)
	s.statsz.timer.Reset(max(gap-time.Since(s.statsz.last), 0))
}
