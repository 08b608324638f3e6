package fedsim

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	core "github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/sim"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Properties lists what must hold of replication, by the ids of the catalogue.
func Properties() []sim.Property[*federation, happened] {
	type property = sim.Property[*federation, happened]
	return []property{
		{ID: "S3", Says: "versions are dense, unique and rising per writer, and never have two contents", Event: versionsAreDense},
		{ID: "S9", Says: "no start takes a writer that was taken, or one below what its disk knows", Event: writersAreNew},
		{ID: "S16", Says: "one live process per name", Event: oneProcessPerName},
		{ID: "S7", Says: "two records of one row never tie", Event: ranksNeverTie},
		{ID: "S0", Says: "records arrive and show as they were written", Event: recordsAreIntact},
		{ID: "S1", Says: "no acknowledged write is lost", Event: disksKeepAcknowledged, Quiet: acknowledgedWritesStand},
		{ID: "S2", Says: "an owned row changes by its owner's word alone, or by an eviction", Event: ownersWriteAlone},
		{ID: "S4", Says: "applying twice changes nothing", Event: twiceIsOnce},
		{ID: "S5", Says: "nothing comes back", Event: nothingComesBack},
		{ID: "S6", Says: "what was received of a changeset shows whole", Event: changesetsShowWhole},
		{ID: "S8", Says: "equal received sets give equal state, and visible is received less withheld", Event: noDamage, Quiet: stateFollowsReceived},
		{ID: "S14", Says: "a withheld record is received, not pushed on, and holds nothing up", Event: withheldIsReceived, Quiet: withheldHoldsNothingUp},
		{ID: "S15", Says: "a change of schema makes no record", Event: schemaMakesNoRecord},
		{ID: "Q1", Says: "no queue grows beyond its cap", Event: queuesAreCapped, Quiet: linksAreCapped},
		{ID: "CLOSE", Says: saysClose, Event: closesAsSaid},
		{ID: "FLOOR", Says: saysFloor, Event: collectsAsRuled},
		{ID: "Q6", Says: saysQ6, Quiet: tombstonesGo},
		{ID: "LOST", Says: "every frame came to a fate that is named, and every write is everywhere or its loss is explained", Quiet: lossIsExplained},
	}
}

func versionsAreDense(_ *federation, h happened) error {
	if h.entry == nil || h.entry.Local == nil {
		return nil
	}
	return h.replica.realm.wrote(*h.entry.Local, len(h.entry.Changes) == 0, h.replica.began)
}

func writersAreNew(_ *federation, h happened) error {
	if h.start.IsZero() {
		return nil
	}
	m := h.replica.realm
	if m.starts[h.start] {
		return fmt.Errorf("%s takes writer %v, which was taken before", h.replica.id(), h.start)
	}
	m.starts[h.start] = true
	for _, s := range h.states {
		if k := s.Writer; k.Node == h.start.Node && k != h.start && k.Boot >= h.start.Boot {
			return fmt.Errorf("%s takes writer %v though its disk knows %v", h.replica.id(), h.start, k)
		}
	}
	return nil
}

func oneProcessPerName(f *federation, h happened) error {
	n := 0
	for _, p := range f.all {
		if p.up() && p.name == h.replica.proc.name {
			n++
		}
	}
	if n > 1 {
		return fmt.Errorf("%d processes are %s", n, h.replica.proc.name)
	}
	return nil
}

func ranksNeverTie(_ *federation, h happened) error {
	if h.entry == nil || h.entry.Local == nil {
		return nil
	}
	for _, at := range h.touched {
		rows := h.replica.realm.rows[at]
		for i, a := range rows {
			for _, b := range rows[i+1:] {
				if a.rank == b.rank {
					return fmt.Errorf("%v and %v tie for %q", a.at, b.at, at.key)
				}
			}
		}
	}
	return nil
}

