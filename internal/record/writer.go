package record

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Node is the name of a process in a cluster, as its certificate says.
type Node string

// Writer numbers one node's changesets from one start to the next. A writer
// is never continued: every start takes a new one with a higher boot, so no
// version is ever used twice, whatever disk comes back.
type Writer struct {
	Node Node
	Boot uint64 // rises from start to start; at least Unix seconds
	Bits uint64 // random, so that two disks of one node never share a writer
}

// IsZero reports whether w names nobody.
func (w Writer) IsZero() bool { return w == Writer{} }

// Compare orders writers by node, then boot, then bits.
func (w Writer) Compare(o Writer) int {
	return cmp.Or(cmp.Compare(w.Node, o.Node), cmp.Compare(w.Boot, o.Boot), cmp.Compare(w.Bits, o.Bits))
}

// String gives node/boot/bits.
func (w Writer) String() string { return fmt.Sprintf("%s/%d/%016x", w.Node, w.Boot, w.Bits) }

// ParseWriter reads what String wrote.
func ParseWriter(s string) (Writer, error) {
	var w Writer
	var node, boot, bits string
	for i, j := 0, 0; ; j++ {
		if j == len(s) {
			return Writer{}, fmt.Errorf("writer %q: want node/boot/bits", s)
		}
		if s[j] != '/' {
			continue
		}
		if node == "" {
			node, i = s[:j], j+1
			continue
		}
		boot, bits = s[i:j], s[j+1:]
		break
	}
	if _, err := fmt.Sscanf(boot, "%d", &w.Boot); err != nil || fmt.Sprint(w.Boot) != boot {
		return Writer{}, fmt.Errorf("writer %q: boot %q is no number", s, boot)
	}
	b, err := hex.DecodeString(bits)
	if err != nil || len(b) != 8 {
		return Writer{}, fmt.Errorf("writer %q: bits %q are not 16 hex digits", s, bits)
	}
	w.Node, w.Bits = Node(node), binary.BigEndian.Uint64(b)
	return w, nil
}

// Version counts one writer's changesets, dense from 1.
type Version uint64

// Point is one changeset: a writer and its version. The zero Point is none.
type Point struct {
	Writer  Writer
	Version Version
}

// String gives node/boot/bits@version.
func (p Point) String() string { return fmt.Sprintf("%v@%d", p.Writer, p.Version) }
