package coverage

import (
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
)

// Proto returns p as it travels.
func (p Part) Proto() *clusterv1.Coverage {
	out := &clusterv1.Coverage{
		Region:   string(p.Region),
		State:    clusterv1.CoverageState(p.State),
		Withheld: p.Withheld,
		Detail:   p.Detail,
	}
	if p.State == Stale || p.State == PrunedStale {
		out.AgeMs = ageMS(p.Age)
	}
	if !p.AsOf.IsZero() {
		out.AsOfUnixMs = p.AsOf.UnixMilli()
	}
	return out
}

// FromProto reads what came from outside. A state that this version does not
// know covers nothing: it becomes Refused and says so.
func FromProto(c *clusterv1.Coverage) Part {
	p := Part{
		Region:   fleet.Region(c.GetRegion()),
		State:    State(min(max(c.GetState(), 0), 255)),
		Withheld: c.GetWithheld(),
		Detail:   c.GetDetail(),
	}
	if p.State < Live || p.State > Fenced {
		p.State, p.Detail = Refused, "unknown coverage state "+c.GetState().String()
	}
	if p.State == Stale || p.State == PrunedStale {
		p.Age = Age(c.GetAgeMs())
	}
	if ms := c.GetAsOfUnixMs(); ms != 0 {
		p.AsOf = time.UnixMilli(ms).UTC()
	}
	return p
}

// Protos returns parts as they travel, by region.
func Protos(parts []Part) []*clusterv1.Coverage {
	parts = slices.Clone(parts)
	Sort(parts)
	out := make([]*clusterv1.Coverage, len(parts))
	for i, p := range parts {
		out[i] = p.Proto()
	}
	return out
}

// FromProtos reads a list.
func FromProtos(list []*clusterv1.Coverage) []Part {
	out := make([]Part, len(list))
	for i, c := range list {
		out[i] = FromProto(c)
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
