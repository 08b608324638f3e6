package definition

import (
	"errors"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// Append appends tables as they are, with ids, for a node to keep for itself.
func Append(b []byte, tables []schema.Table) []byte {
	w := writer(append([]byte{}, b...)) // never nil
	for _, t := range tables {
		w.keep(t)
	}
	return w
}

func (w *writer) texts(s []string) {
	w.number(len(s))
	for _, x := range s {
		w.text(x)
	}
}

func (w *writer) keep(t schema.Table) {
	for _, s := range []string{t.Name, t.Spelled} {
		w.text(s)
	}
	w.number(int(t.Kind))
	w.value(record.Of(int64(t.ID)))
	w.flag(t.Strict)
	w.flag(t.WithoutRowID)
	for _, cols := range [][]schema.Column{t.Key, t.Columns} {
		w.number(len(cols))
		for _, c := range cols {
			w.value(record.Of(int64(c.ID)))
			w.column(c)
		}
	}
	w.number(len(t.Generated))
	for _, g := range t.Generated {
		w.generated(g)
	}
	w.texts(t.Order)
	w.number(len(t.Checks))
	for _, c := range t.Checks {
		w.text(c.Name)
		w.text(c.Expr)
	}
	w.number(len(t.Indexes))
	for _, x := range t.Indexes {
		w.index(x)
	}
	w.texts(t.Local)
}

// Tables reads what Append wrote, and what nobody else did: it checks no more
// than that the bytes are whole.
func Tables(b []byte) ([]schema.Table, error) {
	var out []schema.Table
	r := keeper{b: b}
	for len(r.b) > 0 && r.err == nil {
		out = append(out, r.table())
	}
	return out, r.err
}

// keeper reads what this node wrote for itself.
type keeper struct {
	b   []byte
	err error
}

func (r *keeper) value() record.Value {
	if r.err != nil {
		return record.Value{}
	}
	v, rest, err := record.ReadValue(r.b)
	r.b, r.err = rest, err
	return v
}

func (r *keeper) text() string { return r.value().Data }
func (r *keeper) flag() bool   { return r.value().Int != 0 }

func (r *keeper) count() int {
	n := r.value().Int
	if r.err == nil && (n < 0 || n > int64(len(r.b))) {
		r.err = errors.New("kept schema is damaged")
		return 0
	}
	return int(n)
}

func (r *keeper) texts() (out []string) {
	for range r.count() {
		out = append(out, r.text())
	}
	return out
}

func (r *keeper) column() schema.Column {
	return schema.Column{
		ID: record.ColumnID(r.value().Int), Name: r.text(), Spelled: r.text(), Type: r.text(), NotNull: r.flag(),
		Default: r.value(), Expr: r.text(), Collate: r.text(),
	}
}

func (r *keeper) table() (t schema.Table) {
	t.Name, t.Spelled = r.text(), r.text()
	t.Kind, t.ID = record.Kind(r.value().Int), record.TableID(r.value().Int)
	t.Strict, t.WithoutRowID = r.flag(), r.flag()
	for range r.count() {
		t.Key = append(t.Key, r.column())
	}
	for range r.count() {
		t.Columns = append(t.Columns, r.column())
	}
	for range r.count() {
		t.Generated = append(t.Generated, schema.Generated{
			Name: r.text(), Spelled: r.text(), Type: r.text(), Expr: r.text(), Stored: r.flag(), NotNull: r.flag(), Collate: r.text(),
		})
	}
	t.Order = r.texts()
	for range r.count() {
		t.Checks = append(t.Checks, schema.Check{Name: r.text(), Expr: r.text()})
	}
	for range r.count() {
		t.Indexes = append(t.Indexes, schema.Index{Name: r.text(), Spelled: r.text(), Terms: r.text(), Where: r.text()})
	}
	t.Local = r.texts()
	return t
}
