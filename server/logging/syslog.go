package logging

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Priorities and facilities of RFC 3164.
const (
	facilityKern   = 0 << 3
	facilityDaemon = 3 << 3
)

// priorities of the levels.
var priorities = [...]int{Info: 5, Debug: 7, Warn: 4, Error: 3, Fatal: 2, Trace: 5}

// syslogTimeout bounds how long a syslog server may hold up a line.
const syslogTimeout = time.Second

// syslog is a sink that sends packets of RFC 3164.
type syslog struct {
	network, addr string
	local         bool
	hostname      string
	tag           string
	conn          net.Conn
	retry         time.Time // nothing is sent before this
}

// localSockets are where the syslog of this machine listens.
var localSockets = []string{"/dev/log", "/var/run/syslog", "/var/run/log"}

// dialSyslog connects to a syslog server; "" is the one of this machine.
func dialSyslog(target string) (sink, error) {
	s := &syslog{tag: filepath.Base(os.Args[0])}
	s.hostname, _ = os.Hostname()
	if target == "" {
		s.local = true
		for _, path := range localSockets {
			for _, network := range []string{"unixgram", "unix"} {
				if conn, err := net.DialTimeout(network, path, syslogTimeout); err == nil {
					s.network, s.addr, s.conn = network, path, conn
					return s, nil
				}
			}
		}
		return nil, fmt.Errorf("error connecting to syslog: %q", "Unix syslog delivery error")
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "udp", "tcp":
		s.network, s.addr = u.Scheme, u.Host
	case "unix":
		s.network, s.addr = "unix", u.Path
	default:
		return nil, fmt.Errorf("error invalid network type: %q", u.Scheme)
	}
	if err := s.connect(); err != nil {
		return nil, fmt.Errorf("error connecting to syslog: %q", err.Error())
	}
	return s, nil
}

func (s *syslog) connect() error {
	conn, err := net.DialTimeout(s.network, s.addr, syslogTimeout)
	s.conn = conn
	return err
}

// write sends a line, once more over a new connection if the old one is broken. What cannot be sent is dropped, and so is
// all of the next second: everybody who logs waits for it.
func (s *syslog) write(level Level, text string) {
	packet := s.packet(level, text, time.Now())
	for range 2 {
		if s.conn == nil {
			if time.Now().Before(s.retry) {
				return
			}
			if err := s.connect(); err != nil {
				s.conn, s.retry = nil, time.Now().Add(syslogTimeout)
				return
			}
		}
		s.conn.SetWriteDeadline(time.Now().Add(syslogTimeout))
		if _, err := s.conn.Write(packet); err == nil {
			return
		}
		s.conn.Close()
		s.conn = nil
	}
	s.retry = time.Now().Add(syslogTimeout)
}

// packet returns the line as it is sent.
func (s *syslog) packet(level Level, text string, now time.Time) []byte {
	text = strings.TrimSuffix(text, "\n")
	if s.local {
		return fmt.Appendf(nil, "<%d>%s %s[%d]: %s\n", facilityDaemon|priorities[level], now.Format(time.Stamp), s.tag, os.Getpid(), text)
	}
	return fmt.Appendf(nil, "<%d>%s %s %s[%d]: %s\n", facilityKern|priorities[level], now.Format(time.RFC3339), s.hostname, s.tag, os.Getpid(), text)
}

func (s *syslog) close() error {
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}
