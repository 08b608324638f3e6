package sqltext

import "strings"

// Mentions reports whether a name stands in a piece of SQL, in any case: of a
// column, or of something else that is called so.
func Mentions(sql, name string) bool {
	for _, t := range Lex(sql) {
		if (t.Kind == Word || t.Kind == Name) && strings.EqualFold(t.Ident(), name) {
			return true
		}
	}
	return false
}
