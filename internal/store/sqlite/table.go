package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

const (
	maxNode    = 63
	maxColumns = 200
	reserved   = "_fb_"
)

// table is a user's table with the statements that the engine runs on it.
// Kind zero is a local table: it has no bookkeeping.
type table struct {
	schema.Table
	side    string     // bookkeeping table beside it, quoted
	columns []column   // beyond the key, by id
	keys    []affinity // of the key
	rankAt  []int      // places of the rank columns in a row
	bootAt  int        // place of the boot in a row, if it evicts

	getRow     string // row by key
	getSide    string // bookkeeping by key
	insert     string // row
	update     string // columns, then key
	remove     string // row by key
	putSide    string // bookkeeping, whole
	removeSide string // bookkeeping by key
	upsert     string // row, whole
	replace    string // row, whole; empty if other indexes than the key's are there
}

// sideColumns are what the bookkeeping has beyond the key.
const sideColumns = `_fb_w, _fb_v, _fb_wall, _fb_ord, _fb_del, _fb_hash, _fb_more`

// Places in a row that begins with sideColumns.
const (
	sideWriter = iota
	sideVersion
	sideWall
	sideOrder
	sideDeleted
	sideHash
	sideMore
	sideWidth
)

func checkTable(t schema.Table) error {
	for _, n := range append(t.Names(), t.Name) {
		l := strings.ToLower(n)
		switch {
		case n == "" || n != l:
			return fmt.Errorf("table %s: name %q is not in lower case", t.Name, n)
		case strings.HasPrefix(l, reserved) || strings.HasPrefix(l, "sqlite_"):
			return fmt.Errorf("table %s: name %q is reserved", t.Name, n)
		}
	}
	switch {
	case len(t.Key) == 0:
		return fmt.Errorf("table %s: has no primary key", t.Name)
	case t.Width() > maxColumns:
		return fmt.Errorf("table %s: %d columns are over the cap of %d", t.Name, t.Width(), maxColumns)
	case t.Kind > record.Ranked:
		return fmt.Errorf("table %s: unknown %v", t.Name, t.Kind)
	case t.Kind != 0 && t.ID == 0:
		return fmt.Errorf("table %s: has no id", t.Name)
	case t.Kind == record.Owned && affinityOf(t.Key[0].Type) != affinityText:
		return fmt.Errorf("table %s: owner column %s is not TEXT", t.Name, t.Key[0].Name)
	case t.Kind == record.Ranked && len(t.RankBy) == 0:
		return fmt.Errorf("table %s: ranked by nothing", t.Name)
	case t.Evicts && (t.Kind != record.Ranked || t.Index("boot") < len(t.Key)):
		return fmt.Errorf("table %s: a table that evicts is ranked, its key begins with the node, and it has a column boot", t.Name)
	}
	for _, k := range t.Key {
		if affinityOf(k.Type) == affinityReal {
			return fmt.Errorf("table %s: key column %s is REAL: 1 and 1.0 would be one key", t.Name, k.Name)
		}
	}
	for _, n := range t.RankBy {
		if i := t.Index(n); i < 0 || i >= len(t.Key) && !t.Columns[i-len(t.Key)].NotNull {
			return fmt.Errorf("table %s: rank column %s is missing or may be NULL", t.Name, n)
		}
	}
	return nil
}

func newTable(s schema.Table) *table {
	t := &table{Table: s, side: schema.Quote("_fb_rows_" + s.Name), columns: columnsOf(s), bootAt: s.Index("boot")}
	for _, k := range s.Key {
		t.keys = append(t.keys, affinityOf(k.Type))
	}
	for _, n := range s.RankBy {
		t.rankAt = append(t.rankAt, s.Index(n))
	}
	name, cols := schema.Quote(s.Name), quoteAll(s.Names())
	key, rest := cols[:len(s.Key)], cols[len(s.Key):]
	where := equal(key, "", " AND ")
	t.getRow = fmt.Sprintf("SELECT %s FROM %s WHERE %s", list(cols), name, where)
	t.insert = fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", name, list(cols), marks(len(cols)))
	t.upsert = upsertSQL(s)
	t.replace = fmt.Sprintf("INSERT OR REPLACE INTO %s (%s) VALUES (%s)", name, list(cols), marks(len(cols)))
	t.remove = fmt.Sprintf("DELETE FROM %s WHERE %s", name, where)
	if len(rest) > 0 {
		t.update = fmt.Sprintf("UPDATE %s SET %s WHERE %s", name, equal(rest, "", ", "), where)
	}
	if s.Kind == 0 {
		return t
	}
	t.getSide = fmt.Sprintf("SELECT %s FROM %s WHERE %s", sideColumns, t.side, where)
	t.putSide = fmt.Sprintf("INSERT OR REPLACE INTO %s (%s, %s) VALUES (%s)", t.side, sideColumns, list(key), marks(sideWidth+len(key)))
	t.removeSide = fmt.Sprintf("DELETE FROM %s WHERE %s", t.side, where)
	return t
}

