package fedsim

import (
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const saysFloor = "a tombstone goes once its writer's closing is in effect and no gap counts, and a writer is forgotten once its node is complete"

// collectsAsRuled holds what a collection raised and forgot against the rule.
func collectsAsRuled(_ *federation, h happened) error {
	r := h.replica
	if h.entry == nil || !r.collecting {
		return nil
	}
	for _, w := range h.entry.Forgotten {
		if w.Boot > r.seen.nodes[w.Node].Complete {
			return fmt.Errorf("%s forgets %v, complete up to %d", r.id(), w, r.seen.nodes[w.Node].Complete)
		}
	}
	for _, s := range h.entry.States {
		for i, kind := range record.Kinds {
			if s.Floors[i] <= r.seen.floors[s.Writer][i] {
				continue
			}
			if err := r.mayCollect(s.Writer, kind); err != nil {
				return fmt.Errorf("%s collects %v tombstones up to %d of %v: %w", r.id(), kind, s.Floors[i], s.Writer, err)
			}
		}
	}
	return nil
}

func (r *replica) mayCollect(w record.Writer, kind record.Kind) error {
	if kind == record.Owned {
		at, ok := r.realm.closed[closedBoot{w.Node, w.Boot - 1}]
		if !ok || at.Writer != w || r.seen.nodes[w.Node].Closed < w.Boot-1 {
			return fmt.Errorf("its closing is not in effect")
		}
	}
	for o, set := range r.core.Sets() {
		counts := o.Boot > r.seen.nodes[o.Node].Over() && (kind != record.Owned || o.Node == w.Node)
		if counts && len(set.Gaps) > 0 {
			return fmt.Errorf("versions %v of %v are missing", set.Gaps, o)
		}
	}
	return nil
}

// raise notes the floors of writers.
func (s seen) raise(states []store.WriterState) {
	for _, w := range states {
		s.floors[w.Writer] = w.Floors
	}
}
