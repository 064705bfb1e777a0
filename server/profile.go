package server

import (
	_ "expvar" // adds /debug/vars, with the redacted command line
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof" // adds /debug/pprof
	"runtime"
	"strconv"
	"time"

	"github.com/natsd/natsd/server/options"
)

// profileHeaderTimeout bounds how long a client of the profiler may take for its request.
const profileHeaderTimeout = 10 * time.Second

// startProfiler serves the profiles of the process, if that is wanted; mu is held.
func (s *Server) startProfiler(o *options.Options) error {
	setBlockProfileRate(s.log, o.ProfBlockRate)
	if o.ProfPort == 0 {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(o.Host, strconv.Itoa(max(o.ProfPort, 0))))
	if err != nil {
		return fmt.Errorf("error starting profiler: %w", err)
	}
	s.log.Noticef("profiling port: %d", l.Addr().(*net.TCPAddr).Port)
	s.profiler = l
	server := &http.Server{Handler: http.DefaultServeMux, ReadHeaderTimeout: profileHeaderTimeout}
	s.tasks.start(func() {
		server.Serve(l) // until the listener is closed
		server.Close()
	})
	return nil
}

// setBlockProfileRate switches the profile of blocking on or off.
func setBlockProfileRate(log Logger, rate int64) {
	runtime.SetBlockProfileRate(int(rate))
	if rate > 0 {
		log.Warnf("Block profiling is enabled (rate %d), this may have a performance impact", rate)
	}
}
