package directory

import (
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

const (
	maxMoments   = 1024 // of a region's history; older ones prove nothing any more
	maxReporters = 8    // whose confirmations are kept
)

// Region is the copy of one region's rows. Not safe for concurrent use.
type Region struct {
	name   fleet.Region
	hasher *presence.Hasher

	rows    map[fleet.App]row
	present int // rows with a class
	marked  int // of them, absent in a snapshot

	record     presence.Region
	recordRank string
	recordTerm presence.Digest

	generation     presence.Generation
	generationRank string
	lacking        []string // global nodes whose snapshot lacks the whole region
	gone           bool     // a snapshot that replaces the copy lacks it

	// What the rows were: the digest from each moment to the next.
	digest  presence.Digest
	moments []moment
	first   uint64 // sequence of moments[0]

	confirmations []Confirmation // the newest of each reporter
	spoke         Instant        // newest moment that any word of the region speaks of
	everSpoke     bool

	snapshot *snapshot // under way, or nil
	behind   behind    // what the global node that is followed has lost, or not yet
}

// row is what the copy holds of one app. Class 0 is a withdrawal, kept so that
// nothing older brings the app back.
type row struct {
	class   presence.Class
	held    bool
	since   int64 // class 0: Unix milliseconds
	rank    string
	term    presence.Digest
	lacking []string // global nodes whose snapshot lacks it
	changed uint64   // sequence of the moment at which it came or went
}

type moment struct {
	digest presence.Digest
	from   Instant
}

// snapshot is what a snapshot under way has named so far.
type snapshot struct {
	source  string
	replace bool // nothing of before stays
	named   map[fleet.App]struct{}
	self    bool // the record or the generation was named
	record  bool
	gen     bool
}

// NewRegion returns the empty copy of a region, as of now.
func NewRegion(fleetName string, name fleet.Region, now Instant) *Region {
	return &Region{
		name: name, hasher: presence.NewHasher(fleetName, name),
		rows: map[fleet.App]row{}, moments: []moment{{from: now}},
	}
}

// Name returns the region's name.
func (r *Region) Name() fleet.Region { return r.name }

// Begin says that a snapshot of source begins. If replace is set it takes the
// place of everything held before, whatever the ranks.
func (r *Region) Begin(source string, replace bool) {
	r.gone, r.behind = false, behind{}
	r.snapshot = &snapshot{source: source, replace: replace, named: map[fleet.App]struct{}{}}
}

// Merge takes an entry of this region, from a snapshot or as a change, and
// reports whether it changed anything.
func (r *Region) Merge(e Entry, now Instant) bool {
	switch {
	case e.Presence != nil:
		return r.mergePresence(e, now)
	case e.Record != nil:
		fresh := r.snapshot != nil && r.snapshot.replace && !r.snapshot.record
		if r.snapshot != nil {
			r.snapshot.record, r.snapshot.self = true, true
		}
		r.behind.record = nil
		if e.Rank <= r.recordRank && !fresh {
			if e.Rank < r.recordRank {
				r.behind.record = &e
			}
			return false
		}
		r.putRecord(e, now)
		return true
	case e.Generation != nil:
		fresh := r.snapshot != nil && r.snapshot.replace && !r.snapshot.gen
		if r.snapshot != nil {
			r.snapshot.gen, r.snapshot.self = true, true
		}
		r.lacking = nil
		if e.Rank <= r.generationRank && !fresh {
			return false
		}
		r.generation, r.generationRank = *e.Generation, e.Rank
		return true
	}
	return false
}

func (r *Region) mergePresence(e Entry, now Instant) bool {
	app := e.Presence.App
	old := r.rows[app]
	fresh := false
	if r.snapshot != nil {
		_, named := r.snapshot.named[app]
		fresh = r.snapshot.replace && !named
		r.snapshot.named[app] = struct{}{}
	}
	changed := r.unmark(app)
	delete(r.behind.rows, app)
	switch {
	case e.Rank < old.rank && !fresh:
		r.behind.note(e)
		return changed
	case e.Rank == old.rank && e.Held == old.held:
		return changed
	}
	r.put(app, rowOf(e, old), now)
	return true
}

// rowOf returns the row that an entry says, in place of old.
func rowOf(e Entry, old row) row {
	return row{class: e.Presence.Class, held: e.Held, since: e.Presence.Since, rank: e.Rank, term: old.term}
}

func (r *Region) putRecord(e Entry, now Instant) {
	r.record, r.recordRank = *e.Record, e.Rank
	term := r.hasher.Region(r.record)
	r.setDigest(r.digest.Sub(r.recordTerm).Add(term), now)
	r.recordTerm = term
}

// put replaces the row of an app.
func (r *Region) put(app fleet.App, next row, now Instant) {
	old := r.rows[app]
	next.changed = old.changed
	was, is := old.class > 0, next.class > 0
	switch {
	case is && !was:
		next.term = r.hasher.App(app)
		r.present++
		r.setDigest(r.digest.Add(next.term), now)
		next.changed = r.sequence()
	case was && !is:
		r.present--
		r.setDigest(r.digest.Sub(old.term), now)
		next.changed = r.sequence()
	}
	r.rows[app] = next
}

// unmark says that a snapshot or change names app after all.
func (r *Region) unmark(app fleet.App) bool {
	old, ok := r.rows[app]
	if !ok || len(old.lacking) == 0 {
		return false
	}
	old.lacking = nil
	r.rows[app] = old
	r.marked--
	return true
}

// Synced says that the snapshot is complete. Of what it lacks a key goes if
// enough different global nodes lack it: enough is two, or all if there are
// fewer. It reports whether anything changed.
func (r *Region) Synced(globals int, now Instant) bool {
	s := r.snapshot
	if s == nil {
		return false
	}
	r.snapshot = nil
	enough := min(2, max(globals, 1))
	changed := false
	for _, app := range slices.Sorted(maps.Keys(r.rows)) {
		_, named := s.named[app]
		old := r.rows[app]
		if named || old.class == 0 && !s.replace {
			continue
		}
		if s.replace {
			r.drop(app, now)
			changed = true
			continue
		}
		if slices.Contains(old.lacking, s.source) {
			continue
		}
		if len(old.lacking) == 0 {
			r.marked++
		}
		old.lacking = append(slices.Clone(old.lacking), s.source)
		r.rows[app] = old
		changed = true
		if len(old.lacking) >= enough {
			r.drop(app, now)
		}
	}
	switch {
	case s.self || len(s.named) > 0:
		r.lacking = nil
	case s.replace:
		r.gone = true
	case !slices.Contains(r.lacking, s.source):
		r.lacking = append(r.lacking, s.source)
	}
	return changed
}

// Gone reports whether enough global nodes say that there is no such region:
// its copy may be forgotten once nothing is present in it.
func (r *Region) Gone(globals int) bool {
	return r.present == 0 && (r.gone || len(r.lacking) >= min(2, max(globals, 1)))
}

// Confirm takes a confirmation and reports whether it changed the rows: it
// gives up what the global node that is followed has lost, if the region itself
// says that exactly what is left there holds.
func (r *Region) Confirm(c Confirmation, now Instant) bool {
	i := slices.IndexFunc(r.confirmations, func(o Confirmation) bool { return o.Reporter == c.Reporter })
	switch {
	case i >= 0 && r.confirmations[i].At.Since(c.At) > 0 && c.At.Since(r.confirmations[i].At) == 0:
		return false // older than what is held
	case i >= 0:
		r.confirmations[i] = c
	case len(r.confirmations) < maxReporters:
		r.confirmations = append(r.confirmations, c)
	default:
		oldest := 0
		for j := range r.confirmations {
			if r.confirmations[j].At.Mono < r.confirmations[oldest].At.Mono {
				oldest = j
			}
		}
		r.confirmations[oldest] = c
	}
	if !r.everSpoke || c.At.Since(r.spoke) > 0 {
		r.spoke, r.everSpoke = c.At, true
	}
	return r.settle(c, now)
}

// Trim forgets what is too old to matter. Call it now and then.
func (r *Region) Trim(now Instant) {
	limit := now.Time().Add(-MaxAge).UnixMilli()
	recent := now.Time().Add(-2 * coverage.Fresh).UnixMilli()
	r.trimMoments(now)
	for _, app := range slices.Sorted(maps.Keys(r.rows)) {
		w := r.rows[app]
		if w.class > 0 || w.changed > r.first {
			continue // present, or still needed to judge the history
		}
		if dropped := w.rank == ""; w.since < limit || dropped && w.since < recent {
			delete(r.rows, app)
			delete(r.behind.rows, app)
		}
	}
}

func (r *Region) setDigest(d presence.Digest, now Instant) {
	r.digest = d
	if last := &r.moments[len(r.moments)-1]; last.from == now {
		last.digest = d
		return
	}
	r.moments = append(r.moments, moment{d, now})
	r.trimMoments(now)
}

// trimMoments drops the moments that ended more than Fresh ago.
func (r *Region) trimMoments(now Instant) {
	n := max(0, len(r.moments)-maxMoments)
	for n+1 < len(r.moments) && now.Since(r.moments[n+1].from) > coverage.Fresh {
		n++
	}
	if n > 0 {
		r.moments = slices.Delete(r.moments, 0, n)
		r.first += uint64(n)
	}
}

// sequence is that of the latest moment.
func (r *Region) sequence() uint64 { return r.first + uint64(len(r.moments)) - 1 }

// Records returns how to reach the region and its locality.
func (r *Region) Record() presence.Region { return r.record }

// Generation returns the region's generation; zero if unknown.
func (r *Region) Generation() presence.Generation { return r.generation }

// Present returns the number of apps with machines in the region.
func (r *Region) Present() int { return r.present }

// Apps lists them, in order.
func (r *Region) Apps() []fleet.App {
	out := make([]fleet.App, 0, r.present)
	for _, app := range slices.Sorted(maps.Keys(r.rows)) {
		if r.rows[app].class > 0 {
			out = append(out, app)
		}
	}
	return out
}

// age returns how old the newest word of the region is, negative for never.
func (r *Region) age(now Instant) time.Duration {
	if !r.everSpoke {
		return -1
	}
	return now.Since(r.spoke)
}
