package propagation

import "time"

// expire gives up on writes that have waited too long: what was seen counts,
// what was not is unseen.
func (t *Tracker) expire(now time.Time) {
	for k, list := range t.waiting {
		for _, p := range list {
			if now.Sub(p.begun) < maxWait {
				continue
			}
			if !p.acked.IsZero() {
				t.record(p)
				for o := range p.until {
					t.unseen[o.Tier]++
				}
			}
			t.remove(k, p)
		}
	}
}

// Summary is what was measured of one tier, in milliseconds; the numbers are
// nil if nothing was.
type Summary struct {
	P50    *float64 `json:"p50"`
	P99    *float64 `json:"p99"`
	Max    *float64 `json:"max"`
	Count  int      `json:"count"`
	Unseen int      `json:"unseen"`
}

// Look returns what was measured of the writes that everybody has seen. Unlike
// Report it may be called again and again.
func (t *Tracker) Look() map[Tier]Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[Tier]Summary{}
	for _, tier := range Tiers {
		s := t.hist[tier].summary()
		s.Unseen = t.unseen[tier]
		out[tier] = s
	}
	return out
}

// Report returns what was measured by now. Writes that are still waited for
// count for the tiers that have seen them.
func (t *Tracker) Report(now time.Time) map[Tier]Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	for _, list := range t.waiting {
		for _, p := range list {
			if !p.acked.IsZero() {
				t.record(p)
			}
		}
	}
	t.waiting, t.count = map[machineKey][]*pending{}, 0
	out := map[Tier]Summary{}
	for _, tier := range Tiers {
		s := t.hist[tier].summary()
		s.Unseen = t.unseen[tier]
		out[tier] = s
	}
	return out
}
