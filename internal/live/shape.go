package live

import (
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// shape is what the text of a SELECT says about the identity of its rows. It
// is read from tokens, not from a grammar: what it does not understand it says
// nothing about, and the query is then compared as a whole.
type shape struct {
	sql       string
	compound  bool     // UNION and the like, or no SELECT at the top
	distinct  bool     // SELECT DISTINCT
	aggregate bool     // aggregates without GROUP BY: one row
	windows   bool     // window functions
	limited   bool     // LIMIT
	nested    bool     // more than one SELECT, a WITH, or IN with the name of a table
	grouped   bool     // GROUP BY
	group     []string // its terms
	from      []source
	opaque    bool   // a source that is neither a table nor a view by name
	fromAt    int    // where FROM stands
	sources   string // what stands between FROM and WHERE
	where     []sqltext.Token
	condition string // of WHERE; empty if there is none
}

// source is a table or view in FROM.
type source struct {
	name  string // in lower case
	alias string // as it is to be written
}

// parseShape reads one SELECT.
func parseShape(sql string) shape {
	s := shape{sql: sql}
	var tokens []sqltext.Token
	selects := 0
	for _, t := range sqltext.Lex(sql) {
		if t.Kind == sqltext.Comment {
			continue
		}
		if t.Is("SELECT") {
			selects++
		}
		tokens = append(tokens, t)
	}
	top := topLevel(tokens)
	first := slices.IndexFunc(top, func(p place) bool { return p.Is("SELECT") })
	if first < 0 {
		s.compound = true
		return s
	}
	s.nested = selects > 1 || top[0].Is("WITH") || inTable(tokens)
	ctes := top[:first]
	s.clauses(tokens, top[first:])
	for _, src := range s.from {
		if slices.ContainsFunc(ctes, func(p place) bool { return strings.EqualFold(bare(p.Token), src.name) }) {
			s.opaque = true
		}
	}
	return s
}

// place is a token outside of all parentheses, and where it stands.
type place struct {
	sqltext.Token
	i int
}

func topLevel(tokens []sqltext.Token) []place {
	var out []place
	depth := 0
	for i, t := range tokens {
		switch {
		case t.Is("("):
			if depth == 0 {
				out = append(out, place{t, i})
			}
			depth++
		case t.Is(")"):
			depth--
		case depth == 0:
			out = append(out, place{t, i})
		}
	}
	return out
}

// clauses cuts a SELECT at its keywords.
func (s *shape) clauses(tokens []sqltext.Token, top []place) {
	at := map[string]int{} // the clause's keyword in top
	for i, p := range top {
		next := func(w string) bool { return i+1 < len(top) && top[i+1].Is(w) }
		switch {
		case p.Is("UNION"), p.Is("EXCEPT"), p.Is("INTERSECT"):
			s.compound = true
			return
		case p.Is("FROM") && !top[i-1].Is("DISTINCT"), p.Is("WHERE"), p.Is("HAVING"), p.Is("LIMIT"),
			p.Is("GROUP") && next("BY"), p.Is("ORDER") && next("BY"), p.Is("WINDOW") && at["FROM"] > 0:
			if w := strings.ToUpper(p.Text); at[w] == 0 {
				at[w] = i
			}
		}
	}
	s.distinct = len(top) > 1 && top[1].Is("DISTINCT")
	s.limited = at["LIMIT"] > 0
	s.grouped = at["GROUP"] > 0
	end := func(i int) int { // of the clause that begins at i
		e := len(top)
		for _, o := range at {
			if o > i {
				e = min(e, o)
			}
		}
		return e
	}
	tokenAt := func(i int) int {
		if i < len(top) {
			return top[i].i
		}
		return len(tokens)
	}
	results := tokens[top[0].i+1 : tokenAt(end(0))]
	s.windows = contains(results, "OVER") || at["WINDOW"] > 0
	s.aggregate = !s.grouped && (at["HAVING"] > 0 || aggregates(results))
	if from := at["FROM"]; from > 0 {
		s.fromAt = top[from].Pos
		e := end(from)
		s.sources = text(s.sql, tokens[top[from].i+1:tokenAt(e)])
		s.parseFrom(top[from+1 : e])
	}
	if where := at["WHERE"]; where > 0 {
		s.where = tokens[top[where].i+1 : tokenAt(end(where))]
		s.condition = text(s.sql, s.where)
	}
	if group := at["GROUP"]; group > 0 {
		for _, term := range split(tokens[top[group].i+2:tokenAt(end(group))], ",") {
			s.group = append(s.group, text(s.sql, term))
		}
	}
}

// text is what stands from the first of ts to the last.
func text(sql string, ts []sqltext.Token) string {
	if len(ts) == 0 {
		return ""
	}
	return sql[ts[0].Pos:ts[len(ts)-1].End]
}

// split cuts ts at a word or character outside of parentheses.
func split(ts []sqltext.Token, at string) [][]sqltext.Token {
	var out [][]sqltext.Token
	depth, from := 0, 0
	for i, t := range ts {
		switch {
		case t.Is("("):
			depth++
		case t.Is(")"):
			depth--
		case depth == 0 && t.Is(at):
			out = append(out, ts[from:i])
			from = i + 1
		}
	}
	return append(out, ts[from:])
}

func contains(ts []sqltext.Token, word string) bool {
	return slices.ContainsFunc(ts, func(t sqltext.Token) bool { return t.Is(word) })
}

var joinWords = []string{
	"ON", "USING", "NATURAL", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "OUTER", "JOIN", "INDEXED", "NOT", ",",
}

// parseFrom reads the sources of FROM: each stands at its start, after a comma
// or after JOIN.
func (s *shape) parseFrom(top []place) {
	expect := true
	for i := 0; i < len(top); i++ {
		p := top[i]
		switch {
		case p.Is(","), p.Is("JOIN"):
			expect = true
		case !expect:
		case p.Kind == sqltext.Word || p.Kind == sqltext.Name || p.Kind == sqltext.String:
			expect = false
			src := source{name: bare(p.Token), alias: p.Text}
			if i+2 < len(top) && top[i+1].Is(".") {
				i += 2
				src = source{name: bare(top[i].Token), alias: top[i].Text}
			}
			if i+1 < len(top) && top[i+1].Is("(") {
				s.opaque = true // a function that gives rows
				continue
			}
			if i+1 < len(top) && top[i+1].Is("AS") {
				i++
			}
			if i+1 < len(top) && isAlias(top[i+1].Token) {
				i++
				src.alias = top[i].Text
			}
			s.from = append(s.from, src)
		default:
			expect, s.opaque = false, true // a subquery, or a join in parentheses
		}
	}
}

func isAlias(t sqltext.Token) bool {
	if t.Kind == sqltext.Name || t.Kind == sqltext.String {
		return true
	}
	return t.Kind == sqltext.Word && !slices.ContainsFunc(joinWords, t.Is)
}

// bare is the name that an identifier stands for, in lower case.
func bare(t sqltext.Token) string {
	s := t.Text
	if t.Kind == sqltext.Name || t.Kind == sqltext.String {
		quote := s[len(s)-1:]
		s = strings.ReplaceAll(s[1:max(1, len(s)-1)], quote+quote, quote)
	}
	return schema.Lower(s)
}

var aggregateNames = []string{
	"avg", "count", "sum", "total", "group_concat", "string_agg", "json_group_array", "json_group_object",
	"jsonb_group_array", "jsonb_group_object", "median", "percentile", "percentile_cont", "percentile_disc",
}

// inTable reports whether IN is followed by the name of a table, all of whose
// rows it looks at.
func inTable(ts []sqltext.Token) bool {
	for i := 0; i+1 < len(ts); i++ {
		if ts[i].Is("IN") && !ts[i+1].Is("(") {
			return true
		}
	}
	return false
}

// aggregates reports whether result columns hold an aggregate, outside of
// subqueries and not as a window function. SQLite allows none elsewhere.
func aggregates(ts []sqltext.Token) bool {
	for i := 0; i+1 < len(ts); i++ {
		if ts[i].Is("(") && (ts[i+1].Is("SELECT") || ts[i+1].Is("WITH")) {
			i = closing(ts, i)
			continue
		}
		if !ts[i+1].Is("(") {
			continue
		}
		end := closing(ts, i+1)
		name := bare(ts[i])
		one := name == "min" || name == "max"
		if one && len(split(ts[i+2:end], ",")) > 1 {
			continue
		}
		if one || slices.Contains(aggregateNames, name) {
			if j := end + 1; j+1 < len(ts) && ts[j].Is("FILTER") {
				end = closing(ts, j+1)
			}
			if end+1 >= len(ts) || !ts[end+1].Is("OVER") {
				return true
			}
		}
	}
	return false
}

// closing is where the parenthesis ends that opens at i.
func closing(ts []sqltext.Token, i int) int {
	depth := 0
	for ; i < len(ts); i++ {
		if ts[i].Is("(") {
			depth++
		} else if ts[i].Is(")") {
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(ts) - 1
}
