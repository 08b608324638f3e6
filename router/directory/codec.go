package directory

import (
	"encoding/binary"
	"errors"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/varint"
)

func appendGeneration(b []byte, g presence.Generation) []byte {
	return binary.BigEndian.AppendUint64(binary.AppendUvarint(b, g.Number), g.Bits)
}

func appendRecord(b []byte, r presence.Region) []byte {
	b = varint.AppendString(b, r.Locality)
	b = binary.BigEndian.AppendUint64(b, r.SchemaHash)
	b = appendGeneration(b, r.Rank.Generation)
	b = binary.AppendUvarint(b, r.Rank.Stamp)
	b = varint.AppendString(b, string(r.Rank.Reporter))
	b = binary.AppendUvarint(b, uint64(len(r.Gateways)))
	for _, g := range r.Gateways {
		b = varint.AppendString(varint.AppendString(b, string(g.Node)), g.Address)
	}
	return b
}

// decoder reads what the functions above wrote.
type decoder struct{ varint.Reader }

func (d *decoder) generation() presence.Generation {
	return presence.Generation{Number: d.Uvarint(), Bits: d.Uint64()}
}

func (d *decoder) record(name fleet.Region) presence.Region {
	out := presence.Region{
		Name: name, Locality: d.String(), SchemaHash: d.Uint64(),
		Rank: presence.Rank{Generation: d.generation(), Stamp: d.Uvarint(), Reporter: fleet.Worker(d.String())},
	}
	n := d.Uvarint()
	if n > presence.MaxGateways {
		d.Fail(errors.New("too many gateways"))
	}
	for ; n > 0 && d.Err == nil; n-- {
		out.Gateways = append(out.Gateways, presence.Gateway{Node: fleet.Worker(d.String()), Address: d.String()})
	}
	return out
}
