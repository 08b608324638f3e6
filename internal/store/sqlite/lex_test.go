package sqlite

import (
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// A statement that is let through holds no end of one outside of quotes and
// comments. (What SQLite would see differently is never run: only the first
// statement of a text is prepared.)
func FuzzSingleStatement(f *testing.F) {
	for _, s := range []string{
		"SELECT 1", "SELECT ';' -- ;\n", "/* ; */ SELECT \"a;\", [b;], `c;` ; -- end", "SELECT x';' ; SELECT 2",
		"SELECT 'it''s;'", "SELECT 1 /* open", "SELECT 'open ; SELECT 2", ";;", "SELECT 1;;", "SELECT 1e5.x;", "select $a::b(;)",
	} {
		f.Add(s)
	}
	c, err := openDSN("file::memory:?mode=memory&cache=private")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.close() })
	f.Fuzz(func(t *testing.T, sql string) {
		stmt, keyword, err := sqltext.Single(sql)
		if err != nil || !strings.HasPrefix(keyword, "SELECT") {
			return
		}
		s, err := c.c.Prepare(stmt)
		if err != nil {
			return
		}
		defer s.Close()
		for _, tok := range sqltext.Lex(stmt) {
			if tok.Is(";") {
				t.Errorf("%q holds the end of a statement", stmt)
			}
		}
	})
}

func TestSingleFindsTheEnd(t *testing.T) {
	for in, want := range map[string]string{
		"SELECT 1":                          "SELECT 1",
		"SELECT 1;":                         "SELECT 1",
		"SELECT ';' ; -- done; really":      "SELECT ';' ",
		"/* a; */ SELECT [;], \";\", `;` ;": "/* a; */ SELECT [;], \";\", `;` ",
		"SELECT 'it''s;';;":                 "SELECT 'it''s;'",
	} {
		if got, keyword, err := sqltext.Single(in); err != nil || got != want || keyword != "SELECT" {
			t.Errorf("%q: %q, %q, %v", in, got, keyword, err)
		}
	}
}
