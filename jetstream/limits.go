package jetstream

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/natsd/natsd/jetstream/jsapi"
)

// serverUsage is what all accounts together store and have reserved.
type serverUsage struct {
	memory, store atomic.Int64

	mu                         sync.Mutex // guards the reservations; taken after Account.mu
	reservedMem, reservedStore int64
}

// accountUsage is what an account stores, by replication tier. Without tiers
// everything is in R1's place, since a standalone server has no replicas.
type accountUsage struct {
	memory, store atomic.Int64
}

// add accounts for a change of a stream's stored bytes.
func (a *Account) addUsage(storage jsapi.StorageType, bytes int64) {
	if storage == jsapi.MemoryStorage {
		a.usage.memory.Add(bytes)
		a.engine.usage.memory.Add(bytes)
	} else {
		a.usage.store.Add(bytes)
		a.engine.usage.store.Add(bytes)
	}
}

// exhausted reports whether the server's own limit for a storage is reached.
func (e *Engine) exhausted(storage jsapi.StorageType) bool {
	if storage == jsapi.MemoryStorage {
		limit := e.maxMemory.Load()
		return limit >= 0 && e.usage.memory.Load() >= limit
	}
	limit := e.maxStore.Load()
	return limit >= 0 && e.usage.store.Load() >= limit
}

// storageLimit is how many bytes the account may store in streams of this kind;
// negative: any number. ok is false if it may have no such streams at all.
func (a *Account) storageLimit(cfg *jsapi.StreamConfig) (limit int64, ok bool) {
	limits, _, ok := a.limitsFor(cfg.Replicas)
	if cfg.Storage == jsapi.MemoryStorage {
		return limits.MaxMemory, ok
	}
	return limits.MaxStore, ok
}

// stored is how many bytes the account stores in streams of this kind.
func (a *Account) stored(storage jsapi.StorageType) int64 {
	if storage == jsapi.MemoryStorage {
		return a.usage.memory.Load()
	}
	return a.usage.store.Load()
}

// limitsFor returns the limits that apply to a stream with so many replicas and
// the name of their tier, "" without tiers.
func (a *Account) limitsFor(replicas int) (limits jsapi.AccountLimits, tier string, ok bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.limitsForLocked(replicas)
}

// checkLimits decides whether a stream of this configuration may be made, or
// may replace old. The caller holds a.mu.
func (a *Account) checkLimits(cfg, old *jsapi.StreamConfig) *jsapi.Error {
	limits, tier, ok := a.limitsForLocked(cfg.Replicas)
	if !ok {
		return jsapi.ErrNoLimits
	}
	streams, reserved := 0, int64(0)
	count := func(c *jsapi.StreamConfig) {
		if old != nil && c.Name == old.Name {
			return
		}
		if tier != "" && fmt.Sprintf("R%d", c.Replicas) != tier {
			return
		}
		streams++
		if c.Storage == cfg.Storage && c.MaxBytes > 0 {
			n := c.MaxBytes
			if tier == "" {
				n = saturatingMul(n, int64(c.Replicas))
			}
			reserved = saturatingAdd(reserved, n)
		}
	}
	for _, st := range a.streams {
		count(st.Config())
	}
	for _, p := range a.pending {
		if p.config != nil && a.streams[p.config.Name] == nil {
			count(p.config)
		}
	}
	if old == nil && limits.MaxStreams > 0 && streams >= limits.MaxStreams {
		return jsapi.ErrMaximumStreamsLimit
	}
	if limits.MaxConsumers > 0 && cfg.MaxConsumers > limits.MaxConsumers {
		return jsapi.ErrMaximumConsumersLimit
	}
	need := max(cfg.MaxBytes, 1)
	if tier == "" {
		need = saturatingMul(need, int64(max(cfg.Replicas, 1)))
	}
	limit, server, failure := limits.MaxStore, a.engine.maxStore.Load(), jsapi.ErrStorageResourcesExceeded
	if cfg.Storage == jsapi.MemoryStorage {
		limit, server, failure = limits.MaxMemory, a.engine.maxMemory.Load(), jsapi.ErrMemoryResourcesExceeded
	}
	if limit >= 0 && saturatingAdd(reserved, need) > limit {
		return failure
	}
	grow := max(cfg.MaxBytes, 0)
	if old != nil {
		grow -= max(old.MaxBytes, 0)
	}
	if server >= 0 && grow > 0 && saturatingAdd(a.engine.reserved(cfg.Storage), grow) > server {
		return failure
	}
	return nil
}

func (a *Account) limitsForLocked(replicas int) (jsapi.AccountLimits, string, bool) {
	if a.config == nil {
		return jsapi.AccountLimits{}, "", false
	}
	if a.config.Tiers == nil {
		return a.config.Limits, "", true
	}
	if l, ok := a.config.Tiers[""]; ok {
		return l, "", true
	}
	tier := fmt.Sprintf("R%d", max(replicas, 1))
	l, ok := a.config.Tiers[tier]
	return l, tier, ok
}

// reserve changes the server's reservations by a stream's max_bytes.
func (e *Engine) reserve(storage jsapi.StorageType, bytes int64) {
	e.usage.mu.Lock()
	defer e.usage.mu.Unlock()
	if storage == jsapi.MemoryStorage {
		e.usage.reservedMem += bytes
	} else {
		e.usage.reservedStore += bytes
	}
}

func (e *Engine) reserved(storage jsapi.StorageType) int64 {
	e.usage.mu.Lock()
	defer e.usage.mu.Unlock()
	if storage == jsapi.MemoryStorage {
		return e.usage.reservedMem
	}
	return e.usage.reservedStore
}

func saturatingAdd(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func saturatingMul(a, b int64) int64 {
	if b != 0 && a > math.MaxInt64/b {
		return math.MaxInt64
	}
	return a * b
}
