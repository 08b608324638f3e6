package live

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Kind says what happened to a row of a query.
type Kind byte

// The kinds of changes.
const (
	Insert Kind = iota + 1
	Update
	Delete
)

// String gives the word that clients read.
func (k Kind) String() string {
	switch k {
	case Insert:
		return "insert"
	case Update:
		return "update"
	case Delete:
		return "delete"
	}
	return "unknown"
}

// Row is a row of a query. Its id stays for as long as it is there, and is not
// used again.
type Row struct {
	ID    uint64
	Cells store.Row
}

// Change is one step of a query's result. Ids rise by one. A deleted row comes
// with its last cells.
type Change struct {
	ID   uint64
	Kind Kind
	Row  Row
}

func (c Change) size() int { return 64 + sizeOf(c.Row.Cells) }

func sizeOf(cells []record.Value) int {
	n := 0
	for _, v := range cells {
		n += 48 + len(v.Data)
	}
	return n
}

// identityOf makes the text by which a row is found again: the canonical
// values, one after the other, or a hash of them if they are long.
func identityOf(values []record.Value) string {
	b := []byte{'v'}
	for _, v := range values {
		b = record.AppendValue(b, v)
	}
	if len(b) > maxIdentity {
		sum := sha256.Sum256(b)
		b = append(b[:0], 'h')
		b = append(b, sum[:]...)
	}
	return string(b)
}

const maxIdentity = 1 << 10

var errDamaged = errors.New("watch record is damaged")

func appendRow(b []byte, r Row) []byte {
	b = binary.AppendUvarint(b, r.ID)
	for _, v := range r.Cells {
		b = record.AppendValue(b, v)
	}
	return b
}

func readRow(b []byte) (Row, error) {
	id, n := binary.Uvarint(b)
	if n <= 0 {
		return Row{}, errDamaged
	}
	r := Row{ID: id}
	for b = b[n:]; len(b) > 0; {
		v, rest, err := record.ReadValue(b)
		if err != nil {
			return Row{}, errDamaged
		}
		r.Cells, b = append(r.Cells, v), rest
	}
	return r, nil
}

func appendChange(b []byte, c Change) []byte { return appendRow(append(b, byte(c.Kind)), c.Row) }

func readChange(id uint64, b []byte) (Change, error) {
	if len(b) == 0 || Kind(b[0]) < Insert || Kind(b[0]) > Delete {
		return Change{}, errDamaged
	}
	r, err := readRow(b[1:])
	return Change{ID: id, Kind: Kind(b[0]), Row: r}, err
}

// Newest returns, for a reader who wants the outcome and not the steps, one
// change of each row: in the order of the last. A row that came and went makes
// none.
func Newest(changes []Change) []Change {
	if len(changes) == 1 {
		return changes
	}
	first := map[uint64]Kind{} // by row
	last := map[uint64]uint64{}
	for _, c := range changes {
		if _, ok := first[c.Row.ID]; !ok {
			first[c.Row.ID] = c.Kind
		}
		last[c.Row.ID] = c.ID
	}
	var out []Change
	for _, c := range changes {
		if last[c.Row.ID] != c.ID {
			continue
		}
		if first[c.Row.ID] == Insert {
			if c.Kind == Delete {
				continue
			}
			c.Kind = Insert
		}
		out = append(out, c)
	}
	return out
}
