package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// ParseSQL reads tables, with ids, from CREATE TABLE statements. A comment
// before or in a statement says what kind of table it is:
//
//	-- firebreak: owned by COLUMN
//	-- firebreak: ranked by COLUMN, COLUMN evicts
//	-- firebreak: local
//
// Without one it is shared; a local table has kind zero. What a replicated
// table cannot have is refused by name.
func ParseSQL(sql string) ([]schema.Table, error) {
	if strings.IndexByte(sql, 0) >= 0 {
		return nil, errors.New("schema: NUL byte")
	}
	c, err := openDSN("file::memory:?mode=memory&cache=private")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	defer c.close()
	newGuard(c, false)
	var out []schema.Table
	for _, s := range split(sql) {
		t, err := parseTable(c, s)
		if err != nil {
			return nil, fmt.Errorf("schema: line %d: %w", 1+strings.Count(sql[:s.pos], "\n"), err)
		}
		out = append(out, t)
	}
	return out, nil
}

// source is one statement of a file.
type source struct {
	sql    string
	pos    int
	tokens []sqltext.Token // without comments
	marks  []string
}

func split(sql string) []source {
	var out []source
	var s source
	for _, t := range append(sqltext.Lex(sql), sqltext.Token{Kind: sqltext.Other, Text: ";", Pos: len(sql)}) {
		switch {
		case t.Kind == sqltext.Comment:
			if m, ok := strings.CutPrefix(strings.TrimSpace(t.Text), "firebreak:"); ok {
				s.marks = append(s.marks, strings.TrimSpace(m))
			}
		case !t.Is(";"):
			if len(s.tokens) == 0 {
				s.pos = t.Pos
			}
			s.tokens = append(s.tokens, t)
		case len(s.tokens) > 0:
			s.sql = sql[s.pos:t.Pos]
			out = append(out, s)
			s = source{}
		}
	}
	return out
}

// refusedWords are what a replicated table cannot have.
var refusedWords = [...]string{"AUTOINCREMENT", "COLLATE", "REFERENCES", "UNIQUE", "GENERATED", "STRICT", "TEMP", "TEMPORARY", "VIRTUAL", "SELECT"}

func parseTable(c *conn, s source) (schema.Table, error) {
	if len(s.tokens) < 3 || !s.tokens[0].Is("CREATE") || !s.tokens[1].Is("TABLE") {
		return schema.Table{}, fmt.Errorf("%s: only CREATE TABLE is supported", firstWords(s.tokens))
	}
	for _, t := range s.tokens {
		for _, w := range refusedWords {
			if t.Kind == sqltext.Word && t.Is(w) {
				return schema.Table{}, fmt.Errorf("%s is not supported", w)
			}
		}
	}
	before, err := tableNames(c)
	if err != nil {
		return schema.Table{}, err
	}
	if err := c.script(s.sql); err != nil {
		return schema.Table{}, err
	}
	after, err := tableNames(c)
	if err != nil {
		return schema.Table{}, err
	}
	name := ""
	for _, n := range after {
		if !slices.Contains(before, n) {
			name = n
		}
	}
	if name == "" {
		return schema.Table{}, fmt.Errorf("table is there twice")
	}
	t := schema.Table{Name: strings.ToLower(name), Kind: record.Shared, Checks: checks(s)}
	if err := readColumns(c, name, &t); err != nil {
		return schema.Table{}, err
	}
	if err := mark(&t, s.marks); err != nil {
		return schema.Table{}, fmt.Errorf("table %s: %w", t.Name, err)
	}
	if t.Kind != 0 {
		t = t.WithIDs()
	}
	return t, checkTable(t)
}

func firstWords(ts []sqltext.Token) string {
	var out []string
	for _, t := range ts[:min(2, len(ts))] {
		out = append(out, strings.ToUpper(t.Text))
	}
	return strings.Join(out, " ")
}

func tableNames(c *conn) ([]string, error) {
	var out []string
	err := c.rows(context.Background(), `SELECT name FROM sqlite_schema WHERE type = 'table'`, nil, func(r []record.Value) error {
		out = append(out, r[0].Data)
		return nil
	})
	return out, err
}

