package sqlite

import (
	"errors"

	"github.com/mattn/go-sqlite3"
)

const (
	maxPrepared     = 64      // statements of users that stay prepared
	maxPreparedText = 4 << 10 // bytes of such a statement, and of its parameters
)

// prepared keeps statements of users on the connection that writes, so that
// one that comes again is not read, judged and planned again: that costs more
// than it takes to write a row. The one used longest ago makes room.
//
// A statement was allowed under one schema, and SQLite would plan it anew under
// the next one without asking. So all of them belong to one schema of the file
// and one set of tables, and end with it. It belongs to who has the turn.
type prepared struct {
	tables *tableSet
	schema int64
	stmts  map[string]*userStatement
	uses   uint64
}

// userStatement is a statement of a user on the connection that writes.
type userStatement struct {
	s     *sqlite3.SQLiteStmt
	wrote []string // the tables whose rows it may write
	ddl   bool     // it is CREATE or DROP
	used  uint64
}

// under ends all statements but those of this schema.
func (p *prepared) under(tables *tableSet, schema int64) {
	if p.tables == tables && p.schema == schema {
		return
	}
	_ = p.close()
	p.tables, p.schema = tables, schema
}

// take hands a statement out. It is the caller's, to put it back or close it.
func (p *prepared) take(sql string) *userStatement {
	s := p.stmts[sql]
	delete(p.stmts, sql)
	return s
}

// put takes a statement that has run user well. The driver keeps memory for the
// parameters of each, so one that had large ones is closed.
func (p *prepared) put(user Statement, s *userStatement) {
	if user.size() > maxPreparedText {
		_ = s.s.Close()
		return
	}
	if len(p.stmts) >= maxPrepared {
		p.evict()
	}
	if p.stmts == nil {
		p.stmts = map[string]*userStatement{}
	}
	p.uses++
	s.used = p.uses
	p.stmts[user.SQL] = s
}

// size is how many bytes the text and the parameters have.
func (s Statement) size() int {
	n := len(s.SQL)
	for _, v := range s.Args {
		n += len(v.Data)
	}
	for _, v := range s.Named {
		n += len(v.Data)
	}
	return n
}

// evict closes the statement used longest ago.
func (p *prepared) evict() {
	oldest := ""
	for sql, s := range p.stmts {
		if oldest == "" || s.used < p.stmts[oldest].used {
			oldest = sql
		}
	}
	_ = p.stmts[oldest].s.Close()
	delete(p.stmts, oldest)
}

func (p *prepared) close() error {
	var err error
	for _, s := range p.stmts {
		err = errors.Join(err, s.s.Close())
	}
	p.stmts = nil
	return err
}
