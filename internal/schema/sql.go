package schema

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// SQL returns the CREATE TABLE statement of a replicated table. It is WITHOUT
// ROWID, so that owned tables cluster by owner and no node chooses a key.
func (t Table) SQL() string {
	var items []string
	for _, name := range t.Shown() {
		if i := slices.IndexFunc(t.Generated, func(g Generated) bool { return g.Name == name }); i >= 0 {
			items = append(items, t.Generated[i].SQL())
		} else if i := t.Index(name); i >= len(t.Key) {
			items = append(items, t.Columns[i-len(t.Key)].SQL())
		} else if i >= 0 {
			c := t.Key[i]
			c.NotNull = true
			items = append(items, c.SQL())
		}
	}
	key := make([]string, len(t.Key))
	for i, c := range t.Key {
		key[i] = Quote(c.Name)
	}
	items = append(items, "PRIMARY KEY ("+strings.Join(key, ", ")+")")
	for _, c := range t.Checks {
		items = append(items, c.SQL())
	}
	options := "WITHOUT ROWID"
	if t.Strict {
		options += ", STRICT"
	}
	return fmt.Sprintf("CREATE TABLE %s (%s) %s", Quote(cmp.Or(t.Spelled, t.Name)), strings.Join(items, ", "), options)
}

// SQL returns c as CREATE TABLE and ALTER TABLE ADD COLUMN take it.
func (c Column) SQL() string {
	out := strings.TrimRight(Quote(cmp.Or(c.Spelled, c.Name))+" "+c.Type, " ")
	if c.NotNull {
		out += " NOT NULL"
	}
	if c.Expr != "" {
		out += " DEFAULT (" + c.Expr + ")"
	} else if c.Default.Type != record.Null {
		out += " DEFAULT " + Literal(c.Default)
	}
	return out + collate(c.Collate)
}

// SQL returns g as CREATE TABLE and ALTER TABLE ADD COLUMN take it.
func (g Generated) SQL() string {
	out := strings.TrimRight(Quote(cmp.Or(g.Spelled, g.Name))+" "+g.Type, " ")
	if g.NotNull {
		out += " NOT NULL"
	}
	out += collate(g.Collate) + " AS (" + g.Expr + ")"
	if g.Stored {
		out += " STORED"
	}
	return out
}

// SQL returns c as CREATE TABLE takes it.
func (c Check) SQL() string {
	out := "CHECK (" + c.Expr + ")"
	if c.Name != "" {
		out = "CONSTRAINT " + Quote(c.Name) + " " + out
	}
	return out
}

// SQL returns the CREATE INDEX statement of x on a table.
func (x Index) SQL(table string) string {
	out := fmt.Sprintf("CREATE INDEX %s ON %s (%s)", Quote(cmp.Or(x.Spelled, x.Name)), Quote(table), x.Terms)
	if x.Where != "" {
		out += " WHERE " + x.Where
	}
	return out
}

func collate(name string) string {
	if name == "" {
		return ""
	}
	return " COLLATE " + Quote(name)
}

// Quote returns name as an SQL identifier.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Lower folds a name as SQLite does: ASCII alone.
func Lower(name string) string { return fold(name, 'A', 'Z') }

// Upper folds a type as SQLite does: ASCII alone.
func Upper(name string) string { return fold(name, 'a', 'z') }

func fold(s string, from, to byte) string {
	b := []byte(s)
	for i, c := range b {
		if c >= from && c <= to {
			b[i] ^= 'a' - 'A'
		}
	}
	return string(b)
}

// Literal returns v as SQL that gives it: any but a text with NUL bytes and
// -0.0, for which SQL has no literal.
func Literal(v record.Value) string {
	switch v.Type {
	case record.Text:
		return "'" + strings.ReplaceAll(v.Data, "'", "''") + "'"
	case record.Blob:
		return fmt.Sprintf("x'%x'", v.Data)
	case record.Real:
		return realLiteral(v.Real)
	}
	return v.String()
}

func realLiteral(f float64) string {
	if math.IsInf(f, 0) {
		return map[bool]string{true: "9e999", false: "-9e999"}[f > 0]
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}
