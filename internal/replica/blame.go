package replica

import (
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// What a peer does wrong is held against it. It is forgiven with time, so what
// a healthy peer of another version does now and then adds up to nothing; one
// that goes on is disconnected, and its frames are not looked at any more until
// it connects again.
const (
	blameMost    = 100.0           // beyond it a peer is disconnected
	forgiveAfter = 2 * time.Minute // all of it
)

// blames is what each kind of report costs a peer; others cost nothing: a boot
// that is far ahead may be this node's own clock, and a dictionary that is not
// known here a rolling upgrade.
func blames(k Kind) float64 {
	switch k {
	case ReportMalformed, ReportForeign:
		return 10
	case ReportCap, ReportUnasked:
		return 1 // answers that come late are unasked too
	case ReportUnknown:
		return 0.01 // a newer version sends some; 10,000 in a moment are an attack
	}
	return 0
}

// Drop asks that the connection with a peer be closed.
type Drop struct {
	Peer record.Node
	Err  error // why
}

// blame holds a report against the peer it is about.
func (c *Core) blame(r Report) {
	p := c.peer(r.Peer)
	if p == nil || p.dropped {
		return
	}
	p.blame = max(0, p.blame-blameMost*float64(c.now-p.blamedAt)/float64(forgiveAfter)) + blames(r.Kind)
	p.blamedAt = c.now
	if p.blame <= blameMost {
		return
	}
	p.dropped = true
	c.stats.Dropped++
	err := fmt.Errorf("it broke the protocol again and again, the last time by what is %s", r.Kind)
	if r.Err != nil {
		err = fmt.Errorf("%w: %w", err, r.Err)
	}
	c.out.Drops = append(c.out.Drops, Drop{p.node, err})
	c.out.Reports = append(c.out.Reports, Report{Kind: ReportDropped, Peer: p.node, Err: err})
}
