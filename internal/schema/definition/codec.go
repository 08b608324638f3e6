package definition

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

const (
	maxName  = 128 // bytes of a name or type
	maxParts = 200 // of one kind, of one table
)

// constraintWords end a type.
var constraintWords = []string{
	"CONSTRAINT", "PRIMARY", "NOT", "NULL", "UNIQUE", "CHECK", "DEFAULT", "COLLATE", "REFERENCES", "GENERATED", "ALWAYS", "AS",
	"ON", "DEFERRABLE", "INITIALLY", "MATCH", "FOREIGN",
}

// writer appends canonical values.
type writer []byte

func (w *writer) value(v record.Value) { *w = record.AppendValue(*w, v) }
func (w *writer) text(s string)        { w.value(record.Of(s)) }
func (w *writer) number(n int)         { w.value(record.Of(n)) }
func (w *writer) flag(b bool)          { w.value(record.Of(b)) }

// reader takes what writer wrote. After an error it gives zero values.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) value() record.Value {
	if r.err != nil {
		return record.Value{}
	}
	v, rest, err := record.ReadValue(r.b)
	if err != nil {
		r.err = err
		return record.Value{}
	}
	r.b = rest
	return v
}

func (r *reader) text() string {
	v := r.value()
	if r.err == nil && (v.Type != record.Text || !utf8.ValidString(v.Data) || strings.IndexByte(v.Data, 0) >= 0) {
		r.fail("%v is no text", v)
	}
	return v.Data
}

func (r *reader) number(most int) int {
	v := r.value()
	if r.err == nil && (v.Type != record.Integer || v.Int < 0 || v.Int > int64(most)) {
		r.fail("%v is no number up to %d", v, most)
		return 0
	}
	return int(v.Int)
}

func (r *reader) flag() bool { return r.number(1) == 1 }

// count reads how many follow: each is at least a byte.
func (r *reader) count() int { return min(r.number(maxParts), len(r.b)) }

// name reads a name, and how it is spelled if that is another way.
func (r *reader) name() (name, spelled string) {
	name, spelled = r.text(), r.text()
	switch {
	case r.err != nil:
	case name == "" || len(name) > maxName || name != schema.Lower(name):
		r.fail("name %.140q is empty, too long or not in lower case", name)
	case strings.HasPrefix(name, "_fb_") || strings.HasPrefix(name, "sqlite_"):
		r.fail("name %q is reserved", name)
	case spelled == name || spelled != "" && schema.Lower(spelled) != name:
		r.fail("name %q is spelled %.140q", name, spelled)
	}
	return name, spelled
}

// typ reads a type: words, numbers and what stands between them.
func (r *reader) typ() string {
	t := r.text()
	if len(t) > maxName || t != schema.Upper(t) {
		r.fail("type %.140q is too long or not in upper case", t)
	}
	for _, x := range sqltext.Lex(t) {
		ok := x.Kind == sqltext.Word || x.Kind == sqltext.Number || x.Is("(") || x.Is(")") || x.Is(",") || x.Is("+") || x.Is("-")
		if !ok || x.Kind == sqltext.Word && slices.Contains(constraintWords, schema.Upper(x.Text)) {
			r.fail("type %q is not supported", t)
		}
	}
	return t
}

// collation reads one of SQLite's own but BINARY, or nothing.
func (r *reader) collation() string {
	c := r.text()
	if c != "" && c != "NOCASE" && c != "RTRIM" {
		r.fail("collation %.140q is unknown", c)
	}
	return c
}

// expr reads a part of a statement that stands where a parenthesis closes it.
func (r *reader) expr() string {
	e := r.text()
	if r.err == nil {
		r.err = closed(e)
	}
	return e
}

// closed reports what would make a part of a statement end before its end, or
// go on behind it.
func closed(sql string) error {
	depth := 0
	for _, t := range sqltext.Lex(sql) {
		switch {
		case t.Kind == sqltext.Comment:
			return errors.New("expression holds a comment")
		case t.Kind == sqltext.String || t.Kind == sqltext.Name:
			if open(t.Text) {
				return errors.New("expression holds a quote that is not closed")
			}
		case t.Is(";"):
			return errors.New("expression holds a semicolon")
		case t.Is("("):
			depth++
		case t.Is(")"):
			if depth--; depth < 0 {
				return errors.New("expression closes a parenthesis that it has not opened")
			}
		}
	}
	if depth != 0 {
		return errors.New("expression leaves a parenthesis open")
	}
	return nil
}

