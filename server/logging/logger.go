// Package logging writes the server's log: to standard error, to a file that is rotated, or to a syslog.
//
// A Sink is one destination; a Logger is what the rest of the server holds, and its sink can be exchanged while it is used.
package logging

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Level is the importance of a line.
type Level uint8

const (
	Info Level = iota
	Debug
	Warn
	Error
	Fatal
	Trace
)

// String returns the three letters of a log line.
func (l Level) String() string { return [...]string{"INF", "DBG", "WRN", "ERR", "FTL", "TRC"}[l] }

// colors of the levels on a terminal.
var colors = [...]string{"32", "36", "0;93", "31", "31", "33"}

// Config says where lines go and how they look. At most one sink is used: the file, the remote syslog, the local syslog,
// or else standard error.
type Config struct {
	File         string
	SizeLimit    int64 // bytes of the file before it is rotated; 0: never
	MaxFiles     int64 // files to keep, the active one included; 0: all
	RemoteSyslog string
	Syslog       bool

	Time bool // lines begin with the time
	UTC  bool // which is UTC
}

// sink is where lines go. Its methods are called one at a time.
type sink interface {
	write(level Level, text string)
	close() error
}

// Sink is an open destination.
type Sink struct {
	config Config
	mu     sync.Mutex // over out
	out    sink
}

// Open opens the destination that the configuration names.
func Open(c Config) (*Sink, error) {
	s := &Sink{config: c}
	var err error
	switch {
	case c.File != "":
		s.out, err = openFile(c)
	case c.RemoteSyslog != "":
		s.out, err = dialSyslog(c.RemoteSyslog)
	case c.Syslog:
		s.out, err = dialSyslog("")
	default:
		s.out = &stream{w: os.Stderr, format: newFormat(c, isTerminal(os.Stderr))}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Sink) write(level Level, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.write(level, text)
}

// Close ends the use of the sink.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.close()
}

// Logger logs. All methods may be called from any goroutine; a Logger without a sink drops everything.
type Logger struct {
	mu    sync.RWMutex // shared while a line is written, so that no sink is closed under it
	sink  *Sink
	debug atomic.Bool
	trace atomic.Bool
}

// New returns a logger that writes to the sink.
func New(s *Sink) *Logger {
	return &Logger{sink: s}
}

// Replace makes lines go to another sink from here on, and closes the one before.
func (l *Logger) Replace(s *Sink) error {
	l.mu.Lock()
	old := l.sink
	l.sink = s
	l.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.Close()
}

// Sink returns the present sink.
func (l *Logger) Sink() *Sink {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.sink
}

// SetLevels says which of the levels Debug and Trace are logged.
func (l *Logger) SetLevels(debug, trace bool) {
	l.debug.Store(debug)
	l.trace.Store(trace)
}

func (l *Logger) log(level Level, format string, args []any) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.sink != nil {
		l.sink.write(level, fmt.Sprintf(format, args...))
	}
}

// Noticef logs what an operator wants to know.
func (l *Logger) Noticef(format string, args ...any) { l.log(Info, format, args) }

// Warnf logs what may be a problem.
func (l *Logger) Warnf(format string, args ...any) { l.log(Warn, format, args) }

// Errorf logs what went wrong.
func (l *Logger) Errorf(format string, args ...any) { l.log(Error, format, args) }

// Fatalf logs why the server ends. It does not end it.
func (l *Logger) Fatalf(format string, args ...any) { l.log(Fatal, format, args) }

// Debugf logs details, if that is switched on.
func (l *Logger) Debugf(format string, args ...any) {
	if l.debug.Load() {
		l.log(Debug, format, args)
	}
}

// Tracef logs the protocol, if that is switched on.
func (l *Logger) Tracef(format string, args ...any) {
	if l.trace.Load() {
		l.log(Trace, format, args)
	}
}

// Reopen closes a log file and opens it again, after somebody moved it away. With another sink it says that there is
// nothing to do.
func (l *Logger) Reopen() error {
	s := l.Sink()
	if s == nil || s.config.File == "" {
		l.Noticef("File log re-open ignored, not a file logger")
		return nil
	}
	next, err := Open(s.config)
	if err != nil {
		return err
	}
	err = l.Replace(next)
	l.Noticef("File log re-opened")
	return err
}

// format makes lines.
type format struct {
	prefix string // process id
	time   bool
	utc    bool
	color  bool
	buf    []byte
}

func newFormat(c Config, color bool) format {
	return format{prefix: fmt.Sprintf("[%d] ", os.Getpid()), time: c.Time, utc: c.UTC, color: color}
}

// line returns the line; it is overwritten by the next call.
func (f *format) line(level Level, text string) []byte {
	b := append(f.buf[:0], f.prefix...)
	if f.time {
		now := time.Now()
		if f.utc {
			now = now.UTC()
		}
		b = now.AppendFormat(b, "2006/01/02 15:04:05.000000 ")
	}
	b = append(b, '[')
	if f.color {
		b = append(b, "\x1b["+colors[level]+"m"...)
	}
	b = append(b, level.String()...)
	if f.color {
		b = append(b, "\x1b[0m"...)
	}
	b = append(b, "] "...)
	b = append(b, text...)
	if len(text) == 0 || text[len(text)-1] != '\n' {
		b = append(b, '\n')
	}
	f.buf = b
	return b
}

// stream is a sink that is not opened and not closed.
type stream struct {
	w io.Writer
	format
}

// write drops what cannot be written: there is no other place to say so.
func (s *stream) write(level Level, text string) { s.w.Write(s.line(level, text)) }

func (s *stream) close() error { return nil }

// isTerminal tells whether a file is a character device.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
