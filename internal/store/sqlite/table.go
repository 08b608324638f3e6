package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

const (
	maxNode    = 63
	maxColumns = 200
	maxName    = 128 // bytes of the name of a table, column or index
	reserved   = "_fb_"
)

// table is a user's table with the statements that the engine runs on it.
// Kind zero is a local table: it has no bookkeeping.
type table struct {
	schema.Table
	user   bool // its definitions replicate
	hidden bool // its records are kept and not shown: it was dropped, or another has its name
	engine bool // the engine's own: no user writes it, and nobody hears of its changes

	side    string     // bookkeeping table beside it, quoted
	columns []column   // beyond the key, by id
	keys    []affinity // of the key
	rankAt  []int      // places of the rank columns in a row
	bootAt  int        // place of the boot in a row, if it evicts

	getRow     string // row by key
	getSide    string // bookkeeping by key
	getBoth    string // bookkeeping and row by key; nothing if there is no row
	insert     string // row
	update     string // columns, then key
	remove     string // row by key
	putSide    string // bookkeeping, whole
	removeSide string // bookkeeping by key
	upsert     string // row, whole
	replace    string // row, whole; empty if other indexes than the key's are there
	cold       string // columns that no index needs, then key; empty if there is no use for it

	hotAt, coldAt []int // places in a row of the columns that indexes need, and of the others
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

// checkTable returns why t cannot be stored.
func checkTable(t schema.Table) error {
	var errs []error
	for _, r := range tableFaults(t, false) {
		errs = append(errs, r)
	}
	return errors.Join(errs...)
}

// reservedName reports whether a schema file may not give a name: the engine's,
// SQLite's, and those of the tables that only the API writes.
func reservedName(name string) bool {
	return strings.HasPrefix(name, reserved) || strings.HasPrefix(name, "sqlite_") || strings.HasPrefix(name, apiPrefix)
}

// apiPrefix begins the names of tables that SQL reads and only the API writes.
const apiPrefix = "fleet_"

const nameAdvice = "choose a name that does not begin with _fb_, fleet_ or sqlite_"

// tableFaults says what t cannot have. That of a file may not take the names
// that the API's tables have.
func tableFaults(t schema.Table, ofFile bool) (out []*schema.Refusal) {
	bad := func(is bool, rule schema.Rule, do, why string, args ...any) {
		if is {
			out = append(out, &schema.Refusal{Rule: rule, Table: t.Name, Why: fmt.Sprintf(why, args...), Do: do})
		}
	}
	names := append(slices.Clone(t.Shown()), t.Name)
	for _, x := range t.Indexes {
		names = append(names, x.Name)
	}
	for i, n := range names {
		isTable := i >= len(t.Shown())
		bad(n == "" || n != schema.Lower(n), schema.RuleName, "", "name %q is empty or not in lower case", n)
		bad(strings.HasPrefix(n, reserved) || strings.HasPrefix(n, "sqlite_") || ofFile && isTable && reservedName(n), schema.RuleName, nameAdvice, "name %q is reserved", n)
		bad(len(n) > maxName, schema.RuleName, "", "name %.20q… of %d bytes is over the limit of %d", n, len(n), maxName)
	}
	if t.Kind == 0 {
		return out
	}
	bad(len(t.Key) == 0, schema.RuleNoKey, "write PRIMARY KEY", "has no primary key")
	bad(len(t.Shown()) > maxColumns, schema.RuleColumns, "put what is rarely asked for into one JSON column", "%d columns are over the cap of %d", len(t.Shown()), maxColumns)
	bad(t.Kind > record.Ranked, schema.RuleMark, "", "unknown %v", t.Kind)
	bad(t.Kind != 0 && t.ID == 0, schema.RuleMark, "", "has no id")
	bad(t.Kind == record.Owned && len(t.Key) > 0 && affinityIn(t, t.Key[0].Type) != affinityText, schema.RuleOwner, "it holds names of nodes: make it TEXT", "owner column is not TEXT")
	bad(t.Kind == record.Ranked && len(t.RankBy) == 0, schema.RuleRank, "", "ranked by nothing")
	bad(t.Evicts && (t.Kind != record.Ranked || t.Index("boot") < len(t.Key)), schema.RuleRank, "", "a table that evicts is ranked, its key begins with the node, and it has a column boot")
	for _, k := range t.Key {
		bad(affinityIn(t, k.Type) == affinityReal, schema.RuleRealKey, "make it INTEGER or TEXT", "key column %s is REAL: 1 and 1.0 would be one key", k.Name)
	}
	for _, n := range t.RankBy {
		i := t.Index(n)
		bad(i < 0 || i >= len(t.Key) && !t.Columns[i-len(t.Key)].NotNull, schema.RuleRank, "", "rank column %s is missing or may be NULL", n)
	}
	return out
}

func newTable(s schema.Table) *table {
	t := &table{Table: s, side: schema.Quote("_fb_rows_" + s.Name), columns: columnsOf(s), bootAt: s.Index("boot")}
	for _, k := range s.Key {
		t.keys = append(t.keys, affinityIn(s, k.Type))
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
	t.addCold()
	t.getSide = fmt.Sprintf("SELECT %s FROM %s WHERE %s", sideColumns, t.side, where)
	t.getBoth = t.scan(len(key), true)
	t.putSide = fmt.Sprintf("INSERT OR REPLACE INTO %s (%s, %s) VALUES (%s)", t.side, sideColumns, list(key), marks(sideWidth+len(key)))
	t.removeSide = fmt.Sprintf("DELETE FROM %s WHERE %s", t.side, where)
	return t
}

// fitsKey refuses a key that SQLite would refuse by itself, in the table as it
// was declared.
func (t *table) fitsKey(key []record.Value) error {
	if len(key) == 1 && key[0].Type != record.Integer && t.IntegerKey() {
		return fmt.Errorf("table %s: key %v is no integer: datatype mismatch", t.Name, key[0])
	}
	return nil
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
		if t.Strict && k.Type == "ANY" {
			keyDefs[i] = keys[i] + " NOT NULL" // any other table would make numbers of texts
		}
	}
	out := []string{fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (%s, _fb_w INTEGER NOT NULL, _fb_v INTEGER NOT NULL,
		_fb_wall INTEGER NOT NULL, _fb_ord BLOB, _fb_del INTEGER NOT NULL, _fb_hash BLOB NOT NULL, _fb_more BLOB,
		PRIMARY KEY (%s)) WITHOUT ROWID`, t.side, strings.Join(keyDefs, ", "), list(keys))}
	if t.Kind != record.Owned {
		out = append(out, fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s ON %s (_fb_w, _fb_v)",
			schema.Quote("_fb_by_writer_"+t.indexName()), t.side))
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

// internal reports whether t is not listed among the tables, and nobody hears
// of its changes.
func (t *table) internal() bool { return t.engine || t.hidden || t.ID == closedID || t.ID == voidID }

// indexName is what the engine's index of t is called by. A user's table may get
// another name, and its index keeps this one.
func (t *table) indexName() string {
	if t.user {
		return fmt.Sprintf("%016x", uint64(t.ID))
	}
	return t.Name
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
