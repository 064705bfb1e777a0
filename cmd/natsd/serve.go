package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/natsd/natsd/server"
	"github.com/natsd/natsd/server/logging"
	"github.com/natsd/natsd/server/options"
)

// serve runs the server until it is told to stop, and returns the exit code. What is wrong before there is a log is
// printed; what is wrong behind that is logged.
func serve(cmd *options.CommandLine, stderr io.Writer) int {
	opts, err := load(cmd, stderr)
	if err != nil {
		complain(stderr, err)
		return 1
	}
	sink, err := logging.Open(server.LogConfig(opts))
	if err != nil {
		fmt.Fprintf(stderr, "%s %v\n", time.Now().Format("2006/01/02 15:04:05"), err)
		return 1
	}
	log := logging.New(sink)
	log.SetLevels(opts.Debug, opts.Trace)
	s, err := server.New(opts, log)
	if err != nil {
		complain(stderr, err)
		return 1
	}
	publishMetrics(s)
	// Signals that come while the server starts are handled when it has.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := s.Start(); err != nil {
		log.Fatalf("%v", err)
		s.Shutdown()
		return 1
	}
	handle(s, log, signals)
	return 0
}

// load returns the options, and prints warnings about them.
func load(cmd *options.CommandLine, stderr io.Writer) (*options.Options, error) {
	opts, err := cmd.Options()
	if err != nil {
		return nil, err
	}
	for _, w := range opts.Warnings {
		fmt.Fprintln(stderr, w)
	}
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	return opts, opts.Unavailable()
}

// handle does what signals ask for, until the server has ended. A reload or the lame duck mode runs beside the loop, so
// that the signals to end are heard; reloads are one at a time.
func handle(s *server.Server, log *logging.Logger, signals <-chan os.Signal) {
	reload := make(chan struct{}, 1)
	go func() {
		for range reload {
			s.ReloadFile() // says itself what is wrong
		}
	}()
	defer close(reload)
	for {
		select {
		case <-s.Done():
			return
		case sig := <-signals:
			log.Noticef("Trapped %q signal", sig)
			switch sig {
			case syscall.SIGHUP:
				select {
				case reload <- struct{}{}:
				default: // one waits already
				}
			case syscall.SIGUSR1:
				if err := log.Reopen(); err != nil {
					log.Errorf("%v", err)
				}
			case syscall.SIGUSR2:
				go s.LameDuck()
			case syscall.SIGTERM:
				if s.LameDucking() {
					continue
				}
				go s.Shutdown()
			case syscall.SIGINT:
				go s.Shutdown()
			}
		}
	}
}