// open reports whether a quoted token runs to the end of its text unclosed.
func open(text string) bool {
	text = strings.TrimLeft(text, "xX")
	if len(text) < 2 {
		return true
	}
	quote := text[:1]
	if quote == "[" {
		return !strings.HasSuffix(text, "]")
	}
	inner := strings.ReplaceAll(text[1:], quote+quote, "")
	return !strings.HasSuffix(inner, quote)
}

func (w *writer) column(c schema.Column) {
	w.text(c.Name)
	w.text(c.Spelled)
	w.text(c.Type)
	w.flag(c.NotNull)
	w.value(c.Default)
	w.text(c.Expr)
	w.text(c.Collate)
}

func (r *reader) column() (c schema.Column) {
	c.Name, c.Spelled = r.name()
	c.Type, c.NotNull, c.Default = r.typ(), r.flag(), r.value()
	c.Expr, c.Collate = r.expr(), r.collation()
	if v := c.Default; v.Type == record.Text && strings.IndexByte(v.Data, 0) >= 0 || c.Expr != "" && v.Type != record.Null {
		r.fail("column %q has no possible default", c.Name)
	}
	return c
}

func (w *writer) generated(g schema.Generated) {
	w.text(g.Name)
	w.text(g.Spelled)
	w.text(g.Type)
	w.text(g.Expr)
	w.flag(g.Stored)
	w.flag(g.NotNull)
	w.text(g.Collate)
}

func (r *reader) generated() (g schema.Generated) {
	g.Name, g.Spelled = r.name()
	g.Type, g.Expr = r.typ(), r.expr()
	g.Stored, g.NotNull, g.Collate = r.flag(), r.flag(), r.collation()
	return g
}

func (w *writer) index(x schema.Index) {
	w.text(x.Name)
	w.text(x.Spelled)
	w.text(x.Terms)
	w.text(x.Where)
}

func (r *reader) index() (x schema.Index) {
	x.Name, x.Spelled = r.name()
	x.Terms, x.Where = r.expr(), r.expr()
	return x
}

// table writes what a table is beside its columns and indexes.
func (w *writer) table(t schema.Table, places []int) {
	w.text(t.Name)
	w.text(t.Spelled)
	w.number(int(t.Kind))
	w.flag(t.Strict)
	w.flag(t.WithoutRowID)
	w.number(len(t.Key))
	for i, c := range t.Key {
		w.number(places[i])
		w.column(c)
	}
	w.number(len(t.Checks))
	for _, c := range t.Checks {
		w.text(c.Name)
		w.text(c.Expr)
	}
}

func (r *reader) table() (t schema.Table, places []int) {
	t.Name, t.Spelled = r.name()
	t.Kind = record.Kind(r.number(int(record.Ranked)))
	t.Strict, t.WithoutRowID = r.flag(), r.flag()
	for range r.count() {
		places = append(places, r.number(maxPlace))
		t.Key = append(t.Key, r.column())
	}
	for range r.count() {
		t.Checks = append(t.Checks, schema.Check{Name: r.text(), Expr: r.expr()})
	}
	return t, places
}

// body is what d says, beside its key and number.
func (d Definition) body() []byte {
	var w writer
	switch d.What {
	case Table:
		w.table(d.Table, d.Places)
	case Column:
		w.number(d.Place)
		w.column(d.Column)
	case Generated:
		w.number(d.Place)
		w.generated(d.Generated)
	case Index:
		w.index(d.Index)
	}
	return w
}

func readBody(what What, b []byte) (d Definition, err error) {
	r := reader{b: b}
	switch d.What = what; what {
	case Table:
		d.Table, d.Places = r.table()
		if r.err == nil && (d.Table.Kind != record.Owned && d.Table.Kind != record.Shared || len(d.Table.Key) == 0) {
			r.fail("table %q is neither owned nor shared, or has no key", d.Table.Name)
		}
	case Column:
		d.Place = r.number(maxPlace)
		d.Column = r.column()
	case Generated:
		d.Place = r.number(maxPlace)
		d.Generated = r.generated()
	case Index:
		d.Index = r.index()
	default:
		r.fail("%.140q is nothing that can be defined", string(what))
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes are left over", len(r.b))
	}
	if r.err == nil && string(d.body()) != string(b) {
		r.fail("it is not in its canonical form")
	}
	return d, r.err
}

// maxPlace bounds the place of a column, which grows with every one added.
const maxPlace = 1 << 20
