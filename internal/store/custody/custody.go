// Package custody decides which SQLite a process may open databases with. Two
// copies of SQLite on one file in one process corrupt it: POSIX locks belong to
// the process, so neither sees the other's, and a file that one of them closes
// drops the locks of both. So a process has one of them for its whole life: the
// first that asks. Every function that opens a database asks first; a test of
// the architecture knows which functions those are.
package custody

import (
	"fmt"
	"sync/atomic"
)

// Engine is a copy of SQLite.
type Engine int32

// The engines that are linked into the binary.
const (
	Cgo     Engine = iota + 1 // github.com/mattn/go-sqlite3: the store's
	Modernc                   // modernc.org/sqlite: Litestream's
)

func (e Engine) String() string {
	switch e {
	case Cgo:
		return "the store's SQLite (mattn/go-sqlite3)"
	case Modernc:
		return "Litestream's SQLite (modernc.org/sqlite)"
	}
	return "no SQLite"
}

// Custody belongs to the first engine that takes it. The zero Custody is free.
// Safe for concurrent use.
type Custody struct{ owner atomic.Int32 }

// Take gives the custody to e, or says who has it.
func (c *Custody) Take(e Engine) error {
	if c.owner.CompareAndSwap(0, int32(e)) || Engine(c.owner.Load()) == e {
		return nil
	}
	return fmt.Errorf("%v may open no database in this process: %v has, and two on one file corrupt it; run it in a process of its own", e, Engine(c.owner.Load()))
}

// process is this process's. The locks that it stands for are the process's
// too, so there is one, whoever holds it.
var process Custody

// Take gives this process to e, or says who has it.
func Take(e Engine) error { return process.Take(e) }
