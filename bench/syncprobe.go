package main

import (
	"os"
	"path/filepath"
	"slices"
	"time"
)

// probeEvery is how many publishes there are for each sample of a [syncProbe].
const probeEvery = 10

// syncProbe measures what a durable write costs any program on the disk of a server
// while that is used: it appends as many bytes as a publish has to a file beside the
// store, and syncs it, between two publishes. So both find the disk as fast or slow as
// it is at the moment, after the same pause: a disk that rests between two writes takes
// longer for one than in a loop that does nothing else.
type syncProbe struct {
	file    *os.File
	payload []byte
	took    []time.Duration
	total   time.Duration
}

func newSyncProbe(srv *Server, payload []byte) (*syncProbe, error) {
	f, err := os.Create(filepath.Join(srv.Dir, "probe"))
	return &syncProbe{file: f, payload: payload}, err
}

// sample writes and syncs once.
func (p *syncProbe) sample() error {
	began := time.Now()
	if _, err := p.file.Write(p.payload); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	took := time.Since(began)
	p.took = append(p.took, took)
	p.total += took
	return nil
}

// median of the samples.
func (p *syncProbe) median() time.Duration {
	if len(p.took) == 0 {
		return 0
	}
	slices.Sort(p.took)
	return p.took[len(p.took)/2]
}

// timedBesideSyncs is timed for publishes that are durable when op returns, with a
// probe of the disk beside them. The time of the probe is not the load's.
func timedBesideSyncs(srv *Server, n int, payload []byte, op func(i int) error) (Load, error) {
	probe, err := newSyncProbe(srv, payload)
	if err != nil {
		return Load{}, err
	}
	defer probe.file.Close()
	load, err := timedAfter(srv, n, func(i int) error {
		if i%probeEvery > 0 {
			return nil
		}
		return probe.sample()
	}, op)
	load.Fsync = probe.median()
	load.Elapsed -= probe.total
	return load, err
}
