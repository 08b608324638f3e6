package store

import (
	"errors"
	"fmt"
	"math"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// ClosedTable is the engine's own table of closings. It is owned, and merges,
// replicates and heals like a user's; but no user writes it, Store.Tables does
// not list it, its rows make no Change, and Restamp leaves them out.
//
// Its key names the writer that says so, not the node alone: a later closing
// that comes first, with a gap below it, must not hide an earlier one that is
// in effect already, or what is in effect would depend on the order.
//
// A closing of many writers is cut into parts of one changeset, each a row.
const ClosedTable = "_fb_closed"

// maxClosedPart is the share of a closing's list that one row holds, in bytes.
const maxClosedPart = 60 << 10

// Columns of a row of ClosedTable.
const (
	closedNode = iota
	closedBoot
	closedBits
	closedPart
	closedBase
	closedParts
	closedList
)

// ClosedSchema returns the definition of ClosedTable.
func ClosedSchema() schema.Table {
	integer := func(name string) schema.Column {
		return schema.Column{Name: name, Type: "INTEGER", NotNull: true, Default: record.Of(0)}
	}
	return schema.Table{
		Name: ClosedTable, Kind: record.Owned,
		Key:     []schema.Column{{Name: "node", Type: "TEXT", NotNull: true}, integer("boot"), integer("bits"), integer("part")},
		Columns: []schema.Column{integer("base"), integer("parts"), {Name: "list", Type: "BLOB", NotNull: true, Default: record.Of([]byte{})}},
	}.WithIDs()
}

// ClosedRows makes the rows of a closing. ErrTooLarge if they would not fit
// into one changeset.
func ClosedRows(c record.Closing) ([]Row, error) {
	if c.Writer.Boot == 0 || c.Writer.Boot > math.MaxInt64 {
		return nil, fmt.Errorf("closing of %v: boot out of range", c.Writer)
	}
	list := record.AppendClosed(nil, c.Base, c.Writers)
	if len(list) > record.MaxClosing {
		return nil, fmt.Errorf("closing of %d writers is %d bytes, cap %d: %w", len(c.Writers), len(list), record.MaxClosing, ErrTooLarge)
	}
	parts := max(1, (len(list)+maxClosedPart-1)/maxClosedPart)
	rows := make([]Row, parts)
	for i := range rows {
		part := list[i*maxClosedPart : min(len(list), (i+1)*maxClosedPart)]
		rows[i] = Row{
			record.Of(string(c.Writer.Node)), record.Of(int64(c.Writer.Boot)), record.Of(int64(c.Writer.Bits)), record.Of(i),
			record.Of(int64(c.Base)), record.Of(parts), record.Of(part),
		}
	}
	return rows, nil
}

// ClosingOf reads the rows of one closing, by part, as at has brought them. An
// error says that they are none: then they are not in effect, whoever wrote
// them. It is a function of its arguments alone.
func ClosingOf(rows []Row, at record.Writer) (record.Closing, error) {
	if len(rows) == 0 {
		return record.Closing{}, errors.New("closing without rows")
	}
	c := record.Closing{Writer: at, Base: uint64(rows[0][closedBase].Int)}
	var list []byte
	for i, r := range rows {
		switch {
		case r[closedNode].Data != string(at.Node), r[closedBoot].Int != int64(at.Boot), r[closedBits].Int != int64(at.Bits):
			return c, fmt.Errorf("closing by %v in the name of another writer", at)
		case r[closedPart].Int != int64(i), r[closedParts].Int != int64(len(rows)), uint64(r[closedBase].Int) != c.Base:
			return c, fmt.Errorf("closing by %v: %d of %d parts", at, len(rows), r[closedParts].Int)
		case r[closedBase].Int < 0, at.Boot == 0, c.Base > c.Up():
			return c, fmt.Errorf("closing by %v with base %d", at, c.Base)
		}
		list = append(list, r[closedList].Data...)
	}
	var err error
	c.Writers, err = record.ReadClosed(list, at.Node, c.Base, c.Up())
	return c, err
}
