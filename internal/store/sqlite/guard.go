package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

const maxArgs = 1000 // values bound to one statement

// guard is SQLite's authorizer: it decides what a statement of a user may
// contain, wherever in it that stands.
type guard struct {
	reader bool
	active bool
	denied string                    // what the last statement was refused for
	wrote  []string                  // the tables that it writes
	ddl    bool                      // it is CREATE or DROP
	made   string                    // the table that it makes or drops
	note   func(op int, a, b string) // told what a statement asks for, in lower case; nil tells nobody

	// Nil for readers.
	writable func(table string) bool // by users
	local    func(table string) bool // of this node alone
}

// The codes of the authorizer that the driver does not name. Source:
// https://www.sqlite.org/c3ref/c_alter_table.html
const (
	opCreateIndex = 1
	opCreateTable = 2
	opDelete      = 9
	opDropIndex   = 10
	opDropTable   = 11
	opInsert      = 18
	opPragma      = 19
	opRead        = 20
	opSelect      = 21
	opTransaction = 22
	opUpdate      = 23
	opAttach      = 24
	opDetach      = 25
	opReindex     = 27
	opFunction    = 31
	opSavepoint   = 32
	opRecursive   = 33
)

// readPragmas are those that only tell.
var readPragmas = [...]string{
	"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list",
	"collation_list", "function_list", "compile_options",
}

// deniedFunctions reach beyond the database.
var deniedFunctions = [...]string{"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"}

func newGuard(c *conn, reader bool) *guard {
	g := &guard{reader: reader, active: reader}
	c.c.RegisterAuthorizer(g.authorize)
	return g
}

func (g *guard) authorize(op int, a, b, _ string) int {
	if !g.active {
		return sqlite3.SQLITE_OK
	}
	a, b = schema.Lower(a), schema.Lower(b)
	if g.note != nil {
		g.note(op, a, b)
	}
	if what := g.judge(op, a, b); what != "" {
		if g.denied == "" {
			g.denied = what
		}
		return sqlite3.SQLITE_DENY
	}
	return sqlite3.SQLITE_OK
}

// judge names what is not allowed, or returns nothing.
func (g *guard) judge(op int, a, b string) string {
	switch op {
	case opSelect, opRecursive:
		return ""
	case opRead:
		if strings.HasPrefix(a, "_fb_local_") {
			return "reading " + a
		}
		return ""
	case opFunction:
		if slices.Contains(deniedFunctions[:], b) {
			return "function " + b
		}
		return ""
	case opPragma:
		if g.reader && slices.Contains(readPragmas[:], a) {
			return ""
		}
		return "PRAGMA " + a
	case opInsert, opUpdate, opDelete:
		return g.judgeWrite(a)
	case opCreateTable, opDropTable, opCreateIndex, opDropIndex, opReindex:
		return g.judgeSchema(op, a, b)
	case opTransaction, opSavepoint:
		return "transaction control"
	case opAttach:
		return "ATTACH"
	case opDetach:
		return "DETACH"
	}
	return "changing the schema"
}

func (g *guard) judgeWrite(table string) string {
	switch {
	case g.reader:
		return "writing (this is a read)"
	case g.ddl && (table == "sqlite_master" || table == "sqlite_sequence"):
		return "" // as a part of CREATE and DROP
	case g.writable == nil || !g.writable(table) && !(g.ddl && g.made == table):
		if strings.HasPrefix(table, apiPrefix) {
			return "writing table " + table + " (only the API does)"
		}
		return "writing table " + table
	}
	g.wrote = append(g.wrote, table)
	return ""
}

// judgeSchema lets tables of this node alone, and their indexes, be made and
// dropped.
func (g *guard) judgeSchema(op int, name, table string) string {
	const no = "changing the schema"
	if g.reader || !g.ddl || g.local == nil {
		return no
	}
	switch op {
	case opCreateTable:
		if name == "sqlite_sequence" {
			return "" // of AUTOINCREMENT
		}
		if g.made = name; reservedName(name) {
			return "making table " + name + " (the name is reserved)"
		}
		return ""
	case opDropTable:
		if !g.local(name) {
			return "dropping table " + name + " (it is not of this node alone)"
		}
		g.made = name
		return ""
	case opCreateIndex:
		if reservedName(name) && !strings.HasPrefix(name, "sqlite_autoindex_") {
			return "making index " + name + " (the name is reserved)"
		}
		fallthrough
	case opDropIndex:
		if !g.local(table) && table != g.made {
			return "an index on " + table + " (it is replicated: its indexes are of the schema file)"
		}
	}
	return ""
}

// prepareUser prepares a statement of a user, whose first keyword must be one
// of allowed, and puts its parameters in order.
func (c *conn) prepareUser(user Statement, allowed ...string) (*sqlite3.SQLiteStmt, []record.Value, error) {
	p, err := c.prepareAny(user.SQL, allowed...)
	if err != nil {
		return nil, nil, err
	}
	args, err := bind(p, user)
	if err != nil {
		_ = p.Close()
		return nil, nil, err
	}
	return p, args, nil
}

// prepareAny is prepareUser without parameters.
func (c *conn) prepareAny(sql string, allowed ...string) (*sqlite3.SQLiteStmt, error) {
	stmt, keyword, err := sqltext.Single(sql)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(allowed, keyword) {
		return nil, fmt.Errorf("%s is not allowed here%s", keyword, instead(keyword, slices.Contains(allowed, "SELECT")))
	}
	if name := ownFunction(stmt); name != "" {
		return nil, fmt.Errorf("function %s is not allowed here", name)
	}
	g := c.guard
	was := g.active
	g.active, g.denied, g.wrote, g.made, g.ddl = true, "", nil, "", keyword == "CREATE" || keyword == "DROP"
	s, err := c.c.Prepare(stmt)
	g.active = was
	if err != nil {
		if g.denied != "" {
			return nil, fmt.Errorf("%s is not allowed here", g.denied)
		}
		return nil, err
	}
	return s.(*sqlite3.SQLiteStmt), nil
}

// instead says what to do in place of a statement that begins with a keyword,
// where rows are read or where they are written.
func instead(keyword string, reading bool) string {
	switch keyword {
	case "BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE":
		return ": a request is one transaction already"
	case "ALTER":
		return ": replicated tables change with the schema files, and one of this node alone is made anew"
	case "ANALYZE", "REINDEX", "VACUUM":
		return ": a node looks after its file by itself"
	case "SELECT", "VALUES", "EXPLAIN":
		return ": this writes; ask for rows by a query"
	case "INSERT", "REPLACE", "UPDATE", "DELETE":
		if reading {
			return ": this reads; write by a transaction"
		}
	}
	return ""
}

// ownFunction returns the name of a function of the engine's triggers in a
// statement. The authorizer cannot tell who calls it.
func ownFunction(sql string) string {
	for _, t := range sqltext.Lex(sql) {
		if t.Kind != sqltext.Word && t.Kind != sqltext.Name {
			continue
		}
		if name := schema.Lower(t.Ident()); name == "_fb_touch" || name == "_fb_capture" {
			return name
		}
	}
	return ""
}
