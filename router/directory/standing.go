package directory

import (
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// Standing is how a region stands to an app, from memory alone.
type Standing struct {
	Region   fleet.Region
	Class    presence.Class // 0: the copy knows of no machine there
	Held     bool           // its withdrawal is held by the brake
	Marked   bool           // a snapshot lacked it, nobody confirmed that yet
	Locality string
	Part     coverage.Part
}

// MayPrune reports whether the region is proven not to run the app: it is
// never asked then.
func (s Standing) MayPrune() bool { return s.Part.State == coverage.Pruned }

// Standing returns how the region stands to app, as of an answer given now:
// Live if the app is there by the region's own fresh word, else Stale; Pruned
// if it is proven absent, else PrunedStale; Fenced if the region speaks in
// another generation than the directory's. The empty app is in no region.
func (r *Region) Standing(app fleet.App, now Instant) Standing {
	w := r.rows[app]
	s := Standing{Region: r.name, Class: w.class, Held: w.held, Marked: len(w.lacking) > 0, Locality: r.record.Locality}
	s.Part = coverage.Part{Region: r.name, State: coverage.PrunedStale, Age: r.age(now)}
	if w.class > 0 {
		s.Part.State = coverage.Stale
	}
	best, fenced := r.proof(w, now)
	switch {
	case best != nil:
		s.Part.State = coverage.Pruned
		if w.class > 0 {
			s.Part.State = coverage.Live
		}
		s.Part.Age, s.Part.AsOf, s.Part.Withheld = 0, best.At.Time(), best.Withheld
	case fenced != nil:
		s.Part.State = coverage.Fenced
		s.Part.Detail = fmt.Sprintf("reports in generation %v, the directory has %v", fenced.Generation, r.generation)
	}
	return s
}

// proof returns the newest confirmation that proves the row w as it is now: it
// is fresh, and carries the digest of rows that this copy had at a moment of
// the last 15 s and at which w was absent if it is absent now. Without one it
// returns a fresh one of another generation, if any.
func (r *Region) proof(w row, now Instant) (best, fenced *Confirmation) {
	for i := range r.confirmations {
		c := &r.confirmations[i]
		switch {
		case now.Since(c.At) >= coverage.Fresh || c.Algorithm != presence.DigestAlgorithm:
		case r.fenced(*c):
			fenced = c
		case (best == nil || c.At.Since(best.At) > 0) && r.had(c.Digest, w, now):
			best = c
		}
	}
	return best, fenced
}

// had reports whether the copy had exactly the rows of a digest at a moment of
// the last 15 s, w absent then if it is absent now.
func (r *Region) had(d presence.Digest, w row, now Instant) bool {
	for i := len(r.moments) - 1; i >= 0; i-- {
		if i+1 < len(r.moments) && now.Since(r.moments[i+1].from) > coverage.Fresh {
			return false // it, and all before, ended too long ago
		}
		if w.class == 0 && r.first+uint64(i) < w.changed {
			return false // the app was there then
		}
		if r.moments[i].digest == d {
			return true
		}
	}
	return false
}

// fenced reports whether c speaks of another generation than the directory's.
func (r *Region) fenced(c Confirmation) bool {
	return r.generationRank != "" && c.Generation != r.generation
}

// Confirmed returns how long ago the newest word of the region was, negative
// if it never spoke, and whether any fresh one fits the rows.
func (r *Region) Confirmed(now Instant) (age time.Duration, proven bool) {
	best, _ := r.proof(row{}, now)
	return r.age(now), best != nil
}
