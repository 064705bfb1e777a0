package subjecttree

// Stats describes a List or the sum of several: the building block of /subsz.
type Stats struct {
	NumSubs      int     `json:"num_subscriptions"`
	NumCache     int     `json:"num_cache"`
	NumInserts   uint64  `json:"num_inserts"`
	NumRemoves   uint64  `json:"num_removes"`
	NumMatches   uint64  `json:"num_matches"`
	CacheHitRate float64 `json:"cache_hit_rate"` // hits / matches
	MaxFanout    int     `json:"max_fanout"`     // over the cached results
	AvgFanout    float64 `json:"avg_fanout"`     // over the cached results

	hits, fanout uint64 // what the rates are made from
}

// Stats returns the list's present numbers.
func (l *List[V]) Stats() Stats {
	l.mu.RLock()
	s := Stats{
		NumSubs:    l.count,
		NumInserts: l.inserts,
		NumRemoves: l.removes,
	}
	l.mu.RUnlock()
	// Hits first: a match that comes between must not make the rate exceed 1.
	s.hits = l.hits.Load()
	s.NumMatches = l.matches.Load()
	if c := l.cache.Load(); c != nil {
		for i := range c.slots {
			e := c.slots[i].Load()
			if e == nil {
				continue
			}
			n := len(e.result.Plain)
			for _, g := range e.result.Groups {
				n += len(g.Members)
			}
			s.NumCache++
			s.MaxFanout = max(s.MaxFanout, n)
			s.fanout += uint64(n)
		}
	}
	s.rates()
	return s
}

// Add adds the numbers of another list: counts add up, the largest fan-out is
// the larger one, and rates are made anew from the sums.
func (s *Stats) Add(o Stats) {
	s.NumSubs += o.NumSubs
	s.NumCache += o.NumCache
	s.NumInserts += o.NumInserts
	s.NumRemoves += o.NumRemoves
	s.NumMatches += o.NumMatches
	s.MaxFanout = max(s.MaxFanout, o.MaxFanout)
	s.hits += o.hits
	s.fanout += o.fanout
	s.rates()
}

func (s *Stats) rates() {
	s.CacheHitRate, s.AvgFanout = 0, 0
	if s.NumMatches > 0 {
		s.CacheHitRate = float64(s.hits) / float64(s.NumMatches)
	}
	if s.NumCache > 0 {
		s.AvgFanout = float64(s.fanout) / float64(s.NumCache)
	}
}
