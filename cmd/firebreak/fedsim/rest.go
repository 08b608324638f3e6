package fedsim

import (
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// each calls fn for every replica of the federation.
func (f *federation) each(fn func(*replica) error) error {
	for _, p := range f.all {
		for _, r := range p.lanes {
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// of returns the replicas of a realm.
func (f *federation) of(m *realm) []*replica {
	var out []*replica
	for _, p := range f.all {
		for _, r := range p.lanes {
			if r.realm == m {
				out = append(out, r)
			}
		}
	}
	return out
}

// equal reports whether all run, and have received the same without a gap.
func (f *federation) equal() bool {
	for _, m := range f.order {
		rs := f.of(m)
		for _, r := range rs {
			if !r.proc.whole() || r.core.Root() != rs[0].core.Root() {
				return false
			}
		}
	}
	return true
}

// stateFollowsReceived holds, at rest, everything that is shown against a
// second implementation of the rule over what was received.
func stateFollowsReceived(f *federation) error {
	for _, m := range f.order {
		rs := f.of(m)
		for _, r := range rs {
			r.readAgain()
			for at, w := range r.seen.held {
				if w.Reason == store.ReasonClock && !m.ahead(at, w.Point, r.proc.wall()) {
					return fmt.Errorf("%s withholds %v as ahead, which it is no more", r.id(), w.Point)
				}
			}
			for at := range m.rows {
				if m.unsure(at) {
					continue
				}
				if v := r.judge(at); !v.right() && !r.mayLackOf(at) {
					return fmt.Errorf("%s shows %v of %q, want %v (deleted %v)", r.id(), v.at, at.key, v.top.at, v.top.rec.Deleted)
				}
			}
		}
	}
	return nil
}

// mayLack reports whether a record is one that a closing does not list, and that
// counts as received nevertheless: of a start whose boot was too low and that
// nobody had met as its node closed, or from an image that came back after it.
// Which way such a row goes is not promised, but that it goes one way everywhere.
func (r *replica) mayLack(p record.Point) bool {
	return r.realm.unmet(p) && p.Writer.Boot <= r.seen.nodes[p.Writer.Node].Complete
}

// mayLackOf reports whether some record of a row is such a one. It may have
// overtaken others, wherever it was.
func (r *replica) mayLackOf(at place) bool {
	return slices.ContainsFunc(r.realm.rows[at], func(w written) bool { return r.mayLack(w.at) })
}

// mayDiffer reports whether something was written that a closing, or a delete
// that is collected, could not know of. It looks like damage until, after a
// while, rows are exchanged.
func (m *realm) mayDiffer() bool {
	return m.adrift || len(m.stray)+len(m.late)+len(m.weak) > 0
}

// unmet reports whether the closing of a point's start could not know of it.
func (m *realm) unmet(p record.Point) bool { return m.weak[p.Writer] || m.late[p] }

// right reports whether exactly the highest received record is shown. What is
// under a withheld one may be shown or not.
func (v row) right() bool {
	if v.withers {
		return !v.shown || !record.Wins(v.rank, v.top.rank)
	}
	if v.top.rank == "" || v.top.rec.Deleted {
		return !v.shown
	}
	return v.shown && v.at == v.top.at
}

// acknowledgedWritesStand: each owned row shows its last write that some disk
// had when the faults ended, or a later one.
func acknowledgedWritesStand(f *federation) error {
	for _, m := range f.order {
		rs := f.of(m)
		last := map[place]int{}
		for i, a := range m.acks {
			for _, p := range a.points {
				if m.kept[p] && !m.unmet(p) {
					last[a.place] = i
				}
			}
		}
		for at, must := range last {
			r := rs[0] // all are equal
			v := r.judge(at)
			owner, _ := at.key.Owner()
			if r.seen.nodes[owner].Evicted > 0 || v.withers {
				continue
			}
			if !slices.ContainsFunc(m.acks[must:], func(a ack) bool {
				return a.place == at && (a.deleted && !v.shown || v.shown && slices.Contains(a.points, v.at))
			}) {
				return fmt.Errorf("%s shows %v of %q, yet %v was acknowledged and kept", r.id(), v.at, at.key, m.acks[must].points)
			}
		}
	}
	return nil
}

// withheldHoldsNothingUp: of a writer of whom something is withheld, all else
// that somebody had is received.
func withheldHoldsNothingUp(f *federation) error {
	return f.each(func(r *replica) error {
		for _, w := range r.seen.held {
			for _, p := range r.realm.order {
				if p.Writer == w.Point.Writer && r.realm.kept[p] && !r.has(p) {
					return fmt.Errorf("%s withholds %v and lacks %v", r.id(), w.Point, p)
				}
			}
		}
		return nil
	})
}

func linksAreCapped(f *federation) error {
	for class, most := range linkQueues {
		if n := f.net.Peak(class); n > most {
			return fmt.Errorf("%d bytes waited in a flow of class %s", n, class)
		}
	}
	return nil
}

// lossIsExplained: every frame came to one of the fates, and what some disk
// had when the faults ended is everywhere.
func lossIsExplained(f *federation) error {
	if n := f.net.Unexplained(f.sent); n != 0 {
		return fmt.Errorf("%d frames came to no fate", n)
	}
	for _, m := range f.order {
		for _, r := range f.of(m) {
			for _, p := range m.order {
				if m.kept[p] && !r.has(p) {
					return fmt.Errorf("%s lacks %v, which somebody had when the faults ended", r.id(), p)
				}
			}
		}
	}
	return nil
}

// keep notes what some disk has at the end of the faults.
func (f *federation) keep() {
	for _, m := range f.order {
		m.kept = map[record.Point]bool{}
		for _, r := range f.of(m) {
			for _, p := range m.order {
				if r.core.Received(p.Writer).Has(p.Version) { // not: counts as received, since its start is closed
					m.kept[p] = true
				}
			}
		}
	}
}
