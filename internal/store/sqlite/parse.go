package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// maxSchema bounds a schema file.
const maxSchema = 1 << 20

// ParseSQL reads tables, with ids, from a schema file: CREATE TABLE and CREATE
// INDEX statements, and DROP INDEX IF EXISTS of indexes that it does not make.
// A comment before or in a CREATE TABLE, or behind it in its line, says what
// kind of table it is:
//
//	-- firebreak: owned by COLUMN
//	-- firebreak: ranked by COLUMN, COLUMN evicts
//	-- firebreak: local
//
// Without one it is shared; a local table has kind zero. An error joins a
// [schema.Refusal] for each thing that cannot be, with its line.
func ParseSQL(sql string) ([]schema.Table, error) {
	tables, errs, err := parseFiles([]SchemaFile{{SQL: sql}})
	switch {
	case err != nil:
		return nil, fmt.Errorf("schema: %w", err)
	case errs[0] != nil:
		return nil, fmt.Errorf("schema: %w", errs[0])
	}
	return tables, nil
}

// parseFiles reads files as one schema, and returns what is wrong with each.
// Tables are read first, indexes then: either may be in a file before the
// other.
func parseFiles(files []SchemaFile) ([]schema.Table, []error, error) {
	c, err := openDSN("file::memory:?mode=memory&cache=private")
	if err != nil {
		return nil, nil, err
	}
	defer c.close()
	f := &fileParser{c: c, tablesOf: map[string]string{}, made: map[string]bool{}, dropped: map[string]bool{}}
	c.c.RegisterAuthorizer(f.authorize)
	found := make([][]error, len(files))
	for _, indexes := range []bool{false, true} {
		for i, file := range files {
			f.file(file, indexes)
			found[i] = append(found[i], f.errs...)
		}
	}
	errs := make([]error, len(files))
	for i, list := range found {
		slices.SortStableFunc(list, func(a, b error) int { return lineOf(a) - lineOf(b) })
		errs[i] = errors.Join(list...)
	}
	return f.tables, errs, nil
}

func lineOf(err error) int {
	var r *schema.Refusal
	if errors.As(err, &r) {
		return r.Line
	}
	return 0
}

const byteOrderMark = "\ufeff"

func checkText(sql string) error {
	bad := func(format string, args ...any) error {
		return &schema.Refusal{Rule: schema.RuleSyntax, Why: fmt.Sprintf(format, args...)}
	}
	switch at := strings.IndexByte(sql, 0); {
	case len(sql) > maxSchema:
		return bad("file of %d bytes is over the limit of %d", len(sql), maxSchema)
	case at >= 0:
		return &schema.Refusal{Rule: schema.RuleSyntax, Line: newLines(sql).of(at), Why: "NUL byte"}
	case !utf8.ValidString(sql):
		return bad("file is not UTF-8")
	}
	return nil
}

// lineStarts tells the line of a place in a text.
type lineStarts []int

func newLines(text string) lineStarts {
	out := lineStarts{0}
	for i := range len(text) {
		if text[i] == '\n' {
			out = append(out, i+1)
		}
	}
	return out
}

func (l lineStarts) of(pos int) int {
	i, found := slices.BinarySearch(l, pos)
	if found {
		return i + 1
	}
	return i
}

// source is one statement of a file.
type source struct {
	sql    string
	pos    int             // of sql in the file
	tokens []sqltext.Token // without comments
	marks  []string
}

// is reports whether s begins with these words.
func (s source) is(words ...string) bool {
	for i, w := range words {
		if i >= len(s.tokens) || !s.tokens[i].Is(w) {
			return false
		}
	}
	return true
}

// split finds the statements of a text that begins at a place of the file.
func split(sql string, at int) []source {
	var out []source
	var s source
	last := -1 // where the last statement ended
	for _, t := range append(sqltext.Lex(sql), sqltext.Token{Kind: sqltext.Other, Text: ";", Pos: len(sql), End: len(sql)}) {
		switch {
		case t.Kind == sqltext.Comment:
			m, ok := strings.CutPrefix(strings.TrimSpace(t.Text), "firebreak:")
			if m = strings.TrimSpace(m); !ok {
				continue
			}
			if len(s.tokens) == 0 && last >= 0 && !strings.Contains(sql[last:t.Pos], "\n") {
				out[len(out)-1].marks = append(out[len(out)-1].marks, m)
			} else {
				s.marks = append(s.marks, m)
			}
		case !t.Is(";"):
			if len(s.tokens) == 0 {
				s.pos = at + t.Pos
			}
			s.tokens = append(s.tokens, t)
		case len(s.tokens) > 0 && (!s.isTrigger() || s.tokens[len(s.tokens)-1].Is("END") || t.Pos == len(sql)):
			s.sql = sql[s.pos-at : t.Pos]
			for i := range s.tokens {
				s.tokens[i].Pos += at - s.pos
				s.tokens[i].End += at - s.pos
			}
			out = append(out, s)
			s, last = source{}, t.End
		}
	}
	return out
}

func (s source) isIndex() bool {
	return s.is("CREATE", "INDEX") || s.is("CREATE", "UNIQUE", "INDEX") || s.is("DROP", "INDEX")
}

func (s source) isTrigger() bool {
	return s.is("CREATE", "TRIGGER") || s.is("CREATE", "TEMP", "TRIGGER") || s.is("CREATE", "TEMPORARY", "TRIGGER")
}