func readColumns(c *conn, name string, t *schema.Table) error {
	type keyed struct {
		schema.Column
		place int64
	}
	var keys []keyed
	err := c.rows(context.Background(), `SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?)`,
		[]driver.Value{name}, func(r []record.Value) error {
			col := schema.Column{Name: strings.ToLower(r[0].Data), Type: strings.ToUpper(r[1].Data), NotNull: r[2].Int != 0}
			if d := r[3]; d.Type == record.Text {
				var err error
				if col.Default, col.Expr, err = parseDefault(c, d.Data); err != nil {
					return fmt.Errorf("column %s: default %s: %w", col.Name, d.Data, err)
				}
			}
			if pk := r[4].Int; pk > 0 {
				col.NotNull = true
				keys = append(keys, keyed{col, pk})
				return nil
			}
			t.Columns = append(t.Columns, col)
			return nil
		})
	slices.SortFunc(keys, func(a, b keyed) int { return int(a.place - b.place) })
	for _, k := range keys {
		t.Key = append(t.Key, k.Column)
	}
	return err
}

// parseDefault tells a constant from an expression.
func parseDefault(c *conn, text string) (record.Value, string, error) {
	var ts []sqltext.Token
	for _, t := range sqltext.Lex(text) {
		if t.Kind != sqltext.Comment {
			ts = append(ts, t)
		}
	}
	last := ts[len(ts)-1]
	signed := len(ts) == 2 && (ts[0].Is("-") || ts[0].Is("+")) && last.Kind == sqltext.Number
	constant := len(ts) == 1 && (last.Kind == sqltext.Number || last.Kind == sqltext.String || last.Is("NULL") || last.Is("TRUE") || last.Is("FALSE"))
	if !signed && !constant {
		return record.Value{}, text, nil
	}
	v, err := c.row("SELECT " + text)
	if err != nil {
		return record.Value{}, "", err
	}
	return v[0], "", nil
}

// checks returns the expressions of the CHECK constraints, of columns and of
// the table alike.
func checks(s source) []string {
	var out []string
	depth := 0
	for i := 0; i < len(s.tokens); i++ {
		t := s.tokens[i]
		switch {
		case t.Is("("):
			depth++
		case t.Is(")"):
			depth--
		case depth == 1 && t.Is("CHECK") && i+1 < len(s.tokens) && s.tokens[i+1].Is("("):
			from, d := s.tokens[i+1].End-s.pos, 0
			for i++; i < len(s.tokens); i++ {
				if s.tokens[i].Is("(") {
					d++
				} else if s.tokens[i].Is(")") {
					d--
				}
				if d == 0 {
					break
				}
			}
			if i < len(s.tokens) {
				out = append(out, strings.TrimSpace(s.sql[from:s.tokens[i].Pos-s.pos]))
			}
		}
	}
	return out
}

// mark applies what the comments of a table say.
func mark(t *schema.Table, marks []string) error {
	if len(marks) > 1 {
		return fmt.Errorf("has %d firebreak comments, one is allowed", len(marks))
	}
	if len(marks) == 0 {
		return nil
	}
	words := strings.Fields(strings.ReplaceAll(strings.ToLower(marks[0]), ",", " "))
	switch {
	case len(words) == 1 && words[0] == "local":
		t.Kind = 0
	case len(words) == 1 && words[0] == "shared":
	case len(words) == 3 && words[0] == "owned" && words[1] == "by":
		if len(t.Key) == 0 || t.Key[0].Name != words[2] {
			return fmt.Errorf("owner column %s is not the first of the key", words[2])
		}
		t.Kind = record.Owned
	case len(words) >= 3 && words[0] == "ranked" && words[1] == "by":
		t.Kind, t.RankBy = record.Ranked, words[2:]
		if n := len(t.RankBy) - 1; t.RankBy[n] == "evicts" {
			t.RankBy, t.Evicts = t.RankBy[:n], true
		}
	default:
		return fmt.Errorf("comment %q is not understood", marks[0])
	}
	return nil
}
