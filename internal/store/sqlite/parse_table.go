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

// table reads one CREATE TABLE.
func (f *fileParser) table(s source) {
	b, ok := readBody(s)
	if !ok {
		f.refuse(s.pos, "", schema.RuleStatement, "list its columns", "CREATE TABLE AS is not allowed in a schema file")
		return
	}
	made := nameAt(s.tokens[2:])
	switch other, twice := f.tablesOf[made]; {
	case twice && other != f.name:
		f.refuse(s.pos, made, schema.RuleName, "keep one", "it is in %s too", other)
		return
	case twice:
		f.refuse(s.pos, made, schema.RuleName, "keep one", "it is there twice")
		return
	}
	f.tablesOf[made] = f.name
	name, err := f.make(s.sql, "table")
	if err != nil || name == "" {
		f.refuse(s.pos, "", schema.RuleSyntax, "", "%v", cmpOr(err, errors.New("it makes no table")))
		return
	}
	t := schema.Table{Name: schema.Lower(name), Kind: record.Shared, Checks: b.checks, Strict: b.strict, WithoutRowID: b.noRowID}
	if t.Spelled = name; t.Name == name {
		t.Spelled = ""
	}
	if slices.Equal(s.marks, []string{"local"}) {
		f.localTable(t, b)
		return
	}
	before := len(f.errs)
	f.columns(name, &t, b)
	f.mark(&t, s)
	for _, u := range b.uniques {
		if !u.implied(t.Key) {
			b.faults = append(b.faults, bodyFault{u.pos, schema.RuleUnique, "UNIQUE beyond the primary key is not supported", "two nodes could each take the value; make it the key"})
		}
	}
	for _, x := range b.faults {
		f.refuse(s.pos+x.pos, t.Name, x.rule, x.do, "%s", x.why)
	}
	if len(f.errs) == before {
		t = t.WithIDs()
		for _, r := range tableFaults(t, true) {
			r.Line = f.lines.of(s.pos)
			f.errs = append(f.errs, r)
		}
	}
	f.tables = append(f.tables, t)
}

// nameAt is the name, as SQLite compares names, that stands behind CREATE TABLE,
// CREATE INDEX or ON.
func nameAt(ts []sqltext.Token) string {
	if len(ts) > 2 && ts[0].Is("IF") && ts[1].Is("NOT") && ts[2].Is("EXISTS") {
		ts = ts[3:]
	}
	if len(ts) > 2 && ts[1].Is(".") {
		ts = ts[2:]
	}
	if len(ts) == 0 {
		return ""
	}
	return schema.Lower(ts[0].Ident())
}

// make runs a statement and returns the name of what it made, if anything.
func (f *fileParser) make(sql, what string) (string, error) {
	const last = `SELECT name FROM sqlite_schema WHERE type = ? AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY rowid DESC LIMIT 1`
	const count = `SELECT count(*) FROM sqlite_schema WHERE type = ? AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`
	before, err := f.c.row(count, what)
	if err != nil {
		return "", err
	}
	f.locked = true
	err = f.c.script(sql)
	if f.locked = false; err != nil {
		return "", err
	}
	after, err := f.c.row(count, what)
	if err != nil || after[0].Int == before[0].Int {
		return "", err
	}
	name, err := f.c.row(last, what)
	if err != nil {
		return "", err
	}
	return name[0].Data, nil
}

// localTable keeps the statement as it is: whatever SQLite takes may be there.
func (f *fileParser) localTable(t schema.Table, b *body) {
	t.Kind, t.Checks, t.Local = 0, nil, []string{b.sql}
	err := f.c.rows(context.Background(), `SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?)`, []driver.Value{t.Name}, func(r []record.Value) error {
		c := schema.Column{Name: schema.Lower(r[0].Data), Type: schema.Upper(r[1].Data), NotNull: r[2].Int != 0}
		switch t.Order = append(t.Order, c.Name); {
		case r[4].Int != 0:
			t.Generated = append(t.Generated, schema.Generated{Name: c.Name, Type: c.Type})
		case r[3].Int > 0:
			t.Key = append(t.Key, c)
		default:
			t.Columns = append(t.Columns, c)
		}
		return nil
	})
	if err != nil {
		f.refuse(b.pos, t.Name, schema.RuleSyntax, "", "%v", err)
	}
	if reservedName(t.Name) {
		f.refuse(b.pos, t.Name, schema.RuleName, nameAdvice, "the name is reserved")
	}
	f.tables = append(f.tables, t)
}

