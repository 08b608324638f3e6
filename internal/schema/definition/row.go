package definition

import (
	"errors"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// TableName is the engine's own table of definitions. It is ranked by number
// and then by hash, and replicates and heals like a user's; but no user writes
// it, and it is not listed among the tables.
const TableName = "_fb_schema"

// Columns of a row of the table.
const (
	atWhat = iota
	atParent
	atName
	atBase
	atNumber
	atLow
	atBody
	atWho
	width
)

// TableOf returns the definition of the table of definitions.
func TableOf() schema.Table {
	col := func(name, typ string) schema.Column { return schema.Column{Name: name, Type: typ, NotNull: true} }
	return schema.Table{
		Name: TableName, Kind: record.Ranked,
		Key:     []schema.Column{col("what", "TEXT"), col("parent", "INTEGER"), col("name", "TEXT"), col("base", "INTEGER")},
		Columns: []schema.Column{col("number", "INTEGER"), col("low", "BLOB"), col("body", "BLOB"), col("who", "TEXT")},
		RankBy:  []string{"number", "low"},
	}.WithIDs()
}

// Row returns the row of d, written by somebody.
func (d Definition) Row(who string) []record.Value {
	k := d.Key()
	return []record.Value{
		record.Of(string(k.What)), record.Of(int64(k.Parent)), record.Of(k.Name), record.Of(int64(k.Base)),
		record.Of(int64(d.Number)), record.Of([]byte(d.Low())), record.Of([]byte(d.body())), record.Of(who),
	}
}

// maxWho bounds who wrote a definition, in bytes.
const maxWho = 256

// Read takes a row apart. It never trusts it: a row whose parts do not belong
// together, or that Row would not have written so, is an error.
func Read(row []record.Value) (d Definition, who string, err error) {
	if len(row) != width {
		return d, "", fmt.Errorf("definition of %d values, want %d", len(row), width)
	}
	for i, want := range [width]record.Type{
		record.Text, record.Integer, record.Text, record.Integer, record.Integer, record.Blob, record.Blob, record.Text,
	} {
		if row[i].Type != want {
			return d, "", fmt.Errorf("definition: value %d is not of its type", i+1)
		}
	}
	if n := row[atNumber].Int; n < 0 || n > MaxNumber {
		return d, "", fmt.Errorf("definition: number %d is over the limit of %d", n, MaxNumber)
	}
	if len(row[atWho].Data) > maxWho {
		return d, "", errors.New("definition: its author has too long a name")
	}
	if d, err = readBody(What(row[atWhat].Data), []byte(row[atBody].Data)); err != nil {
		return d, "", fmt.Errorf("definition: %w", err)
	}
	d.Parent, d.Number = record.TableID(row[atParent].Int), uint64(row[atNumber].Int)
	if (d.What == Table) != (d.Parent == 0) {
		return d, "", errors.New("definition: its table is missing, or it is one")
	}
	for i, v := range d.Row(row[atWho].Data) {
		if !v.Equal(row[i]) {
			return d, "", fmt.Errorf("definition of %s %q: value %d does not belong to the others", d.What, d.Name(), i+1)
		}
	}
	return d, row[atWho].Data, nil
}
