// Package wire turns reports into the messages that carry them, and back. What
// comes back is as it was sent: the receiver checks it.
package wire

import (
	"math"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// Generation returns the message of g.
func Generation(g presence.Generation) *clusterv1.Generation {
	return &clusterv1.Generation{Number: g.Number, Bits: g.Bits}
}

// ToGeneration reads a generation; a missing one is the zero Generation.
func ToGeneration(m *clusterv1.Generation) presence.Generation {
	return presence.Generation{Number: m.GetNumber(), Bits: m.GetBits()}
}

// Presence returns the message of r. Its region stands beside it.
func Presence(r presence.Record) *globalv1.Presence {
	return &globalv1.Presence{
		App: string(r.App), Class: uint32(r.Class), Stamp: r.Rank.Stamp, SinceUnixMs: r.Since,
		Reporter: string(r.Rank.Reporter), Generation: Generation(r.Rank.Generation),
	}
}

// ToPresence reads a record of a region. A class that no record can have stays
// one.
func ToPresence(region fleet.Region, m *globalv1.Presence) presence.Record {
	return presence.Record{
		Region: region, App: fleet.App(m.GetApp()), Class: presence.Class(min(m.GetClass(), math.MaxUint8)), Since: m.GetSinceUnixMs(),
		Rank: presence.Rank{Generation: ToGeneration(m.GetGeneration()), Stamp: m.GetStamp(), Reporter: fleet.Worker(m.GetReporter())},
	}
}

// Region returns the message of r.
func Region(r presence.Region) *globalv1.RegionRecord {
	m := &globalv1.RegionRecord{
		Region: string(r.Name), Generation: Generation(r.Rank.Generation), Stamp: r.Rank.Stamp, Reporter: string(r.Rank.Reporter),
		Locality: r.Locality, SchemaHash: r.SchemaHash,
	}
	for _, g := range r.Gateways {
		m.Gateways = append(m.Gateways, &globalv1.Gateway{Node: string(g.Node), Address: g.Address})
	}
	return m
}

// ToRegion reads what a region says of itself.
func ToRegion(m *globalv1.RegionRecord) presence.Region {
	r := presence.Region{
		Name: fleet.Region(m.GetRegion()), Locality: m.GetLocality(), SchemaHash: m.GetSchemaHash(),
		Rank: presence.Rank{Generation: ToGeneration(m.GetGeneration()), Stamp: m.GetStamp(), Reporter: fleet.Worker(m.GetReporter())},
	}
	for _, g := range m.GetGateways() {
		r.Gateways = append(r.Gateways, presence.Gateway{Node: fleet.Worker(g.GetNode()), Address: g.GetAddress()})
	}
	return r
}
