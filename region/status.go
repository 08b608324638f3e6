package region

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// Status describes the node.
func (n *Node) Status(ctx context.Context) (*regionv1.StatusResponse, error) {
	w, stats, root := n.db.Writer(), n.db.Stats(), n.runner.Root()
	if stats.Err != nil {
		return nil, fmt.Errorf("count rows: %w", stats.Err)
	}
	out := &regionv1.StatusResponse{
		Fleet: n.cfg.Fleet, Region: string(n.cfg.Region), Node: string(n.cfg.Node),
		Boot: w.Boot, Bits: w.Bits,
		Generation: &clusterv1.Generation{Number: n.cfg.Generation.Number, Bits: n.cfg.Generation.Bits},
		Version:    n.cfg.Version, Locality: n.cfg.Locality,
		Fit: n.fit.now(), UnfitBecause: n.fit.because(),
		Members:  n.memberList(),
		Machines: uint64(n.hub.Claims()), Withheld: uint64(stats.Withheld),
		Root: hex.EncodeToString(root[:]), Alarms: n.alarms(stats), Gateway: n.cfg.Gateway,
	}
	for _, rows := range stats.Rows {
		out.Rows += uint64(rows)
	}
	for _, set := range n.runner.Received() {
		for _, gap := range set.Gaps {
			out.Gaps += gap.Len()
		}
	}
	out.PropagationP50Ms, out.PropagationP99Ms = n.probes.percentiles()
	if n.reporter != nil {
		out.Reporter = n.reporter.Active()
	}
	return out, ctx.Err()
}

func (n *Node) memberList() []*regionv1.Member {
	behind := map[record.Node]uint64{}
	for _, p := range n.runner.Stats().Peers {
		behind[p.Node] = p.Behind
	}
	connected := n.members.connectedNow()
	var out []*regionv1.Member
	for _, p := range n.mesh.Peers() {
		out = append(out, &regionv1.Member{
			Node: string(p.Node), State: stateName(p.State), Connected: connected[p.Node],
			Address: p.Address, Boot: p.Boot, Bits: p.Bits, Behind: behind[p.Node], Gateway: p.Gateway,
		})
	}
	return out
}

func stateName(s mesh.State) string {
	switch s {
	case mesh.Alive:
		return "alive"
	case mesh.Suspected:
		return "suspected"
	case mesh.Dead:
		return "dead"
	case mesh.Restarting:
		return "restarting"
	case mesh.Draining:
		return "draining"
	}
	return "unknown"
}

// alarms are what a person should know, with the command or the act that ends
// each.
func (n *Node) alarms(stats sqlite.Stats) []string {
	var out []string
	if len(stats.Pinned) > 0 {
		out = append(out, fmt.Sprintf("the database's log of %d bytes cannot start over while it is read by %s", stats.WALBytes, strings.Join(stats.Pinned, "; ")))
	}
	out = append(out, n.clock.Alarms()...)
	if n.copies != nil && n.copies.Trouble() != "" {
		out = append(out, n.copies.Trouble())
	}
	if stats.Paused {
		out = append(out, "what peers send waits, because the database's log is too long")
	}
	if k := n.doubt.count(); k > 0 {
		out = append(out, fmt.Sprintf("%d machines are unconfirmed: this disk did not know what an earlier start had written; the worker's daemon must reconcile", k))
	}
	if k := len(n.ledger.Pending()); k > 0 {
		out = append(out, fmt.Sprintf("%d machines will end once this node is caught up", k))
	}
	if k := n.fit.withheld(); k > 0 {
		out = append(out, fmt.Sprintf("%d records are received and withheld: firebreak withheld list says why", k))
	}
	for _, node := range stats.OverHeld {
		out = append(out, fmt.Sprintf("so much of node %q is withheld that nothing more of it is taken: firebreak withheld release or discard makes room", node))
	}
	if c := n.control.State(); c.FreezeEgress || len(c.DenyNode) > 0 {
		out = append(out, fmt.Sprintf("switches of %s are on: freeze_egress %v, deny_node %q", c.Source, c.FreezeEgress, c.DenyNode))
	}
	if c := n.control.State(); c.Error != "" {
		out = append(out, "the control file was not taken: "+c.Error)
	}
	if a := closingAlarm(holdUpClosing(n.started, n.runner.Stats().Closing.Waiting, n.mesh.Peers())); a != "" {
		out = append(out, a)
	}
	if n.reporter != nil {
		out = append(out, n.reporter.Alarms()...)
	}
	return out
}

// closingPatience is how long a node may wait for others before it says so.
const closingPatience = 5 * time.Minute

// holdUpClosing lists the nodes that are down and that the closing of a node
// which runs since started waits for.
func holdUpClosing(started time.Time, waiting []record.Node, peers []mesh.Peer) []string {
	if time.Since(started) < closingPatience {
		return nil
	}
	alive := map[record.Node]bool{}
	for _, p := range peers {
		alive[p.Node] = p.State == mesh.Alive
	}
	var down []string
	for _, w := range waiting {
		if !alive[w] {
			down = append(down, string(w))
		}
	}
	return down
}

// closingAlarm says who holds a closing up, and what to do; empty for nobody.
func closingAlarm(down []string) string {
	if len(down) == 0 {
		return ""
	}
	return fmt.Sprintf("deletes are not collected everywhere: closing the earlier starts of this node waits for %s, which do not answer: start them, or evict those that will not come back (worker evict)", strings.Join(down, ", "))
}
