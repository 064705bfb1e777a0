package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/meta"
)

// consumer is a consumer directory.
type consumer struct {
	name   string
	dir    string
	inf    []byte               // content of meta.inf, decrypted; nil if unreadable
	state  *consumerstate.State // nil: none or unreadable
	stored []byte               // content of o.dat, decrypted; nil for none
	plain  []byte               // the state in the form of o.dat, with what the journal has behind it
	keys   sealer
	// checkpoint is the scan.db that goes with plain, nil if the journal has
	// nothing for the consumer.
	checkpoint *consumerstate.Checkpoint
	torn       bool // an update of meta.inf and meta.sum was interrupted
	damaged    bool
}

// consumers returns the consumers of the stream. The first call reads them and
// reports what is wrong.
func (s *stream) consumers() []*consumer {
	if s.list != nil || s.onlyBlock != 0 {
		return s.list
	}
	s.list = []*consumer{}
	for _, dir := range s.obs {
		c := &consumer{name: filepath.Base(dir), dir: dir}
		s.readConsumer(c)
		s.list = append(s.list, c)
	}
	s.state.Consumers = len(s.list)
	return s.list
}

// listConsumers finds the directories of the consumers.
func (s *stream) listConsumers() error {
	obs := filepath.Join(s.dir, "obs")
	list, err := s.fs.ReadDir(obs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			s.obs = append(s.obs, filepath.Join(obs, e.Name()))
		}
	}
	return err
}

func (s *stream) readConsumer(c *consumer) {
	problem := func(kind, file, detail string) {
		c.damaged = true
		s.find(Damage, kind, filepath.Join(c.dir, file), detail).Consumer = c.name
	}
	get := func(name string, limit int64) []byte {
		b, err := s.read(filepath.Join(c.dir, name), limit)
		if err != nil {
			problem(KindConsumerMeta, name, err.Error())
		}
		return b
	}
	f := meta.Files{Inf: get("meta.inf", maxMeta), Sum: get("meta.sum", maxMeta), InfTmp: get("meta.inf.tmp", maxMeta), SumTmp: get("meta.sum.tmp", maxMeta)}
	inf := f.Inf
	switch meta.Judge(meta.ConsumerName(s.stream, c.name), f) {
	case meta.Absent:
		if len(f.Inf) == 0 && len(f.Sum) == 0 {
			c.damaged = true
			s.find(Info, KindLeftover, c.dir, "a creation of a consumer that was interrupted").Consumer = c.name
			return
		}
		problem(KindConsumerMeta, "meta.inf", "no meta.inf and meta.sum that belong together")
		return
	case meta.Mismatch:
		problem(KindConsumerMeta, "meta.sum", "checksums do not match")
	case meta.TakeSum:
		c.torn = true
	case meta.TakeInf:
		c.torn = true
		inf = f.InfTmp
	}
	var err error
	if c.keys, err = s.openKeys(c.dir, keys.OfConsumer(s.owner(), s.stream, c.name)); err == nil {
		inf, err = c.keys.open(inf, json.Valid)
	}
	if err != nil {
		problem(KindConsumerMeta, "meta.inf", err.Error())
		return
	}
	if !json.Valid(inf) {
		problem(KindConsumerMeta, "meta.inf", "no JSON")
		return
	}
	c.inf = inf
	state, err := s.read(filepath.Join(c.dir, "o.dat"), maxState)
	if err == nil && len(state) > 0 {
		state, err = c.keys.open(state, func(b []byte) bool { _, err := consumerstate.Decode(b); return err == nil })
	}
	var decoded consumerstate.State
	if err == nil {
		decoded, err = consumerstate.Decode(state)
	}
	if err != nil {
		problem(KindConsumerState, "o.dat", err.Error())
		return
	}
	if c.keys.pending || c.torn {
		s.find(Repairable, KindConversion, c.dir, "an update or conversion was interrupted").Consumer = c.name
	}
	if len(state) > 0 {
		c.state, c.stored, c.plain = &decoded, state, state
	}
	if err := s.applyRuns(c); err != nil {
		problem(KindConsumerState, "o.dat", "the runs of the commit journal: "+err.Error())
	}
	if c.state != nil {
		if d := c.state.Delivered.Stream; d > s.state.LastSeq {
			s.find(Info, KindConsumerState, filepath.Join(c.dir, "o.dat"), fmt.Sprintf("delivered up to %d, the stream ends at %d", d, s.state.LastSeq)).Consumer = c.name
		}
	}
}
