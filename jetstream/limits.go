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
	limit := e.limit(storage)
	return limit >= 0 && e.usage.stored(storage) >= limit
}

// stored is how many bytes all accounts store.
func (u *serverUsage) stored(storage jsapi.StorageType) int64 {
	if storage == jsapi.MemoryStorage {
		return u.memory.Load()
	}
	return u.store.Load()
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
		c := st.Config()
		if p := a.pending[c.Name]; p != nil && p.config != nil && p.config.MaxBytes > c.MaxBytes {
			c = p.config // an update
		}
		count(c)
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
	limit, server, failure := limits.MaxStore, a.engine.limit(cfg.Storage), resourcesExceeded(cfg.Storage)
	if cfg.Storage == jsapi.MemoryStorage {
		limit = limits.MaxMemory
	}
	if limit >= 0 && saturatingAdd(reserved, need) > limit {
		return failure
	}
	if grow := growth(cfg, old); server >= 0 && grow > 0 && saturatingAdd(a.engine.reserved(cfg.Storage), grow) > server {
		return failure
	}
	return nil
}

// growth is what a configuration, in the place of old if that is not nil, changes of
// the reservations.
func growth(cfg, old *jsapi.StreamConfig) int64 {
	n := max(cfg.MaxBytes, 0)
	if old != nil {
		n -= max(old.MaxBytes, 0)
	}
	return n
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

// limit is how many bytes the server may store or reserve; negative: any number.
func (e *Engine) limit(storage jsapi.StorageType) int64 {
	if storage == jsapi.MemoryStorage {
		return e.maxMemory.Load()
	}
	return e.maxStore.Load()
}

func resourcesExceeded(storage jsapi.StorageType) *jsapi.Error {
	if storage == jsapi.MemoryStorage {
		return jsapi.ErrMemoryResourcesExceeded
	}
	return jsapi.ErrStorageResourcesExceeded
}

// reserve changes the server's reservations by a stream's max_bytes.
func (e *Engine) reserve(storage jsapi.StorageType, bytes int64) {
	e.usage.mu.Lock()
	defer e.usage.mu.Unlock()
	*e.usage.reservedFor(storage) += bytes
}

// tryReserve is reserve, unless the server's limit has no room for it.
func (e *Engine) tryReserve(storage jsapi.StorageType, bytes int64) *jsapi.Error {
	e.usage.mu.Lock()
	defer e.usage.mu.Unlock()
	n := e.usage.reservedFor(storage)
	if limit := e.limit(storage); limit >= 0 && bytes > 0 && saturatingAdd(*n, bytes) > limit {
		return resourcesExceeded(storage)
	}
	*n += bytes
	return nil
}

func (e *Engine) reserved(storage jsapi.StorageType) int64 {
	e.usage.mu.Lock()
	defer e.usage.mu.Unlock()
	return *e.usage.reservedFor(storage)
}

// reservedFor is the reservations of a storage. Under mu.
func (u *serverUsage) reservedFor(storage jsapi.StorageType) *int64 {
	if storage == jsapi.MemoryStorage {
		return &u.reservedMem
	}
	return &u.reservedStore
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
