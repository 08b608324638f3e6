package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Closing is a node's word that its writers with boots below its own are over:
// it has taken what any known node had of them, and has written their live
// owned rows again. Up is the highest boot that it closes.
type Closing struct {
	Writer  Writer   // who says so
	Base    uint64   // the writer's node was complete up to this boot
	Writers []Closed // its known writers above Base and below its own, by Compare
}

// Closed is a closed writer, and what its node had received of it.
type Closed struct {
	Writer   Writer
	Received Received
}

// Up returns the highest boot that c closes.
func (c Closing) Up() uint64 { return c.Writer.Boot - 1 }

// MaxClosing bounds the encoded list of a closing: what fits into one
// changeset beside the rest of its records.
const MaxClosing = MaxChangeset - 16<<10

// AppendClosed appends the number of writers and for each its boot, as the
// distance from the one before, its bits (8 bytes) and its received set. The
// first distance counts from base.
func AppendClosed(b []byte, base uint64, list []Closed) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, c := range list {
		b = binary.AppendUvarint(b, c.Writer.Boot-base)
		base = c.Writer.Boot
		b = binary.BigEndian.AppendUint64(b, c.Writer.Bits)
		b = AppendReceived(b, c.Received)
	}
	return b
}

// ReadClosed reads what AppendClosed wrote of the writers of a node, all of
// which lie above base and not above up, in order.
func ReadClosed(b []byte, n Node, base, up uint64) ([]Closed, error) {
	count, b, err := readUvarint(b)
	if err != nil || count > uint64(len(b))/11 {
		return nil, errors.New("closing: bad writer count")
	}
	list := make([]Closed, 0, count)
	boot := base
	for range count {
		var step uint64
		if step, b, err = readUvarint(b); err != nil || len(b) < 8 {
			return nil, fmt.Errorf("closing: %w", errTruncated)
		}
		c := Closed{Writer: Writer{Node: n, Boot: boot + step, Bits: binary.BigEndian.Uint64(b)}}
		if c.Writer.Boot < boot || c.Writer.Boot <= base || c.Writer.Boot > up {
			return nil, fmt.Errorf("closing: writer %v is not above %d and up to %d", c.Writer, base, up)
		}
		boot = c.Writer.Boot
		if c.Received, b, err = ReadReceived(b[8:]); err != nil {
			return nil, fmt.Errorf("closing: %w", err)
		}
		list = append(list, c)
	}
	if len(b) > 0 {
		return nil, errors.New("closing: bytes after the list")
	}
	if !slices.IsSortedFunc(list, func(a, b Closed) int { return a.Writer.Compare(b.Writer) }) {
		return nil, errors.New("closing: writers out of order")
	}
	return list, nil
}
