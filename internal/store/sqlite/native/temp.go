package native

/*
#include "native.h"
*/
import "C"

import "github.com/mattn/go-sqlite3"

// Temp bounds the temporary files of a connection: what it sorts, groups and
// materialises. It is a VFS of SQLite that passes everything on and meters
// those files alone. One connection has it, by its name.
type Temp struct{ t *C.native_temp }

// NewTemp lets a connection have limit bytes. Free it after the connection.
func NewTemp(limit int64) (Temp, error) {
	var rc C.int
	t := C.native_temp_new(C.longlong(limit), &rc)
	if t == nil {
		return Temp{}, sqlite3.Error{Code: sqlite3.ErrNo(rc)}
	}
	return Temp{t}, nil
}

// Name is what the connection is opened with: its vfs.
func (t Temp) Name() string { return C.GoString(C.native_temp_name(t.t)) }

// Over reports whether the limit was met since the last call. The statement
// that met it has failed as on a full disk.
func (t Temp) Over() bool { return t.t != nil && C.native_temp_over(t.t) != 0 }

// Free ends it.
func (t Temp) Free() { C.native_temp_free(t.t) }
