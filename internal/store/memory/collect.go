package memory

import (
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// collected drops what may be dropped.
func (st *state) collected(c collection, now time.Time) applied {
	step := newStep(st)
	var out store.Collected
	for _, p := range st.due(c, now) {
		h := st.slots[p].top
		ws := st.of(h.at.Writer)
		i := h.rec.Kind - record.Owned
		ws.Floors[i] = max(ws.Floors[i], h.at.Version)
		step.touched(h.at.Writer)
		delete(st.slots, p)
		out.Tombstones++
	}
	for _, w := range st.forgettable() {
		delete(st.writers, w)
		step.gone = append(step.gone, w)
		delete(step.writers, w)
		out.Writers++
	}
	step.publish(record.Point{}, nil)
	return applied{collected: out}
}

// due lists the tombstones that may be collected.
func (st *state) due(c collection, now time.Time) []place {
	gaps := map[record.Node]bool{}
	for w, ws := range st.writers {
		over := st.nodes[w.Node].Over()
		if st.cfg.Mutant.is(CountClosedGaps) {
			over = 0
		}
		if len(ws.Received.Gaps) > 0 && w.Boot > over && !st.cfg.Mutant.is(CollectAboveGap) {
			gaps[w.Node] = true
		}
	}
	var out []place
	for _, p := range slices.SortedFunc(maps.Keys(st.slots), place.compare) {
		h := st.slots[p].top
		if !h.rec.Deleted || h.reason != "" || len(out) >= c.limit {
			continue
		}
		age := now.Sub(time.UnixMilli(h.wall))
		switch h.rec.Kind {
		case record.Owned:
			_, closed := st.closing(h.at.Writer)
			if age >= c.ages.Owned && !gaps[h.at.Writer.Node] && (closed || st.cfg.Mutant.is(CollectEarly)) {
				out = append(out, p)
			}
		case record.Shared:
			if age >= c.ages.Shared && len(gaps) == 0 {
				out = append(out, p)
			}
		}
	}
	return out
}

// forgettable lists the writers that nothing is left of but their names.
func (st *state) forgettable() []record.Writer {
	left := map[record.Writer]bool{}
	for _, sl := range st.slots {
		left[sl.top.at.Writer] = true
		if sl.shown != nil {
			left[sl.shown.at.Writer] = true
		}
	}
	for _, f := range st.foreign {
		left[f.at.Writer] = true
	}
	var out []record.Writer
	for w := range st.writers {
		n := st.nodes[w.Node]
		upTo := n.Complete
		if st.cfg.Mutant.is(ForgetEarly) {
			upTo = n.Closed
		}
		if w.Boot <= upTo && !left[w] {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, record.Writer.Compare)
	return out
}
