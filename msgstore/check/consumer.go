package check

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/meta"
)

// consumer is a consumer directory.
type consumer struct {
	name    string
	dir     string
	inf     []byte               // content of meta.inf, decrypted; nil if unreadable
	state   *consumerstate.State // nil: none or unreadable
	plain   []byte               // content of o.dat, decrypted
	keys    sealer
	torn    bool // an update of meta.inf and meta.sum was interrupted
	damaged bool
}

// consumers reads the consumers of the stream and reports what is wrong.
func (s *stream) consumers() []*consumer {
	dir := filepath.Join(s.dir, "obs")
	list, err := s.fs.ReadDir(dir)
	if err != nil || s.onlyBlock != 0 {
		return nil
	}
	var all []*consumer
	for _, e := range list {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		c := &consumer{name: e.Name(), dir: filepath.Join(dir, e.Name())}
		s.readConsumer(c)
		all = append(all, c)
	}
	s.state.Consumers = len(all)
	return all
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
		c.state, c.plain = &decoded, state
		if d := decoded.Delivered.Stream; d > s.state.LastSeq {
			s.find(Info, KindConsumerState, filepath.Join(c.dir, "o.dat"), fmt.Sprintf("delivered up to %d, the stream ends at %d", d, s.state.LastSeq)).Consumer = c.name
		}
	}
}
