package monitor

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/natsd/natsd/server/version"
)

func product() string { return version.Product + " " + version.Natsd }

// cpuWindow is the least time over which the use of the processor is measured.
const cpuWindow = time.Second

// process measures the process that the server runs in.
type process struct {
	mu      sync.Mutex // guards the rest
	at      time.Time
	used    time.Duration
	percent float64
}

// usage is what a document says of the process.
type usage struct {
	Mem        int64
	Cores      int
	MaxProcs   int
	MemLimit   int64 // 0: none
	CPUPercent float64
}

// usage measures now. The use of the processor is that since an earlier call at least cpuWindow ago, in percent of one
// core.
func (p *process) usage() usage {
	u := usage{Mem: residentBytes(), Cores: runtime.NumCPU(), MaxProcs: runtime.GOMAXPROCS(0)}
	if n := debug.SetMemoryLimit(-1); n != math.MaxInt64 {
		u.MemLimit = n
	}
	now, used := time.Now(), cpuTime()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch d := now.Sub(p.at); {
	case p.at.IsZero():
		p.at, p.used = now, used
	case d >= cpuWindow:
		percent := 100 * float64(used-p.used) / float64(d)
		p.percent = math.Round(percent*10) / 10
		p.at, p.used = now, used
	}
	u.CPUPercent = p.percent
	return u
}