// columns reads the columns of t as SQLite has understood them.
func (f *fileParser) columns(name string, t *schema.Table, b *body) {
	var rows [][]record.Value
	err := f.c.rows(context.Background(), `SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)`, []driver.Value{name}, func(r []record.Value) error {
		rows = append(rows, r)
		return nil
	})
	known := func(r []record.Value, c bodyColumn) bool { return r[0].Data == c.name }
	if err == nil && !slices.EqualFunc(rows, b.columns, known) {
		err = errors.New("its columns are not understood")
	}
	if err != nil {
		f.refuse(b.pos, t.Name, schema.RuleSyntax, "", "%v", err)
		return
	}
	keys := map[int64]schema.Column{} // by place in the key, from 1
	for i, r := range rows {
		f.column(t, r, b, b.columns[i], keys)
	}
	for place := range len(keys) {
		t.Key = append(t.Key, keys[int64(place+1)])
	}
	if plain := (schema.Table{Key: t.Key, Columns: t.Columns, Generated: t.Generated}); slices.Equal(plain.Shown(), t.Order) {
		t.Order = nil
	}
}

// column adds one column to t, or to the keys.
func (f *fileParser) column(t *schema.Table, r []record.Value, b *body, from bodyColumn, keys map[int64]schema.Column) {
	pos, pk, hidden := b.pos+from.pos, r[4].Int, r[5].Int
	c := schema.Column{Name: schema.Lower(from.name), Type: schema.Upper(r[1].Data), NotNull: r[2].Int != 0}
	if from.name != c.Name {
		c.Spelled = from.name
	}
	if from.collate != "BINARY" {
		c.Collate = from.collate
	}
	t.Order = append(t.Order, c.Name)
	if from.quoted || !writableType(c.Type) {
		f.refuse(pos, t.Name, schema.RuleColumnType, "write it without quotes and signs", "column %s: type %q is not supported", c.Name, c.Type)
	}
	if d := r[3]; d.Type == record.Text && hidden == 0 {
		f.defaultOf(&c, d.Data, t, pos)
	}
	switch {
	case hidden != 0:
		t.Generated = append(t.Generated, schema.Generated{
			Name: c.Name, Spelled: c.Spelled, Type: c.Type, Expr: from.expr, Stored: hidden == 3, NotNull: c.NotNull, Collate: c.Collate,
		})
	case pk > 0:
		f.keyColumn(&c, t, pos)
		keys[pk] = c
	default:
		t.Columns = append(t.Columns, c)
	}
}

func cmpOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// writableType reports whether a type can stand in SQL as it is.
func writableType(typ string) bool {
	for _, t := range sqltext.Lex(typ) {
		if t.Kind != sqltext.Word && t.Kind != sqltext.Number && !t.Is("(") && !t.Is(")") && !t.Is(",") && !t.Is("-") && !t.Is("+") || isOneOf(t, columnWords) {
			return false
		}
	}
	return true
}

// keyColumn refuses what a column of the key cannot be.
func (f *fileParser) keyColumn(c *schema.Column, t *schema.Table, pos int) {
	switch {
	case c.NotNull, t.Strict && c.Type != "INTEGER", t.WithoutRowID:
	case c.Type == "INTEGER":
		f.refuse(pos, t.Name, schema.RuleChosenKey, fmt.Sprintf("write %s INTEGER NOT NULL and give the key in every INSERT", c.Name),
			"key column %s may be NULL, and SQLite would choose the key", c.Name)
	default:
		f.refuse(pos, t.Name, schema.RuleNullableKey, fmt.Sprintf("write %s NOT NULL", strings.TrimSpace(c.Name+" "+c.Type)),
			"key column %s may be NULL", c.Name)
	}
	c.NotNull = true
	if c.Collate != "" {
		f.refuse(pos, t.Name, schema.RuleKeyCollation, collationAdvice, "key column %s: COLLATE %s is not supported in a key", c.Name, c.Collate)
	}
}

// defaultOf tells a constant from an expression, and takes of a constant what
// the column makes of it.
func (f *fileParser) defaultOf(c *schema.Column, written string, t *schema.Table, pos int) {
	var ts []sqltext.Token
	for _, x := range sqltext.Lex(written) {
		if x.Kind != sqltext.Comment {
			ts = append(ts, x)
		}
	}
	last := ts[len(ts)-1]
	signed := len(ts) == 2 && (ts[0].Is("-") || ts[0].Is("+")) && last.Kind == sqltext.Number
	computed := last.Is("CURRENT_TIME") || last.Is("CURRENT_DATE") || last.Is("CURRENT_TIMESTAMP")
	if !signed && (len(ts) != 1 || last.Kind == sqltext.Other || last.Kind == sqltext.Parameter || computed) {
		c.Expr = text(ts)
		return
	}
	strict := ""
	if t.Strict {
		strict = " STRICT"
	}
	err := f.c.script("DROP TABLE IF EXISTS temp.probe; CREATE TEMP TABLE probe (x " + c.Type + " DEFAULT " + written + ")" + strict + "; INSERT INTO temp.probe DEFAULT VALUES")
	var v []record.Value
	if err == nil {
		v, err = f.c.row("SELECT x FROM temp.probe")
	}
	if err != nil {
		f.refuse(pos, t.Name, schema.RuleDefault, "", "column %s: default %s: %v", c.Name, written, err)
		return
	}
	c.Default = v[0]
}
