package msgstore

import (
	"context"
	"time"
)

// duePortion is how many things the loop does at a time.
const duePortion = 1000

// RunDue does what becomes due in a store, until ctx ends: it removes messages
// whose age or TTL has come, and stores markers and scheduled messages. It is
// for programs that embed a store and have no log of their own; a server decides
// these things itself. Errors other than the end of ctx are those of the store.
func RunDue(ctx context.Context, s Store) error {
	for {
		wait := time.Minute // messages that come meanwhile are noticed then
		if next := s.NextDue(); next > 0 {
			wait = min(wait, time.Until(time.Unix(0, next)))
		}
		t := time.NewTimer(max(wait, time.Duration(minDelay)))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		for {
			due := s.Due(time.Now().UnixNano(), duePortion, nil)
			if err := doDue(s, due); err != nil {
				return err
			}
			if len(due) < duePortion {
				break
			}
		}
	}
}

// duty is what a store's registered functions do about things that are due.
type duty interface {
	duties() (remove func(seq uint64), process func(subject string, header, data []byte))
}

func (s *store) duties() (func(uint64), func(string, []byte, []byte)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.remove, s.process
}

func doDue(s Store, due []Due) error {
	var remove func(uint64)
	var process func(string, []byte, []byte)
	if d, ok := s.(duty); ok {
		remove, process = d.duties()
	}
	var gone []uint64
	for i := range due {
		d := &due[i]
		if d.Publish == nil {
			if d.Kind != DueSchedule { // whose message cannot be read
				gone = append(gone, d.Seq)
			}
			continue
		}
		if process != nil {
			process(d.Publish.Subject, d.Publish.Header, d.Publish.Data)
			continue
		}
		m := RawMsg{Subject: d.Publish.Subject, Header: d.Publish.Header, Data: d.Publish.Data, Time: time.Now().UnixNano()}
		if d.Marker {
			m.Rollup = RollupSubject
		}
		done := make(chan error, 1)
		s.StoreRawMsgs([]RawMsg{m}, func(err error) { done <- err })
		if err := <-done; err != nil {
			return err
		}
	}
	if remove != nil {
		for _, seq := range gone {
			remove(seq)
		}
		return nil
	}
	if len(gone) == 0 {
		return nil
	}
	done := make(chan error, 1)
	s.RemoveMsgs(gone, false, func(_ uint64, err error) { done <- err })
	return <-done
}
