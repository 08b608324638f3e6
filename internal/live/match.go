package live

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// findMatch looks among the conditions that all must hold for the one that
// says most: that a stored column equals a value, or one of several. Nil if
// there is none of which the text leaves no doubt.
func findMatch(sh shape, t schema.Table, args []record.Value) *match {
	for _, word := range []string{"OR", "BETWEEN", "CASE", "COLLATE"} {
		if contains(sh.where, word) {
			return nil
		}
	}
	params := map[int]int{} // number of the parameter that stands somewhere
	sqltext.EachParameter(sqltext.Lex(sh.sql), func(at sqltext.Token, number int, _ string) { params[at.Pos] = number })
	var best *match
	for _, cond := range split(sh.where, "AND") {
		column, rest := columnOf(cond, sh.from[0], t)
		if column < 0 {
			continue
		}
		values := constants(rest, params, args)
		kept := affinityOf(slices.Concat(t.Key, t.Columns)[column].Type)
		if len(values) == 0 || !slices.ContainsFunc(values, kept) || slices.ContainsFunc(values, func(v record.Value) bool { return !kept(v) }) {
			continue
		}
		m := &match{column: column, values: values}
		if best == nil || m.better(best, len(t.Key)) {
			best = m
		}
	}
	return best
}

// better prefers the last column of the key, then fewer values.
func (m *match) better(o *match, key int) bool {
	place := func(m *match) int {
		if m.column < key {
			return m.column + 1
		}
		return 0
	}
	return place(m) > place(o) || place(m) == place(o) && len(m.values) < len(o.values)
}

// columnOf reads a column and "=" or "IN", and returns what follows. -1 if a
// condition begins otherwise.
func columnOf(cond []sqltext.Token, src source, t schema.Table) (int, []sqltext.Token) {
	none := func() (int, []sqltext.Token) { return -1, nil }
	if len(cond) > 2 && cond[1].Is(".") {
		if q := bare(cond[0]); q != src.name && q != bare(sqltext.Lex(src.alias)[0]) {
			return none()
		}
		cond = cond[2:]
	}
	if len(cond) < 3 || cond[0].Kind != sqltext.Word && cond[0].Kind != sqltext.Name {
		return none()
	}
	column := t.Index(bare(cond[0]))
	switch rest := cond[1:]; {
	case rest[0].Is("=") && rest[1].Is("="):
		return column, rest[2:]
	case rest[0].Is("="):
		return column, rest[1:]
	case rest[0].Is("IN") && rest[1].Is("("):
		return column, rest[1:]
	}
	return none()
}

// constants reads one literal or parameter, or a list of them in parentheses.
func constants(ts []sqltext.Token, params map[int]int, args []record.Value) []record.Value {
	if len(ts) == 0 {
		return nil
	}
	parts := [][]sqltext.Token{ts}
	if ts[0].Is("(") {
		if closing(ts, 0) != len(ts)-1 {
			return nil
		}
		parts = split(ts[1:len(ts)-1], ",")
	}
	var out []record.Value
	for _, p := range parts {
		v, ok := constant(p, params, args)
		if !ok {
			return nil
		}
		out = append(out, v)
	}
	return out
}

func constant(ts []sqltext.Token, params map[int]int, args []record.Value) (record.Value, bool) {
	if len(ts) == 0 {
		return record.Value{}, false
	}
	if n := params[ts[0].Pos]; n > 0 && n <= len(args) {
		return args[n-1], len(ts) == 1
	}
	if len(ts) != 1 {
		return record.Value{}, false
	}
	switch t := ts[0]; {
	case t.Kind == sqltext.String && t.Text[0] == '\'' && strings.HasSuffix(t.Text, "'") && len(t.Text) > 1:
		return record.Of(strings.ReplaceAll(t.Text[1:len(t.Text)-1], "''", "'")), true
	case t.Kind == sqltext.Number:
		n, err := strconv.ParseInt(t.Text, 10, 64)
		return record.Of(n), err == nil
	}
	return record.Value{}, false
}

// affinityOf tells which values a column of a declared type compares as they
// are: those, and no others, can be equal to a stored value only by type and
// bytes. Source: sections 3.1 and 4.2 of https://www.sqlite.org/datatype3.html
func affinityOf(declared string) func(record.Value) bool {
	u := strings.ToUpper(declared)
	has := func(s string) bool { return strings.Contains(u, s) }
	var types []record.Type
	switch {
	case has("INT"):
		// The least integer equals a real that is kept as one: no other does.
		return func(v record.Value) bool { return v.Type == record.Integer && v.Int != math.MinInt64 }
	case has("CHAR"), has("CLOB"), has("TEXT"):
		types = []record.Type{record.Text}
	case has("BLOB"), u == "":
		types = []record.Type{record.Text, record.Blob}
	}
	return func(v record.Value) bool { return slices.Contains(types, v.Type) }
}
