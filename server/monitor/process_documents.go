package monitor

import (
	"bytes"
	"encoding/json"
	"expvar"
	"fmt"
	"net/http"
	"runtime/pprof"
	"strings"
	"time"
)

// RaftzOptions select Raft groups.
type RaftzOptions struct {
	Account string `json:"account"`
	Group   string `json:"group"`
}

func raftzQuery(q *query) RaftzOptions {
	return RaftzOptions{Account: q.string("acc"), Group: q.string("group")}
}

// Raftz is the document about Raft groups, by account and group. This version has none.
type Raftz map[string]map[string]struct{}

func (m *Monitor) raftz(*RaftzOptions) (any, error) {
	return nil, &Error{Status: http.StatusNotFound, Text: "No Raft nodes registered", OverNATS: Raftz{}}
}

// IpqueueszOptions select internal queues.
type IpqueueszOptions struct {
	All    bool   `json:"all"` // empty ones as well
	Filter string `json:"filter"`
}

func ipqueueszQuery(q *query) IpqueueszOptions {
	return IpqueueszOptions{All: q.bool("all"), Filter: q.string("queues")}
}

func (m *Monitor) ipqueuesz(o *IpqueueszOptions) (any, error) {
	queues := m.src.Queues()
	for name, q := range queues {
		if (!o.All && q == Queue{}) || !strings.Contains(name, o.Filter) {
			delete(queues, name)
		}
	}
	return queues, nil
}

// Expvarz is the document about the variables of the runtime.
type Expvarz struct {
	MemStats json.RawMessage `json:"memstats"`
	Cmdline  json.RawMessage `json:"cmdline"`
}

func (m *Monitor) expvarz(*none) (any, error) {
	value := func(name string) json.RawMessage {
		if v := expvar.Get(name); v != nil {
			return json.RawMessage(v.String())
		}
		return json.RawMessage("null")
	}
	return &Expvarz{MemStats: value("memstats"), Cmdline: value("cmdline")}, nil
}

// maxProfile bounds how long a profile of the processor may take.
const maxProfile = 15 * time.Second

// ProfilezOptions name a profile.
type ProfilezOptions struct {
	Name     string        `json:"name"`
	Debug    int           `json:"debug"`
	Duration time.Duration `json:"duration"` // of the profile of the processor
}

// Slow tells that the document takes a while.
func (o *ProfilezOptions) Slow() bool { return o.Name == "cpu" }

// noProfile: profiles are not served by the monitoring port.
func noProfile(*query) ProfilezOptions { return ProfilezOptions{} }

// Profilez is the document with a profile in the format of pprof.
type Profilez struct {
	Profile []byte `json:"profile"`
	Error   string `json:"error,omitempty"`
}

func (m *Monitor) profilez(o *ProfilezOptions) (any, error) {
	var b bytes.Buffer
	if err := o.write(&b, m.src.Ending()); err != nil {
		return &Profilez{Error: err.Error()}, nil
	}
	return &Profilez{Profile: b.Bytes()}, nil
}

// write writes the profile; when ending is closed, what there is of it.
func (o *ProfilezOptions) write(b *bytes.Buffer, ending <-chan struct{}) error {
	switch o.Name {
	case "":
		return fmt.Errorf("Profile name not specified")
	case "cpu":
		if o.Duration <= 0 || o.Duration > maxProfile {
			return fmt.Errorf("Duration %v should be between 0s and %v", o.Duration, maxProfile)
		}
		if err := pprof.StartCPUProfile(b); err != nil {
			return fmt.Errorf("Failed to start CPU profile: %w", err)
		}
		select {
		case <-time.After(o.Duration):
		case <-ending:
		}
		pprof.StopCPUProfile()
		return nil
	}
	p := pprof.Lookup(o.Name)
	if p == nil {
		return fmt.Errorf("Profile %q not found", o.Name)
	}
	if err := p.WriteTo(b, o.Debug); err != nil {
		return fmt.Errorf("Profile %q error: %w", o.Name, err)
	}
	return nil
}
