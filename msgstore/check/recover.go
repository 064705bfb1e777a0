package check

import (
	"fmt"
	"path/filepath"

	"github.com/natsd/natsd/msgstore/vfs"
)

// Recovered is the result of Recover.
type Recovered struct {
	Streams []RecoveredStream `json:"streams"`
}

// RecoveredStream says what became of a stream.
type RecoveredStream struct {
	Account   string `json:"account"`
	Stream    string `json:"stream"`
	Recovered uint64 `json:"recovered"` // messages
	Lost      []Lost `json:"lost"`
	// Notes say what else could not be kept as it was: a configuration that had
	// to be made up, a consumer whose state is lost.
	Notes []string `json:"notes,omitempty"`
}

// Recover writes everything that is readable at or below path into the new store
// directory to, which must be empty or not exist. It does not change path. What
// was encrypted is encrypted again, with new keys.
func Recover(path, to string, opts Options) (*Recovered, error) {
	if err := Apart(path, to, opts); err != nil {
		return nil, err
	}
	res := &Recovered{Streams: []RecoveredStream{}}
	err := build(opts.fs(), to, func(dir string) error {
		return examine(path, twoPasses, &opts, func(s *stream) error {
			r, err := s.recoverTo(filepath.Join(dir, jetstreamDir, s.account, streamsDir, s.stream))
			if err != nil {
				return err
			}
			res.Streams = append(res.Streams, r)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// recoverTo writes what is readable of a scanned stream to dir.
func (s *stream) recoverTo(dir string) (RecoveredStream, error) {
	r := RecoveredStream{Account: s.account, Stream: s.stream, Lost: s.lost}
	if r.Lost == nil {
		r.Lost = []Lost{}
	}
	ring := s.opts.Keys
	if !s.keys.sealed {
		ring = Keys{}
	} else if ring.Cipher == NoCipher {
		ring.Cipher = s.keys.opened.Cipher // the cipher stays what it was
	}
	fsys := s.opts.fs()
	w, err := newStreamWriter(fsys, dir, s.account, s.stream, &s.cfg, ring)
	if err != nil {
		return r, err
	}
	err = s.each(func(m *Message) error { return w.message(m.Seq, m.Time, m.Subject, m.Header, m.Data) })
	if err != nil {
		return r, err
	}
	r.Recovered = w.messages
	for _, c := range s.consumers() {
		if c.inf == nil {
			r.Notes = append(r.Notes, fmt.Sprintf("consumer %s: its configuration is lost", c.name))
			continue
		}
		var state []byte
		switch {
		case c.state != nil:
			state = c.plain
		case c.damaged:
			r.Notes = append(r.Notes, fmt.Sprintf("consumer %s: its state is lost, it begins anew", c.name))
		}
		if err := w.consumer(c.name, c.inf, state); err != nil {
			return r, err
		}
	}
	if err := s.copyExtras(dir); err != nil {
		return r, err
	}
	if s.metaRaw == nil {
		r.Notes = append(r.Notes, "the configuration is lost; one that keeps everything was made up")
	}
	return r, w.finish(s.state.LastSeq, s.lastTime, s.metaRaw)
}

// copyExtras copies what belongs to a stream besides messages and consumers: the
// progress of its sources, batches whose commit may have been interrupted, and
// bytes that were put aside before.
func (s *stream) copyExtras(dir string) error {
	if b, err := s.read(filepath.Join(s.dir, "sources.db"), maxState); err == nil && b != nil {
		if err := vfs.WriteSynced(s.opts.fs(), filepath.Join(dir, "sources.db"), b, 0o600); err != nil {
			return err
		}
	}
	for _, name := range []string{"batches", "quarantine"} {
		if from := filepath.Join(s.dir, name); s.exists(from) {
			if err := copyTree(s.opts.fs(), from, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
