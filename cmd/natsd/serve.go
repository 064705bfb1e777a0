package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/natsd/natsd/server"
	"github.com/natsd/natsd/server/options"
)

// serve runs the server until it is told to stop.
func serve(cmd *options.CommandLine, stderr io.Writer) error {
	opts, err := cmd.Options()
	if err != nil {
		return err
	}
	s, err := server.New(opts, &stderrLog{
		log:   log.New(stderr, fmt.Sprintf("[%d] ", os.Getpid()), log.LstdFlags|log.Lmicroseconds|log.Lmsgprefix),
		debug: opts.Debug, trace: opts.Trace,
	})
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if err := s.Start(); err != nil {
		return err
	}
	for {
		select {
		case sig := <-signals:
			if sig == syscall.SIGUSR2 {
				go s.LameDuck()
				continue
			}
			s.Shutdown()
		case <-s.Done():
			return nil
		}
	}
}

// stderrLog writes lines as clients of the log format expect them.
type stderrLog struct {
	log          *log.Logger
	debug, trace bool
}

func (l *stderrLog) Noticef(format string, v ...any) { l.log.Printf("[INF] "+format, v...) }
func (l *stderrLog) Warnf(format string, v ...any)   { l.log.Printf("[WRN] "+format, v...) }
func (l *stderrLog) Errorf(format string, v ...any)  { l.log.Printf("[ERR] "+format, v...) }
func (l *stderrLog) Debugf(format string, v ...any) {
	if l.debug {
		l.log.Printf("[DBG] "+format, v...)
	}
}
func (l *stderrLog) Tracef(format string, v ...any) {
	if l.trace {
		l.log.Printf("[TRC] "+format, v...)
	}
}
