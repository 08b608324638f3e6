package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// createTables makes what is missing, and returns the tables that have got
// columns which had come later than they.
func createTables(c *conn, tables []*table, views []string) (wider []*table, err error) {
	for _, sql := range engineTables {
		if err := c.script(sql); err != nil {
			return nil, err
		}
	}
	for _, t := range tables {
		added, err := createTable(c, t)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.Name, err)
		}
		if added {
			wider = append(wider, t)
		}
	}
	return wider, createViews(c, append([]string{changesView(tables)}, views...))
}

// createTable makes t what it is to be: the table, its columns, indexes, books
// and triggers. It reports whether it added stored columns to a table that was
// there.
func createTable(c *conn, t *table) (added bool, err error) {
	have, err := columnsIn(c, t.Name)
	if err != nil {
		return false, err
	}
	if t.Kind == 0 {
		return false, createLocal(c, t, have)
	}
	if len(have) == 0 {
		err = c.script(t.SQL())
	} else {
		added, err = alterTable(c, t, have)
	}
	if err == nil {
		err = createIndexes(c, t)
	}
	if err != nil {
		return added, err
	}
	// Triggers name the columns: make them anew.
	for _, op := range []string{"insert", "update", "delete"} {
		if err := c.script("DROP TRIGGER IF EXISTS " + schema.Quote("_fb_on_"+op+"_"+t.Name)); err != nil {
			return added, err
		}
	}
	for _, sql := range t.ddl() {
		if err := c.script(sql); err != nil {
			return added, err
		}
	}
	return added, nil
}

// columnsIn returns the types of all columns of a table of the file, by name.
func columnsIn(c *conn, table string) (map[string]string, error) {
	have := map[string]string{}
	err := c.rows(context.Background(), `SELECT name, type FROM pragma_table_xinfo(?)`, []driver.Value{table}, func(r []record.Value) error {
		have[schema.Lower(r[0].Data)] = schema.Upper(r[1].Data)
		return nil
	})
	return have, err
}

// isReplicated reports whether a table of the file has books.
func isReplicated(c *conn, table string) (bool, error) {
	r, err := c.row(`SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?`, "_fb_rows_"+table)
	return err == nil && r[0].Int > 0, err
}

// createLocal runs the statements that make a local table, as far as what they
// make is missing.
func createLocal(c *conn, t *table, have map[string]string) error {
	if len(have) == 0 {
		if len(t.Local) == 0 {
			return fmt.Errorf("no statement says how to make it")
		}
		for _, sql := range t.Local {
			if err := c.script(sql); err != nil {
				return err
			}
		}
		return nil
	}
	if was, err := isReplicated(c, t.Name); err != nil {
		return err
	} else if was {
		return fmt.Errorf("it is replicated in the file, and local in the schema; give the local one another name")
	}
	for _, n := range t.Shown() {
		if _, ok := have[n]; !ok || len(have) != len(t.Shown()) {
			return fmt.Errorf("the local table in the file has other columns than the schema; DROP TABLE %s by SQL, or give the new one another name", t.Name)
		}
	}
	for _, sql := range t.Local[min(1, len(t.Local)):] {
		if err := c.script(ifNotExists(sql)); err != nil {
			return err
		}
	}
	return nil
}

// ifNotExists makes CREATE [UNIQUE] INDEX harmless if it is there.
func ifNotExists(sql string) string {
	for _, t := range sqltext.Lex(sql) {
		switch {
		case t.Is("IF"):
			return sql
		case t.Is("INDEX"):
			return sql[:t.End] + " IF NOT EXISTS " + sql[t.End:]
		}
	}
	return sql
}

// alterTable adds the columns that a table of the file has not.
func alterTable(c *conn, t *table, have map[string]string) (added bool, err error) {
	if was, err := isReplicated(c, t.Name); err != nil || !was {
		return false, cmpOr(err, fmt.Errorf("a local table has the name; DROP TABLE %s by SQL, or give this one another name", t.Name))
	}
	for name := range have {
		if !slices.Contains(t.Shown(), name) {
			return false, fmt.Errorf("the file has column %s, the schema has not", name)
		}
	}
	for _, k := range slices.Concat(t.Key, t.Columns) {
		got, ok := have[k.Name]
		if ok && got != k.Type {
			return false, fmt.Errorf("column %s is %s in the file and %s in the schema", k.Name, got, k.Type)
		}
		if ok {
			continue
		}
		if k.Expr != "" || k.NotNull && k.Default.Type == record.Null || slices.ContainsFunc(t.Key, func(x schema.Column) bool { return x.Name == k.Name }) {
			return false, fmt.Errorf("column %s cannot be added: it needs a constant default or no NOT NULL", k.Name)
		}
		if err := addColumn(c, t, k.SQL()); err != nil {
			return added, err
		}
		added = true
	}
	for _, g := range t.Generated {
		if _, ok := have[g.Name]; ok {
			continue
		}
		if g.Stored {
			return added, fmt.Errorf("generated column %s cannot be added STORED; make it VIRTUAL", g.Name)
		}
		if err := addColumn(c, t, g.SQL()); err != nil {
			return added, err
		}
	}
	return added, nil
}

func addColumn(c *conn, t *table, def string) error {
	return c.script(fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s", schema.Quote(t.Name), def))
}

// createViews drops every view and makes those of now.
func createViews(c *conn, views []string) error {
	var old []string
	err := c.rows(context.Background(), `SELECT name FROM sqlite_schema WHERE type = 'view'`, nil, func(r []record.Value) error {
		old = append(old, r[0].Data)
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := c.script("DROP VIEW " + schema.Quote(name)); err != nil {
			return err
		}
	}
	for _, v := range views {
		if err := c.script(v); err != nil {
			return fmt.Errorf("view: %w", err)
		}
	}
	return nil
}

// changesView is the view _fb_changes over the books of tables: for every row
// that was ever there, the change of it that stands.
func changesView(tables []*table) string {
	const groups = 50 // terms of one compound SELECT, which are bounded
	var parts, all []string
	for _, t := range tables {
		if t.Kind == 0 || t.internal() {
			continue
		}
		key := make([]string, len(t.Key))
		for i, k := range t.Key {
			key[i] = "quote(r." + schema.Quote(k.Name) + ")"
		}
		parts = append(parts, fmt.Sprintf(`SELECT w.node || '/' || w.boot || '/' || printf('%%016x', w.bits) AS writer, r._fb_v AS version, r._fb_wall AS wall, `+
			`%s AS "table", %s AS key, r._fb_del AS deleted FROM %s r JOIN _fb_writers w ON w.id = r._fb_w`,
			schema.Literal(record.Of(t.Name)), strings.Join(key, " || ', ' || "), t.side))
	}
	for len(parts) > 0 {
		n := min(groups, len(parts))
		all = append(all, "SELECT * FROM ("+strings.Join(parts[:n], " UNION ALL ")+")")
		parts = parts[n:]
	}
	if len(all) == 0 {
		all = []string{"SELECT '' AS writer, 0 AS version, 0 AS wall, '' AS \"table\", '' AS key, 0 AS deleted WHERE 0"}
	}
	return "CREATE VIEW _fb_changes (writer, version, wall, \"table\", key, deleted) AS " + strings.Join(all, " UNION ALL ")
}