// scan returns a SELECT of rows in key order whose first n key columns are
// given, each with its bookkeeping before it if side is set.
func (t *table) scan(n int, side bool) string {
	cols := quoteAll(t.Names())
	key := cols[:len(t.Key)]
	if !side {
		return fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s", list(cols), schema.Quote(t.Name), whereKey(key[:n], ""), list(key))
	}
	on := make([]string, len(key))
	for i, k := range key {
		on[i] = fmt.Sprintf("t.%s = r.%s", k, k)
	}
	return fmt.Sprintf("SELECT %s, %s FROM %s t CROSS JOIN %s r ON %s%s ORDER BY %s", sideColumns, list(prefix("t.", cols)),
		schema.Quote(t.Name), t.side, strings.Join(on, " AND "), whereKey(key[:n], "t."), list(prefix("t.", key)))
}

func whereKey(key []string, p string) string {
	if len(key) == 0 {
		return ""
	}
	return " WHERE " + equal(key, p, " AND ")
}

// ddl is what makes the bookkeeping beside t, and the triggers that tell our
// connection of changes by SQL. A connection without the functions they call
// cannot write the table at all.
func (t *table) ddl() []string {
	name := schema.Quote(t.Name)
	keyDefs := make([]string, len(t.Key))
	keys := make([]string, len(t.Key))
	for i, k := range t.Key {
		keys[i] = schema.Quote(k.Name)
		keyDefs[i] = keys[i] + " " + k.Type + " NOT NULL"
	}
	out := []string{fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (%s, _fb_w INTEGER NOT NULL, _fb_v INTEGER NOT NULL,
		_fb_wall INTEGER NOT NULL, _fb_ord BLOB, _fb_del INTEGER NOT NULL, _fb_hash BLOB NOT NULL, _fb_more BLOB,
		PRIMARY KEY (%s)) WITHOUT ROWID`, t.side, strings.Join(keyDefs, ", "), list(keys))}
	if t.Kind != record.Owned {
		out = append(out, fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s ON %s (_fb_w, _fb_v)",
			schema.Quote("_fb_by_writer_"+t.Name), t.side))
	}
	cols := quoteAll(t.Names())
	old, key := list(prefix("OLD.", cols)), list(prefix("NEW.", keys))
	lit := "'" + strings.ReplaceAll(t.Name, "'", "''") + "'"
	for _, tr := range [][3]string{
		{"insert", "INSERT", key}, {"update", "UPDATE", old + ", " + key}, {"delete", "DELETE", old},
	} {
		out = append(out, fmt.Sprintf("CREATE TRIGGER IF NOT EXISTS %s AFTER %s ON %s WHEN _fb_capture() BEGIN SELECT _fb_touch(%s, '%s', %s); END",
			schema.Quote("_fb_on_"+tr[0]+"_"+t.Name), tr[1], name, lit, tr[0], tr[2]))
	}
	return out
}

func quoteAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = schema.Quote(n)
	}
	return out
}

func list(names []string) string { return strings.Join(names, ", ") }

func join(parts []string, sep string) string { return strings.Join(parts, sep) }

func marks(n int) string { return strings.Join(slices.Repeat([]string{"?"}, n), ", ") }

func prefix(p string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = p + n
	}
	return out
}

func equal(names []string, p, sep string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = p + n + " = ?"
	}
	return strings.Join(out, sep)
}
