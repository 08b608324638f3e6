package native

/*
#include "native.h"
*/
import "C"

import "github.com/mattn/go-sqlite3"

// Log has the pages of a transaction go into the write-ahead log in few calls
// of the system, where SQLite by itself makes two for each. What is committed
// is in the file just as it is without. It is a VFS of SQLite that passes
// everything else on; the connection that writes has it, by its name.
type Log struct{ l *C.native_log }

// NewLog is for one connection. Free it after that.
func NewLog() (Log, error) {
	var rc C.int
	l := C.native_log_new(&rc)
	if l == nil {
		return Log{}, sqlite3.Error{Code: sqlite3.ErrNo(rc)}
	}
	return Log{l}, nil
}

// Name is what the connection is opened with: its vfs.
func (l Log) Name() string { return C.GoString(C.native_log_name(l.l)) }

// Writes is how many calls of the system there were so far. Only for the
// goroutine that uses the connection.
func (l Log) Writes() int64 { return int64(C.native_log_writes(l.l)) }

// Free ends it.
func (l Log) Free() { C.native_log_free(l.l) }
