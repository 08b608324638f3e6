package shell

import (
	"strings"

	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// Split cuts a text into the statements that a semicolon ends, without it, and
// what follows the last. Empty statements are left out.
func Split(text string) (stmts []string, rest string) {
	from := 0
	for _, t := range sqltext.Lex(text) {
		if !t.Is(";") {
			continue
		}
		if stmt := text[from:t.Pos]; !empty(stmt) {
			stmts = append(stmts, strings.TrimSpace(stmt))
		}
		from = t.End
	}
	return stmts, text[from:]
}

// empty reports whether a text has comments at most. A comment that is open
// swallows what follows, so it is not empty.
func empty(text string) bool {
	for _, t := range sqltext.Lex(text) {
		open := t.Kind == sqltext.Comment && strings.HasPrefix(text[t.Pos:], "/*") && !strings.HasSuffix(text[t.Pos:t.End], "*/")
		if t.Kind != sqltext.Comment || open {
			return false
		}
	}
	return true
}

// Reads reports whether a statement looks as if it reads. What it does is for
// the database to say: either way of running it refuses the other kind.
func Reads(sql string) bool {
	depth, first := 0, ""
	for _, t := range sqltext.Lex(sql) {
		switch {
		case t.Kind == sqltext.Comment:
		case t.Is("("):
			depth++
			if first == "" {
				first = "(" // as in (SELECT 1), which is none: let the reader say so
			}
		case t.Is(")"):
			depth--
		case t.Kind != sqltext.Word || depth > 0:
		case first == "":
			if first = strings.ToUpper(t.Text); first != "WITH" {
				return reading(first)
			}
		case t.Is("SELECT"), t.Is("VALUES"), t.Is("INSERT"), t.Is("REPLACE"), t.Is("UPDATE"), t.Is("DELETE"):
			return reading(strings.ToUpper(t.Text)) // what the tables of a WITH are for
		}
	}
	return true
}

func reading(word string) bool {
	switch word {
	case "SELECT", "VALUES", "EXPLAIN", "PRAGMA":
		return true
	}
	return false
}
