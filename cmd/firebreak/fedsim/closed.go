package fedsim

import (
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/record"
)

const saysClose = "no start closes before its daemon vouches for its rows, and a closing is in effect up to the boot below its own, over no gap"

// closesAsSaid holds closings as they are written, and as they come into effect
// at a receiver.
func closesAsSaid(_ *federation, h happened) error {
	if h.entry == nil {
		return nil
	}
	if err := closesConfirmed(h); err != nil {
		return err
	}
	r := h.replica
	for _, n := range h.entry.Nodes {
		if n.Closed <= r.seen.nodes[n.Node].Closed {
			continue
		}
		at, ok := r.realm.closed[closedBoot{n.Node, n.Closed}]
		if !ok {
			return fmt.Errorf("%s has %s closed up to boot %d, which no closing says", r.id(), n.Node, n.Closed)
		}
		// What a listing brings is in effect where it came from.
		if h.entry.Point.Writer == (record.Writer{}) || at.Writer.Boot <= n.Complete {
			continue
		}
		if lacks := r.core.Received(at.Writer).Missing(record.Range{From: 1, To: at.Version}); len(lacks) > 0 {
			return fmt.Errorf("%s has the closing %v in effect and lacks %v of its writer", r.id(), at, lacks)
		}
	}
	return nil
}

// closedBoot is a boot up to which a node has closed its starts.
type closedBoot struct {
	node record.Node
	boot uint64
}

func closesConfirmed(h happened) error {
	if h.entry.Local == nil || h.replica.doubts == 0 {
		return nil
	}
	for _, rec := range h.entry.Local.Records {
		if rec.Table == closings {
			return fmt.Errorf("%s closes its earlier starts while its daemon looks at its rows", h.replica.id())
		}
	}
	return nil
}