// recordsAreIntact holds what arrives against what was written, and what is
// shown against the record that it is said to come from.
func recordsAreIntact(_ *federation, h happened) error {
	m := h.replica.realm
	for _, d := range h.batch {
		for _, c := range d.Changesets {
			was := m.commits[c.Point()]
			for _, r := range c.Records {
				if !slices.ContainsFunc(was.Records, func(w record.Record) bool {
					return w.Table == r.Table && w.Kind == r.Kind && w.Key == r.Key && w.Order == r.Order && w.Deleted == r.Deleted &&
						(r.Stub != nil || bytes.Equal(w.Cells, r.Cells)) && c.Wall == was.Wall
				}) {
					return fmt.Errorf("%s got a record of %v that nobody wrote: %+v", h.replica.id(), c.Point(), r)
				}
			}
		}
	}
	if h.report != nil && h.report.Kind == core.ReportMalformed {
		return fmt.Errorf("%s calls malformed what %s sent: %w", h.replica.id(), h.report.Peer, h.report.Err)
	}
	if h.entry == nil {
		return nil
	}
	for _, c := range h.entry.Changes {
		if c.New == nil {
			continue
		}
		if err := showsAs(m, c); err != nil {
			return fmt.Errorf("%s: %w", h.replica.id(), err)
		}
	}
	return nil
}

func showsAs(m *realm, c store.Change) error {
	at := place{m.named(c.Table), c.Key}
	for _, w := range m.rows[at] {
		if w.at != c.Point {
			continue
		}
		row, _, err := m.byID[at.table].Row(w.rec)
		if err != nil || fmt.Sprint(row) != fmt.Sprint([]record.Value(c.New)) {
			return fmt.Errorf("%s %q shows as %v, was written as %v (%w)", c.Table, c.Key, c.New, row, err)
		}
		return nil
	}
	return fmt.Errorf("%s %q shows %v, which nobody wrote", c.Table, c.Key, c.Point)
}

func disksKeepAcknowledged(_ *federation, h happened) error {
	if h.states == nil {
		return nil
	}
	sets := map[record.Writer]record.Received{}
	for _, s := range h.states {
		sets[s.Writer] = s.Received
	}
	for _, p := range h.replica.mine {
		if !sets[p.Writer].Has(p.Version) && p.Writer.Boot > completeOf(h.boots, p.Writer.Node) {
			return fmt.Errorf("%s starts without %v, which it had acknowledged on this disk", h.replica.id(), p)
		}
	}
	return nil
}

func ownersWriteAlone(_ *federation, h happened) error {
	if h.entry == nil {
		return nil
	}
	for _, c := range h.entry.Changes {
		if c.Table != owned {
			continue
		}
		owner, err := c.Key.Owner()
		if evicts := c.New == nil && c.Point.Writer.Node != owner; err != nil || owner != c.Point.Writer.Node && !evicts {
			return fmt.Errorf("%s lets %v change a row of %s (%w)", h.replica.id(), c.Point, owner, err)
		}
	}
	return nil
}

// nothingComesBack: within a start what is shown of a row only rises, and what
// was received as deleted is not shown. (A tombstone that had been overtaken at
// the node that served its version did not come, and what overtook it has yet
// to. What a closing counts as received and nobody has goes back to what stands
// elsewhere: a known limit.)
func nothingComesBack(_ *federation, h happened) error {
	r := h.replica
	if h.entry != nil {
		for _, c := range h.entry.Changes {
			at := place{r.realm.named(c.Table), c.Key}
			before, ok := r.seen.shown[at]
			if c.New == nil || r.realm.unsure(at) {
				continue
			}
			if !ok && h.entry.Point.Writer.IsZero() { // by a listing
				if v := r.judge(at); v.top.rec.Deleted && !v.higher && record.Wins(v.top.rank, r.realm.rankOf(at, c.Point)) {
					return fmt.Errorf("%s shows %v of %q again, deleted by %v", r.id(), c.Point, at.key, v.top.at)
				}
			}
			if old, now := r.realm.rankOf(at, before), r.realm.rankOf(at, c.Point); ok && record.Wins(old, now) && !r.closesUnmet(before, h.entry.Nodes) {
				return fmt.Errorf("%s goes back from %v to %v in %s %q", r.id(), before, c.Point, c.Table, c.Key)
			}
		}
		return nil
	}
	for _, at := range h.touched {
		if r.realm.unsure(at) {
			continue
		}
		v := r.judge(at)
		if v.at != v.top.at {
			r.readAgain() // what changes nothing that shows is not in the feed
			v = r.judge(at)
		}
		if v.shown && v.top.rec.Deleted && record.Wins(v.top.rank, v.rank) && !v.withers && !v.higher {
			return fmt.Errorf("%s shows %v of %q, deleted by %v", r.id(), v.at, at.key, v.top.at)
		}
	}
	return nil
}

