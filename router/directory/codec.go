package directory

import (
	"encoding/binary"
	"errors"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendGeneration(b []byte, g presence.Generation) []byte {
	return binary.BigEndian.AppendUint64(binary.AppendUvarint(b, g.Number), g.Bits)
}

func appendRecord(b []byte, r presence.Region) []byte {
	b = appendString(b, r.Locality)
	b = binary.BigEndian.AppendUint64(b, r.SchemaHash)
	b = appendGeneration(b, r.Rank.Generation)
	b = binary.AppendUvarint(b, r.Rank.Stamp)
	b = appendString(b, string(r.Rank.Reporter))
	b = binary.AppendUvarint(b, uint64(len(r.Gateways)))
	for _, g := range r.Gateways {
		b = appendString(appendString(b, string(g.Node)), g.Address)
	}
	return b
}

var errShort = errors.New("truncated")

// decoder reads what the functions above wrote. After the first error it
// returns zero values. It allocates no more than it was given.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.b)
	if d.err != nil || size <= 0 {
		d.err = errShort
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) varint() int64 {
	n, size := binary.Varint(d.b)
	if d.err != nil || size <= 0 {
		d.err = errShort
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) bytes(n uint64) []byte {
	if d.err != nil || n > uint64(len(d.b)) {
		d.err = errShort
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) string() string { return string(d.bytes(d.uvarint())) }

func (d *decoder) uint64() uint64 {
	b := d.bytes(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (d *decoder) generation() presence.Generation {
	return presence.Generation{Number: d.uvarint(), Bits: d.uint64()}
}

func (d *decoder) record(name fleet.Region) presence.Region {
	out := presence.Region{
		Name: name, Locality: d.string(), SchemaHash: d.uint64(),
		Rank: presence.Rank{Generation: d.generation(), Stamp: d.uvarint(), Reporter: fleet.Worker(d.string())},
	}
	n := d.uvarint()
	if n > presence.MaxGateways {
		d.err = errors.New("too many gateways")
	}
	for ; n > 0 && d.err == nil; n-- {
		out.Gateways = append(out.Gateways, presence.Gateway{Node: fleet.Worker(d.string()), Address: d.string()})
	}
	return out
}