// fileParser reads files. SQLite itself, in a database in memory, says
// whether a statement is right; the tokens say what it does not tell.
type fileParser struct {
	c        *conn
	tables   []schema.Table
	tablesOf map[string]string // the file of each table, of those that are refused too
	made     map[string]bool   // indexes
	dropped  map[string]bool   // indexes
	locked   bool              // a statement of a file runs

	// Of the file that is read.
	name  string
	lines lineStarts
	errs  []error
}

// file reads either the indexes of a file or all else.
func (f *fileParser) file(file SchemaFile, indexes bool) {
	f.name, f.lines, f.errs = file.Name, nil, nil
	if err := checkText(file.SQL); err != nil {
		if !indexes {
			f.errs = append(f.errs, err)
		}
		return
	}
	f.lines = newLines(file.SQL)
	text := strings.TrimPrefix(file.SQL, byteOrderMark)
	for _, s := range split(text, len(file.SQL)-len(text)) {
		if s.isIndex() == indexes {
			f.statement(s)
		}
	}
}

// authorize keeps a statement of the file to making something.
func (f *fileParser) authorize(op int, _, _, _ string) int {
	switch op {
	case opSelect, opAttach, opDetach, opPragma, opTransaction, opSavepoint:
		if f.locked {
			return sqlite3.SQLITE_DENY
		}
	}
	return sqlite3.SQLITE_OK
}

// refuse notes why something at a place of the file cannot be.
func (f *fileParser) refuse(pos int, table string, rule schema.Rule, do, why string, args ...any) {
	f.errs = append(f.errs, &schema.Refusal{Rule: rule, Line: f.lines.of(pos), Table: table, Why: fmt.Sprintf(why, args...), Do: do})
}

func (f *fileParser) statement(s source) {
	switch {
	case s.is("CREATE", "TABLE"):
		f.table(s)
	case s.is("CREATE", "INDEX"), s.is("CREATE", "UNIQUE", "INDEX"):
		f.index(s)
	case s.is("DROP", "INDEX"):
		f.dropIndex(s)
	case s.is("CREATE", "VIEW"), s.is("CREATE", "TEMP", "VIEW"), s.is("CREATE", "TEMPORARY", "VIEW"):
		f.refuse(s.pos, "", schema.RuleView, "put its SELECT into the query", "CREATE VIEW is not supported")
	case s.isTrigger():
		f.refuse(s.pos, "", schema.RuleTrigger, "write what it would do in the same transaction", "CREATE TRIGGER is not supported")
	default:
		do := "a schema file holds CREATE TABLE, CREATE INDEX and DROP INDEX IF EXISTS"
		if s.is("INSERT") || s.is("REPLACE") || s.is("UPDATE") || s.is("DELETE") || s.is("WITH") {
			do = "write rows through the API once the schema is loaded; " + do
		}
		f.refuse(s.pos, "", schema.RuleStatement, do, "%s is not allowed in a schema file", firstWords(s.tokens))
	}
	if len(s.marks) > 0 && !s.is("CREATE", "TABLE") {
		f.refuse(s.pos, "", schema.RuleMark, "put it before a CREATE TABLE", "comment %q stands at no table", "firebreak: "+s.marks[0])
	}
}

func firstWords(ts []sqltext.Token) string {
	var out []string
	for _, t := range ts[:min(2, len(ts))] {
		if t.Kind == sqltext.Word {
			out = append(out, schema.Upper(t.Text))
		}
	}
	if len(out) == 0 {
		return fmt.Sprintf("%.40q", ts[0].Text)
	}
	if !slices.Contains([]string{"CREATE", "DROP", "ALTER"}, out[0]) {
		out = out[:1]
	}
	return strings.Join(out, " ")
}

// mark applies what the comments of a table say.
func (f *fileParser) mark(t *schema.Table, s source) {
	bad := func(rule schema.Rule, do, why string, args ...any) { f.refuse(s.pos, t.Name, rule, do, why, args...) }
	if len(s.marks) > 1 {
		bad(schema.RuleMark, "keep one", "has %d firebreak comments", len(s.marks))
	}
	if len(s.marks) == 0 {
		return
	}
	words := strings.Fields(strings.ReplaceAll(schema.Lower(s.marks[0]), ",", " "))
	switch {
	case len(words) == 1 && words[0] == "local":
		t.Kind = 0
	case len(words) == 1 && words[0] == "shared":
	case len(words) == 3 && words[0] == "owned" && words[1] == "by":
		if t.Kind = record.Owned; len(t.Key) == 0 || t.Key[0].Name != words[2] {
			bad(schema.RuleOwner, fmt.Sprintf("write PRIMARY KEY (%s, …)", words[2]), "owner column %s is not the first of the key", words[2])
		}
	case len(words) >= 3 && words[0] == "ranked" && words[1] == "by":
		t.Kind, t.RankBy = record.Ranked, words[2:]
		if n := len(t.RankBy) - 1; t.RankBy[n] == "evicts" {
			t.RankBy, t.Evicts = t.RankBy[:n], true
		}
	default:
		bad(schema.RuleMark, "write `owned by COLUMN`, `local`, or nothing for a shared table", "comment %q is not understood", "firebreak: "+s.marks[0])
	}
}