// closesUnmet reports whether what is shown, and is unmet, counts as received by
// a closing, which nodes may have brought into effect just now.
func (r *replica) closesUnmet(shown record.Point, nodes []store.NodeState) bool {
	complete := r.seen.nodes[shown.Writer.Node].Complete
	for _, n := range nodes {
		if n.Node == shown.Writer.Node {
			complete = max(complete, n.Complete)
		}
	}
	return r.realm.unmet(shown) && shown.Writer.Boot <= complete
}

// changesetsShowWhole: all that was received of a changeset is shown, but for
// what is outranked or withheld. A record that is missing because it had been
// overtaken at the node that served it is one of those too, and so is one whose
// start is over there.
func changesetsShowWhole(_ *federation, h happened) error {
	if h.batch == nil {
		return nil
	}
	r := h.replica
	for _, at := range h.touched {
		if r.realm.unsure(at) {
			continue
		}
		v := r.judge(at)
		if v.at != v.top.at {
			r.readAgain()
			v = r.judge(at)
		}
		switch {
		case v.shown && v.rank == "":
			return fmt.Errorf("%s shows %v of %q, which nobody wrote", r.id(), v.at, at.key)
		case v.shown && !r.has(v.at):
			return fmt.Errorf("%s shows %v of %q, which it has not received", r.id(), v.at, at.key)
		case v.withers || v.higher || v.over || r.mayLack(v.top.at) || v.top.rec.Deleted || v.top.rank == "":
		case v.at != v.top.at && !r.realm.alike(at, v.at, v.top.at):
			return fmt.Errorf("%s has received %v of %q and shows %v", r.id(), v.top.at, at.key, v.at)
		}
	}
	return nil
}

func noDamage(_ *federation, h happened) error {
	if h.report != nil && h.report.Kind == core.ReportDamage && !h.replica.realm.mayDiffer() {
		return fmt.Errorf("%s and %s see damage of %v where there is none", h.replica.id(), h.report.Peer, h.report.Writer)
	}
	return nil
}

func withheldIsReceived(_ *federation, h happened) error {
	for i, o := range h.outcomes {
		if o.Withheld > 0 && o.Status != store.Applied {
			return fmt.Errorf("%s withholds of %v what it does not receive", h.replica.id(), h.batch[i].Writer)
		}
	}
	if h.report != nil && h.report.Kind == core.ReportForeign {
		return fmt.Errorf("%s pushed what is of %v to %s", h.report.Peer, h.report.Writer, h.replica.id())
	}
	return nil
}

func schemaMakesNoRecord(_ *federation, h happened) error {
	for _, s := range h.states {
		if s.Writer == h.start && s.Received.Head > 0 {
			return fmt.Errorf("%s starts with %d versions of its own", h.replica.id(), s.Received.Head)
		}
	}
	return nil
}

func queuesAreCapped(_ *federation, h happened) error {
	if h.batch == nil {
		return nil
	}
	// An answer may go over what was asked for by one frame.
	if n := h.replica.core.Stats().QueueBytes; n > queueCap+core.MaxFrame {
		return fmt.Errorf("%d bytes wait for the store of %s", n, h.replica.id())
	}
	return nil
}
