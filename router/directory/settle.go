package directory

import (
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// behind is what the global node that is followed says and this copy outranks.
// That node lags, and will say more; or global has lost rows with its disks, and
// nobody will ever say again what this copy holds. Which of both, the region's
// own word decides.
type behind struct {
	rows   map[fleet.App]Entry // of apps that the copy has a higher row of
	record *Entry
}

func (b *behind) note(e Entry) {
	if b.rows == nil {
		b.rows = map[fleet.App]Entry{}
	}
	b.rows[e.Presence.App] = e
}

func (b *behind) empty() bool { return len(b.rows) == 0 && b.record == nil }

// settle gives up what the global node that is followed lacks or says with a
// lower rank, if the region confirms exactly the rows that are left then. What
// is only late there fits no confirmation until it has come.
func (r *Region) settle(c Confirmation, now Instant) bool {
	if r.marked == 0 && r.behind.empty() || r.fenced(c) || c.Algorithm != presence.DigestAlgorithm || now.Since(c.At) >= coverage.Fresh {
		return false
	}
	without, instead := r.withoutMarked(), r.insteadBehind()
	marked := without == c.Digest
	lower := instead == c.Digest
	if both := without.Add(instead).Sub(r.digest); both == c.Digest {
		marked, lower = true, true
	}
	changed := false
	if marked {
		for _, app := range r.Marked() {
			r.drop(app, now)
			changed = true
		}
	}
	if lower && !r.behind.empty() {
		r.stepBack(now)
		changed = true
	}
	return changed
}

// withoutMarked is the digest of the rows without the marked ones.
func (r *Region) withoutMarked() presence.Digest {
	d := r.digest
	for _, app := range r.Marked() {
		d = d.Sub(r.rows[app].term)
	}
	return d
}

// insteadBehind is the digest of the rows with what the global node that is
// followed says of them, though of a lower rank.
func (r *Region) insteadBehind() presence.Digest {
	d := r.digest
	for _, app := range slices.Sorted(maps.Keys(r.behind.rows)) {
		e, old := r.behind.rows[app], r.rows[app]
		switch was, is := old.class > 0, e.Presence.Class > 0; {
		case is && !was:
			d = d.Add(r.hasher.App(app))
		case was && !is:
			d = d.Sub(old.term)
		}
	}
	if e := r.behind.record; e != nil {
		d = d.Sub(r.recordTerm).Add(r.hasher.Region(*e.Record))
	}
	return d
}

// stepBack takes the rows of lower rank.
func (r *Region) stepBack(now Instant) {
	for _, app := range slices.Sorted(maps.Keys(r.behind.rows)) {
		r.put(app, rowOf(r.behind.rows[app], r.rows[app]), now)
	}
	if e := r.behind.record; e != nil {
		r.putRecord(*e, now)
	}
	r.behind = behind{}
}

// Marked lists the apps that a snapshot lacked and nobody confirmed absent.
func (r *Region) Marked() []fleet.App {
	if r.marked == 0 {
		return nil
	}
	var out []fleet.App
	for _, app := range slices.Sorted(maps.Keys(r.rows)) {
		if len(r.rows[app].lacking) > 0 {
			out = append(out, app)
		}
	}
	return out
}

// drop forgets an app without a withdrawal: any entry brings it back.
func (r *Region) drop(app fleet.App, now Instant) {
	r.unmark(app)
	r.put(app, row{since: now.Time().UnixMilli()}, now)
}
