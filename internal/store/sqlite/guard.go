package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

const maxArgs = 1000 // values bound to one statement

// guard is SQLite's authorizer: it decides what a statement of a user may
// contain, wherever in it that stands.
type guard struct {
	reader bool
	active bool
	denied string // what the last statement was refused for
	tables func(name string) bool
	note   func(op int, a, b string) // told what a statement asks for, in lower case; nil tells nobody
}

// The codes of the authorizer that the driver does not name. Source:
// https://www.sqlite.org/c3ref/c_alter_table.html
const (
	opDelete      = 9
	opInsert      = 18
	opPragma      = 19
	opRead        = 20
	opSelect      = 21
	opTransaction = 22
	opUpdate      = 23
	opAttach      = 24
	opDetach      = 25
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
	a, b = strings.ToLower(a), strings.ToLower(b)
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
		if g.reader {
			return "writing (this is a read)"
		}
		if g.tables != nil && g.tables(a) {
			return ""
		}
		return "writing table " + a
	case opTransaction, opSavepoint:
		return "transaction control"
	case opAttach:
		return "ATTACH"
	case opDetach:
		return "DETACH"
	}
	return "changing the schema"
}

// prepareUser prepares a statement of a user with so many values, whose first
// keyword must be one of allowed.
func (c *conn) prepareUser(sql string, args int, allowed ...string) (*sqlite3.SQLiteStmt, error) {
	p, err := c.prepareAny(sql, allowed...)
	if err != nil {
		return nil, err
	}
	if want := p.NumInput(); want != args {
		_ = p.Close()
		return nil, fmt.Errorf("statement has %d parameters, %d values are given", want, args)
	}
	return p, nil
}

// prepareAny is prepareUser for any number of values.
func (c *conn) prepareAny(sql string, allowed ...string) (*sqlite3.SQLiteStmt, error) {
	stmt, keyword, err := sqltext.Single(sql)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(allowed, keyword) {
		return nil, fmt.Errorf("%s is not allowed here", keyword)
	}
	was := c.guard.active
	c.guard.active, c.guard.denied = true, ""
	s, err := c.c.Prepare(stmt)
	c.guard.active = was
	if err != nil {
		if c.guard.denied != "" {
			return nil, fmt.Errorf("%s is not allowed here", c.guard.denied)
		}
		return nil, err
	}
	return s.(*sqlite3.SQLiteStmt), nil
}
