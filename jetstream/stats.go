package jetstream

import (
	"github.com/natsd/natsd/jetstream/jsapi"
)

// Stats is the account's usage and limits, as INFO tells them.
func (a *Account) Stats() *jsapi.AccountStats {
	s := &jsapi.AccountStats{
		Domain: a.engine.opts.Domain,
		API:    a.APIStats(),
	}
	streams := a.Streams()
	a.mu.RLock()
	config := a.config
	a.mu.RUnlock()
	if config == nil {
		return s
	}
	s.Limits = config.Limits
	s.Memory, s.Store = uint64(max(a.usage.memory.Load(), 0)), uint64(max(a.usage.store.Load(), 0))
	s.Streams = len(streams)
	tiers := make(map[string]jsapi.Tier, len(config.Tiers))
	for name, limits := range config.Tiers {
		tiers[name] = jsapi.Tier{Limits: limits}
	}
	for _, st := range streams {
		cfg := st.Config()
		consumers := st.consumers.count(true)
		s.Consumers += consumers
		_, name, _ := a.limitsFor(cfg.Replicas)
		tier := tiers[name]
		tier.Streams++
		tier.Consumers += consumers
		reserved := uint64(max(cfg.MaxBytes, 0))
		if cfg.Storage == jsapi.MemoryStorage {
			s.ReservedMemory += reserved
			tier.ReservedMemory += reserved
			tier.Memory += st.storedBytes()
		} else {
			s.ReservedStorage += reserved
			tier.ReservedStorage += reserved
			tier.Store += st.storedBytes()
		}
		tiers[name] = tier
	}
	if config.Tiers != nil {
		s.Tiers = tiers
		if limits, ok := config.Tiers[""]; ok {
			s.Limits, s.Tiers = limits, nil
		}
	}
	return s
}
