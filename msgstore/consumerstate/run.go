package consumerstate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/binread"
)

// Run is what one turn of a consumer changed, as it goes through the commit
// journal or the stream's log. Applying it twice, or applying one of an older
// epoch, has no effect.
type Run struct {
	Epoch uint64 // of the consumer's host; a new host begins a higher one
	Op    uint64 // ascending within an epoch, from 1
	Steps []Step
}

// StepKind says what a step does.
type StepKind uint8

const (
	StepDelivered      StepKind = 1 // Num messages from (DSeq, SSeq) on were delivered at Time for the DC-th time
	StepAcked          StepKind = 2 // Num messages from (DSeq, SSeq) on were acknowledged
	StepScanned        StepKind = 3 // nothing matches up to SSeq
	StepStarting       StepKind = 4 // SetStarting(SSeq)
	StepUpdateStarting StepKind = 5 // UpdateStarting(SSeq)
	StepReset          StepKind = 6 // Reset(SSeq)
	StepForget         StepKind = 7 // RemoveRedeliveredBelow(SSeq)
)

// Step is a part of a run. Num messages in a row have ascending numbers in both
// sequences.
type Step struct {
	Kind       StepKind
	DSeq, SSeq uint64
	Num        uint64 // at least 1; delivered and acked only
	DC         uint64 // delivered only
	Time       int64  // delivered only; nanoseconds since the epoch
}

const (
	runMagic   = 0xc5
	runVersion = 1
	minStep    = 2

	// MaxRunMessages bounds what one run can name, since a few bytes can name
	// any number. A turn of a consumer is far smaller.
	MaxRunMessages = 1 << 20
)

var (
	// ErrRun wraps the errors of DecodeRun.
	ErrRun = errors.New("corrupt consumer run")
	// ErrRunVersion says that a newer server wrote the run.
	ErrRunVersion = errors.New("consumer run of a newer version")
)

// AppendTo appends the encoded run to b. Positions and times are stored as
// differences to the step before, so that a turn of neighbours is small.
func (r *Run) AppendTo(b []byte) []byte {
	b = append(b, runMagic, runVersion)
	b = binary.AppendUvarint(b, r.Epoch)
	b = binary.AppendUvarint(b, r.Op)
	b = binary.AppendUvarint(b, uint64(len(r.Steps)))
	var prev Step
	for _, s := range r.Steps {
		b = append(b, byte(s.Kind))
		b = binary.AppendVarint(b, int64(s.SSeq-prev.SSeq))
		prev.SSeq = s.SSeq
		if s.Kind != StepDelivered && s.Kind != StepAcked {
			continue
		}
		b = binary.AppendVarint(b, int64(s.DSeq-prev.DSeq))
		prev.DSeq = s.DSeq
		b = binary.AppendUvarint(b, s.Num)
		if s.Kind == StepDelivered {
			b = binary.AppendUvarint(b, s.DC)
			b = binary.AppendVarint(b, s.Time-prev.Time)
			prev.Time = s.Time
		}
	}
	return b
}

// DecodeRun reads an encoded run, which takes all of b. Errors wrap ErrRun or
// ErrRunVersion.
func DecodeRun(b []byte) (Run, error) {
	r := binread.New(b)
	if m := r.Byte(); m != runMagic {
		return Run{}, fmt.Errorf("%w: magic %d", ErrRun, m)
	}
	switch v := r.Byte(); {
	case v > runVersion:
		return Run{}, fmt.Errorf("%w: %d, this server knows %d", ErrRunVersion, v, runVersion)
	case v == 0:
		return Run{}, fmt.Errorf("%w: version", ErrRun)
	}
	run := Run{Epoch: r.Uvarint(), Op: r.Uvarint()}
	n := r.Uvarint()
	if n > uint64(r.Len()/minStep) {
		return Run{}, fmt.Errorf("%w: %d steps", ErrRun, n)
	}
	run.Steps = make([]Step, n)
	var prev Step
	total := uint64(0)
	for i := range run.Steps {
		s := Step{Kind: StepKind(r.Byte())}
		prev.SSeq += uint64(r.Varint())
		s.SSeq = prev.SSeq
		switch s.Kind {
		case StepDelivered, StepAcked:
			prev.DSeq += uint64(r.Varint())
			s.DSeq, s.Num = prev.DSeq, r.Uvarint()
			if s.Kind == StepDelivered {
				s.DC = r.Uvarint()
				prev.Time += r.Varint()
				s.Time = prev.Time
			}
			if s.Num == 0 || s.Num > MaxRunMessages-total || s.SSeq+s.Num < s.SSeq || s.DSeq+s.Num < s.DSeq {
				return Run{}, fmt.Errorf("%w: step of %d messages", ErrRun, s.Num)
			}
			total += s.Num
		case StepScanned, StepStarting, StepUpdateStarting, StepReset, StepForget:
		default:
			return Run{}, fmt.Errorf("%w: step %d", ErrRun, s.Kind)
		}
		run.Steps[i] = s
	}
	if r.Err() != nil || r.Len() > 0 {
		return Run{}, fmt.Errorf("%w: steps", ErrRun)
	}
	return run, nil
}

// Resume sets the position behind which runs are applied, after the state of a
// checkpoint was loaded.
func (t *Tracker) Resume(epoch, op uint64) { t.epoch, t.op = epoch, op }

// Apply makes the changes of a run and reports whether it was new. What a step
// names that is no longer so (an acknowledgement of something not pending) has
// no effect: every holder of the same runs comes to the same state.
func (t *Tracker) Apply(r *Run) bool {
	if r.Epoch < t.epoch || r.Epoch == t.epoch && r.Op <= t.op {
		return false
	}
	t.epoch, t.op = r.Epoch, r.Op
	for i := range r.Steps {
		t.step(&r.Steps[i])
	}
	return true
}

func (t *Tracker) step(s *Step) {
	switch s.Kind {
	case StepDelivered:
		for i := range s.Num {
			_ = t.Deliver(s.DSeq+i, s.SSeq+i, s.DC, s.Time) // refused without effect: see Apply
		}
	case StepAcked:
		for i := range s.Num {
			_ = t.Ack(s.DSeq+i, s.SSeq+i) // as above
		}
	case StepScanned:
		t.scanned = max(t.scanned, s.SSeq)
	case StepStarting:
		t.SetStarting(s.SSeq)
	case StepUpdateStarting:
		t.UpdateStarting(s.SSeq)
	case StepReset:
		t.Reset(s.SSeq)
	case StepForget:
		t.RemoveRedeliveredBelow(s.SSeq)
	}
}
