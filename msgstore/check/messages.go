package check

import (
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
)

// Message is a live message. Its slices are valid during the call that gets it.
type Message struct {
	Account, Stream string
	Seq             uint64
	Time            int64 // nanoseconds since the epoch
	Subject         string
	Header          []byte // raw header section, nil if there is none
	Data            []byte
}

// each calls fn with every live message of a scanned stream, ascending. It reads
// the blocks a second time.
func (s *stream) each(fn func(*Message) error) error {
	m := Message{Account: s.account, Stream: s.stream}
	for _, b := range s.blocks {
		if b.messages == 0 {
			continue
		}
		c, err := s.load(b)
		if err != nil {
			return err
		}
		if b.unreadable != nil {
			continue
		}
		_, err = scan.Run(s.scanBlock(b, &c), func(_ int, r *record.Record) error {
			if r.Kind != record.Message || !s.live.Contains(r.Seq) {
				return nil
			}
			m.Seq, m.Time, m.Subject, m.Header, m.Data = r.Seq, r.Time, string(r.Subject), r.Header, r.Data
			return fn(&m)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Messages calls fn with every live message at or below path: streams in the
// order of their accounts and names, messages in that of their sequences.
func Messages(path string, opts Options, fn func(*Message) error) error {
	return examine(path, twoPasses, &opts, func(s *stream) error { return s.each(fn) })
}
