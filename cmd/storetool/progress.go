package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// progress draws one line on a terminal: share, rate, time to go. It also is
// where an interruption is noticed, between two files.
type progress struct {
	ctx     context.Context
	out     io.Writer // nil: draw nothing
	start   time.Time
	drawn   time.Time
	pending bool // a line is on the screen
	resumes bool // the work goes on when it is started again

	// The rate is that since from, which follows last: a command that first reads
	// and then writes does not go on as it began.
	from, last mark
}

// mark is how far the work was at a time.
type mark struct {
	at   time.Time
	done int64
}

// window is how far back the rate looks, at least.
const window = 2 * time.Second

// redraw is how often the line changes; faster cannot be read.
const redraw = 100 * time.Millisecond

// patience is how long nothing is drawn: most directories are done by then.
const patience = 300 * time.Millisecond

func newProgress(ctx context.Context, t *tool) *progress {
	p := &progress{ctx: ctx, start: time.Now()}
	p.from = mark{at: p.start}
	p.last = p.from
	if f, ok := t.stderr.(*os.File); ok && !t.quiet && isTerminal(f) {
		p.out = f
	}
	return p
}

// hide draws nothing if what the command prints appears on the terminal
// meanwhile.
func (p *progress) hide(stdout *output) {
	if f, ok := stdout.w.(*os.File); ok && isTerminal(f) {
		p.out = nil
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

func (p *progress) update(done, total int64) error {
	if p.ctx.Err() != nil {
		if p.resumes {
			return errResumes
		}
		return errInterrupted
	}
	now := time.Now()
	if now.Sub(p.last.at) >= window {
		p.from, p.last = p.last, mark{now, done}
	}
	if p.out == nil || total == 0 || now.Sub(p.start) < patience || now.Sub(p.drawn) < redraw && done < total {
		return nil
	}
	p.drawn = now
	p.pending = true
	fmt.Fprintf(p.out, "\r\x1b[K%s", progressLine(done, total, done-p.from.done, now.Sub(p.from.at)))
	return nil
}

// These end the work when the user asks for it. Every change is made by a rename,
// so any point is a good one.
var (
	errInterrupted = errors.New("interrupted; nothing was changed")
	errResumes     = errors.New("interrupted; the same command goes on from here")
)

// progressLine is what is shown: recent bytes of the done ones took the time elapsed.
func progressLine(done, total, recent int64, elapsed time.Duration) string {
	rate := float64(recent) / max(elapsed.Seconds(), 0.001)
	s := fmt.Sprintf("%3d %%  %s of %s  %s/s", done*100/total, size(done), size(total), size(int64(rate)))
	if rate > 0 && done < total {
		eta := time.Duration(float64(total-done) / rate * float64(time.Second)).Round(time.Second)
		s += fmt.Sprintf("  %s to go", eta)
	}
	return s
}

func (p *progress) finish() {
	if p.pending {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.pending = false
	}
}

// meter shows the progress of reading r.
type meter struct {
	r           io.Reader
	p           *progress
	done, total int64 // total 0: unknown
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.done += int64(n)
	if perr := m.p.update(m.done, m.total); perr != nil {
		return n, perr
	}
	return n, err
}

// interruptible reads from r, which may wait for somebody who types, until ctx ends.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	const size = 1 << 20
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { in.CloseWithError(errInterrupted) })
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{r}, make([]byte, size))
		in.CloseWithError(err)
	}()
	return out
}
