package watch

import (
	"encoding/binary"
	"errors"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Position is where a watch of one interest continues. Clients hold it as
// opaque bytes.
type Position struct {
	Feed     store.Position
	Held     uint64 // sum over the machines that the client holds; zero for tables and keys
	Suspects uint64 // sum over the workers that were suspect
}

const positionVersion = 1

var errPosition = errors.New("the position is not one of this version")

// Encode gives a byte of version, the node (length and bytes), and boot, bits,
// sequence, held and suspects as 8 bytes big endian each.
func (p Position) Encode() []byte {
	b := []byte{positionVersion}
	b = record.AppendWriter(b, record.Writer{Node: p.Feed.Node, Boot: p.Feed.Boot, Bits: p.Feed.Bits})
	b = binary.BigEndian.AppendUint64(b, p.Feed.Sequence)
	b = binary.BigEndian.AppendUint64(b, p.Held)
	return binary.BigEndian.AppendUint64(b, p.Suspects)
}

// DecodePosition reads what Encode wrote.
func DecodePosition(b []byte) (Position, error) {
	if len(b) == 0 || b[0] != positionVersion {
		return Position{}, errPosition
	}
	w, rest, err := record.ReadWriter(b[1:])
	if err != nil || len(rest) != 24 {
		return Position{}, errPosition
	}
	return Position{
		Feed:     store.Position{Node: w.Node, Boot: w.Boot, Bits: w.Bits, Sequence: binary.BigEndian.Uint64(rest)},
		Held:     binary.BigEndian.Uint64(rest[8:]),
		Suspects: binary.BigEndian.Uint64(rest[16:]),
	}, nil
}
