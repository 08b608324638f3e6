package sqlite

import (
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// body is what the tokens of a CREATE TABLE say and SQLite's own catalog does
// not tell, or tells of less.
type body struct {
	source
	columns []bodyColumn
	checks  []schema.Check
	faults  []bodyFault
	uniques []bodyUnique
	strict  bool
	noRowID bool
}

type bodyColumn struct {
	name    string // as written, without quotes
	pos     int    // in the statement
	quoted  bool   // its type holds a quoted name
	collate string
	expr    string // of a generated column
}

// bodyUnique is a UNIQUE constraint.
type bodyUnique struct {
	pos     int
	columns []string // folded; none if they are not plain names
}

// implied reports whether the key says as much already.
func (u bodyUnique) implied(key []schema.Column) bool {
	return len(key) > 0 && !slices.ContainsFunc(key, func(c schema.Column) bool { return !slices.Contains(u.columns, c.Name) })
}

type bodyFault struct {
	pos     int
	rule    schema.Rule
	why, do string
}

func (b *body) fault(t sqltext.Token, rule schema.Rule, why, do string) {
	b.faults = append(b.faults, bodyFault{t.Pos, rule, why, do})
}

// readBody reads a statement that SQLite has taken. It reports false if there
// is no list of columns.
func readBody(s source) (*body, bool) {
	b := &body{source: s}
	open := slices.IndexFunc(s.tokens, func(t sqltext.Token) bool { return t.Is("(") })
	if open < 0 || slices.ContainsFunc(s.tokens[:open], func(t sqltext.Token) bool { return t.Is("AS") }) {
		return nil, false
	}
	end := closingParen(s.tokens, open)
	for _, item := range splitList(s.tokens[open+1 : end]) {
		b.item(item)
	}
	for _, t := range s.tokens[min(end+1, len(s.tokens)):] {
		b.strict = b.strict || t.Is("STRICT")
		b.noRowID = b.noRowID || t.Is("WITHOUT")
	}
	return b, true
}

// closingParen returns the place of the parenthesis that closes the one at i,
// or the end.
func closingParen(ts []sqltext.Token, i int) int {
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
	return len(ts)
}

// splitList splits at the commas outside of parentheses.
func splitList(ts []sqltext.Token) [][]sqltext.Token {
	var out [][]sqltext.Token
	depth, from := 0, 0
	for i, t := range ts {
		switch {
		case t.Is("("):
			depth++
		case t.Is(")"):
			depth--
		case t.Is(",") && depth == 0:
			out = append(out, ts[from:i])
			from = i + 1
		}
	}
	return append(out, ts[from:])
}

// text is what tokens say, without comments and with single spaces.
func text(ts []sqltext.Token) string {
	var b strings.Builder
	for i, t := range ts {
		if i > 0 && t.Pos > ts[i-1].End {
			b.WriteByte(' ')
		}
		b.WriteString(t.Text)
	}
	return b.String()
}

var (
	tableWords  = []string{"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"}
	columnWords = []string{"CONSTRAINT", "PRIMARY", "NOT", "NULL", "UNIQUE", "CHECK", "DEFAULT", "COLLATE", "REFERENCES", "GENERATED", "AS", "ON", "DEFERRABLE", "INITIALLY", "MATCH"}
)

func isOneOf(t sqltext.Token, words []string) bool {
	return t.Kind == sqltext.Word && slices.Contains(words, schema.Upper(t.Text))
}

// item reads a column or the constraints of the table.
func (b *body) item(ts []sqltext.Token) {
	if len(ts) == 0 {
		return
	}
	if isOneOf(ts[0], tableWords) {
		b.constraints(ts, nil)
		return
	}
	c := bodyColumn{name: ts[0].Ident(), pos: ts[0].Pos}
	i := 1
	for i < len(ts) && !isOneOf(ts[i], columnWords) {
		c.quoted = c.quoted || ts[i].Kind == sqltext.Name || ts[i].Kind == sqltext.String
		i++
	}
	b.constraints(ts[i:], &c)
	b.columns = append(b.columns, c)
}

// constraints reads those of a column, or of the table if c is nil.
func (b *body) constraints(ts []sqltext.Token, c *bodyColumn) {
	name := ""
	for len(ts) > 0 {
		if ts[0].Is("CONSTRAINT") && len(ts) > 1 {
			name, ts = ts[1].Ident(), ts[2:]
			continue
		}
		n := b.constraint(ts, c, name)
		if !ts[0].Is("NOT") && !ts[0].Is("NULL") && !ts[0].Is("ON") {
			name = ""
		}
		ts = ts[n:]
	}
}

// constraint reads the one that ts begins with and returns how many tokens it
// has.
func (b *body) constraint(ts []sqltext.Token, c *bodyColumn, name string) int {
	t, group := ts[0], 0
	if open := slices.IndexFunc(ts, func(t sqltext.Token) bool { return t.Is("(") }); open >= 0 {
		group = open
	}
	inner := func(at int) (string, int) {
		end := closingParen(ts, at)
		return text(ts[at+1 : end]), min(end+1, len(ts))
	}
	switch {
	case t.Is("PRIMARY") && c == nil && group > 0:
		_, n := inner(group)
		b.keyList(ts[group+1 : n])
		return n
	case t.Is("UNIQUE"):
		if c != nil {
			b.uniques = append(b.uniques, bodyUnique{t.Pos, []string{schema.Lower(c.name)}})
			return 1
		}
		n := min(closingParen(ts, group)+1, len(ts))
		b.uniques = append(b.uniques, bodyUnique{t.Pos, plainNames(ts[group+1 : max(group+1, n-1)])})
		return n
	case t.Is("CHECK") && len(ts) > 1 && ts[1].Is("("):
		expr, n := inner(1)
		b.checks = append(b.checks, schema.Check{Name: name, Expr: expr})
		return n
	case t.Is("DEFAULT") && len(ts) > 1:
		return defaultLength(ts)
	case t.Is("COLLATE") && len(ts) > 1:
		if c != nil {
			c.collate = schema.Upper(ts[1].Ident())
		}
		return 2
	case t.Is("AS") && len(ts) > 1 && ts[1].Is("(") && c != nil:
		expr, n := inner(1)
		c.expr = expr
		return n
	case t.Is("REFERENCES"):
		b.fault(t, schema.RuleForeignKey, "REFERENCES is not supported", "rows of other nodes arrive in any order; leave it out and join")
		return min(2, len(ts))
	case t.Is("FOREIGN"):
		if group > 0 {
			_, n := inner(group)
			return n
		}
	case t.Is("AUTOINCREMENT"):
		b.fault(t, schema.RuleChosenKey, "AUTOINCREMENT is not supported", "two nodes would choose the same key; give the key by yourself, such as a UUID")
	case t.Is("ON") && len(ts) > 2 && ts[1].Is("CONFLICT"):
		b.fault(t, schema.RuleConflict, "ON CONFLICT "+schema.Upper(ts[2].Text)+" is not supported in a table",
			"write it in the statement, as INSERT OR "+schema.Upper(ts[2].Text))
		return 3
	case t.Is("("):
		_, n := inner(0) // of what was refused
		return n
	}
	return 1
}

// plainNames reads a list of names; it is none if anything else is in it.
func plainNames(ts []sqltext.Token) []string {
	var out []string
	for _, item := range splitList(ts) {
		if len(item) != 1 {
			return nil
		}
		out = append(out, schema.Lower(item[0].Ident()))
	}
	return out
}

// defaultLength returns how many tokens the DEFAULT has that ts begins with.
func defaultLength(ts []sqltext.Token) int {
	switch {
	case ts[1].Is("("):
		return min(closingParen(ts, 1)+1, len(ts))
	case ts[1].Is("+"), ts[1].Is("-"):
		return min(3, len(ts))
	}
	return 2
}

// keyList looks at what stands between the parentheses of a PRIMARY KEY.
func (b *body) keyList(ts []sqltext.Token) {
	for i, t := range ts {
		switch {
		case t.Is("COLLATE") && i+1 < len(ts) && schema.Upper(ts[i+1].Ident()) != "BINARY":
			b.fault(t, schema.RuleKeyCollation, "COLLATE "+schema.Upper(ts[i+1].Ident())+" is not supported in a key", collationAdvice)
		case t.Is("AUTOINCREMENT"):
			b.constraint([]sqltext.Token{t}, nil, "")
		}
	}
}

const collationAdvice = "two spellings would be one key at some nodes only; store the key in one spelling"
