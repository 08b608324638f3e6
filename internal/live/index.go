package live

import (
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// index finds the watches that a change may concern: those of its table that
// look at every change, and those whose column equals its old or new value.
type index struct {
	tables  map[string]map[*Watch]struct{}
	matches map[matchKey]map[*Watch]struct{}
	columns map[string]map[int]int // by table: how many matches there are of a column
}

type matchKey struct {
	table  string
	column int
	value  record.Value
}

func newIndex() index {
	return index{map[string]map[*Watch]struct{}{}, map[matchKey]map[*Watch]struct{}{}, map[string]map[int]int{}}
}

func (x *index) add(w *Watch) {
	if m, table := w.matched(); m != nil {
		for _, v := range m.values {
			put(x.matches, matchKey{table, m.column, v}, w)
		}
		if x.columns[table] == nil {
			x.columns[table] = map[int]int{}
		}
		x.columns[table][m.column]++
		return
	}
	for _, t := range w.plan.tables {
		put(x.tables, t, w)
	}
}

func (x *index) remove(w *Watch) {
	if m, table := w.matched(); m != nil {
		for _, v := range m.values {
			take(x.matches, matchKey{table, m.column, v}, w)
		}
		if x.columns[table][m.column]--; x.columns[table][m.column] == 0 {
			delete(x.columns[table], m.column)
		}
		return
	}
	for _, t := range w.plan.tables {
		take(x.tables, t, w)
	}
}

func (w *Watch) matched() (*match, string) {
	if w.coarse || w.plan.point == nil {
		return nil, ""
	}
	return w.plan.point.match, w.plan.point.table
}

func put[K comparable](m map[K]map[*Watch]struct{}, k K, w *Watch) {
	if m[k] == nil {
		m[k] = map[*Watch]struct{}{}
	}
	m[k][w] = struct{}{}
}

func take[K comparable](m map[K]map[*Watch]struct{}, k K, w *Watch) {
	if delete(m[k], w); len(m[k]) == 0 {
		delete(m, k)
	}
}

// affected calls fn for every watch that c may concern, for some twice.
func (x *index) affected(c store.Change, fn func(*Watch)) {
	for w := range x.tables[c.Table] {
		fn(w)
	}
	if !c.OldKnown {
		for k, of := range x.matches {
			if k.table == c.Table {
				for w := range of {
					fn(w)
				}
			}
		}
		return
	}
	for column := range x.columns[c.Table] {
		for _, row := range []store.Row{c.Old, c.New} {
			if column < len(row) {
				for w := range x.matches[matchKey{c.Table, column, row[column]}] {
					fn(w)
				}
			}
		}
	}
}

// all returns every watch.
func (x *index) all() []*Watch {
	seen := map[*Watch]struct{}{}
	for _, of := range x.tables {
		for w := range of {
			seen[w] = struct{}{}
		}
	}
	for _, of := range x.matches {
		for w := range of {
			seen[w] = struct{}{}
		}
	}
	out := make([]*Watch, 0, len(seen))
	for w := range seen {
		out = append(out, w)
	}
	return out
}

// unchanged reports whether a change left the row as it was.
func unchanged(c store.Change) bool {
	return c.OldKnown && c.Old != nil && c.New != nil && slices.EqualFunc(c.Old, c.New, record.Value.Equal)
}
