// Package native runs a statement of the SQLite driver many times in one call
// of C. A call costs as much as a tenth of a small statement, and the driver
// makes one for every value: with a dozen columns they cost more than SQLite.
//
// Parameters go in and rows come out in the encoding of [record.AppendValue],
// one after another, so nothing is converted on the way.
package native

/*
#cgo CFLAGS: -std=gnu99 -O2
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
#cgo noescape native_run
#include <stdlib.h>
#include "native.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"unsafe"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Error is SQLite's refusal, with the text that it had for it. It unwraps to
// the driver's [sqlite3.Error].
type Error struct {
	Driver sqlite3.Error
	Text   string
}

func (e *Error) Error() string {
	if e.Text == "" {
		return e.Driver.Error()
	}
	return e.Text
}

func (e *Error) Unwrap() error { return e.Driver }

// Stmt is a statement of the driver, which stays its owner: it is valid until
// that one is closed. Used by one goroutine at a time.
type Stmt struct {
	s      *C.sqlite3_stmt
	params int
}

var errDriver = errors.New("this version of the SQLite driver does not keep its statement where it is looked for")

// Of returns the statement behind s.
func Of(s *sqlite3.SQLiteStmt) (Stmt, error) {
	f := reflect.ValueOf(s).Elem().FieldByName("s")
	if !f.IsValid() || f.Kind() != reflect.Pointer || f.IsNil() {
		return Stmt{}, errDriver
	}
	p := (*C.sqlite3_stmt)(f.UnsafePointer())
	return Stmt{s: p, params: int(C.native_params(p))}, nil
}

// Params returns the names of the parameters, with their marks: empty for those
// that are written as a mere question mark.
func (s Stmt) Params() []string {
	out := make([]string, s.params)
	for i := range out {
		out[i] = C.GoString(C.native_param(s.s, C.int(i+1)))
	}
	return out
}

// Columns returns the names of the columns, without a step.
func (s Stmt) Columns() []string {
	out := make([]string, int(C.native_columns(s.s)))
	for i := range out {
		out[i] = C.GoString(C.native_column(s.s, C.int(i)))
	}
	return out
}

// Out is memory that runs share. Used by one goroutine at a time.
type Out struct{ out C.native_out }

// Free ends it.
func (o *Out) Free() { C.native_free(&o.out) }

// Run runs s for each of n sets of parameters, until one fails: done is how
// many did not. Rows come only if all went well.
func (s Stmt) Run(o *Out, args []byte, n int) (rows Rows, done int, err error) {
	var d C.int
	rc := C.native_run(s.s, C.int(s.params), (*C.uchar)(unsafe.SliceData(args)), C.int(n), &o.out, &d)
	text := unsafe.String((*byte)(o.out.p), int(o.out.n))
	if rc == 0 && len(text) == n { // no run gave a row
		return Rows{}, n, nil
	}
	if rc == 0 {
		return Rows{string([]byte(text)), int(C.native_columns(s.s))}, n, nil
	}
	driver := sqlite3.Error{Code: sqlite3.ErrNo(rc & 0xff), ExtendedCode: sqlite3.ErrNoExtended(rc)}
	return Rows{}, int(d), &Error{Driver: driver, Text: string([]byte(text))}
}

// Rows are what runs gave. Values share its memory.
type Rows struct {
	s     string
	width int
}

// Next appends the next row of the run in hand to out, or reports that this
// run has no more and goes on to the next.
func (r *Rows) Next(out []record.Value) ([]record.Value, bool) {
	if r.s == "" {
		return out, false
	}
	more := r.s[0] == 1
	if r.s = r.s[1:]; !more {
		return out, false
	}
	out = slices.Grow(out, r.width)
	for range r.width {
		var v record.Value
		v, r.s = cutValue(r.s)
		out = append(out, v)
	}
	return out, true
}

func cutValue(s string) (record.Value, string) {
	v, rest, err := record.CutValue(s)
	if err != nil {
		panic(err) // what native.c wrote
	}
	return v, rest
}

// Triggers lets the statements of the connection of s run triggers, or not. All
// of them are prepared anew when they run next.
func Triggers(s Stmt, on bool) error {
	n := C.int(0)
	if on {
		n = 1
	}
	if rc := C.native_triggers(s.s, n); rc != 0 {
		return sqlite3.Error{Code: sqlite3.ErrNo(rc)}
	}
	return nil
}

// KeepLog makes the connection of s leave the log as it is when it closes.
func KeepLog(s Stmt) error {
	if rc := C.native_keep_log(s.s); rc != 0 {
		return sqlite3.Error{Code: sqlite3.ErrNo(rc)}
	}
	return nil
}

// State is what a connection and its owner share.
type State struct{ st *C.native_state }

// Attach gives the connection of s two SQL functions: flag, without arguments,
// returns the flag of the state; log keeps what it is called with, up to limit
// bytes, beyond which it fails. Free the state after the connection.
func Attach(s Stmt, flag, log string, limit int) (State, error) {
	st := State{(*C.native_state)(C.calloc(1, C.sizeof_native_state))}
	st.st.limit = C.size_t(limit)
	flagName, logName := C.CString(flag), C.CString(log)
	defer C.free(unsafe.Pointer(flagName))
	defer C.free(unsafe.Pointer(logName))
	if rc := C.native_attach(s.s, flagName, logName, st.st); rc != 0 {
		st.Free()
		return State{}, sqlite3.Error{Code: sqlite3.ErrNo(rc)}
	}
	return st, nil
}

// Set sets the flag.
func (s State) Set(on bool) {
	s.st.flag = 0
	if on {
		s.st.flag = 1
	}
}

// Calls calls fn with the arguments of each call of log since the last time,
// until one returns an error, and forgets them all. It reports whether there
// were too many.
func (s State) Calls(fn func([]record.Value) error) (over bool, err error) {
	over = s.st.over != 0
	log := string(unsafe.Slice((*byte)(s.st.log.p), int(s.st.log.n)))
	if s.st.log.n, s.st.over = 0, 0; s.st.log.cap > 1<<20 {
		C.native_free(&s.st.log)
		s.st.log = C.native_out{}
	}
	for len(log) >= 8 && err == nil {
		n := binary.BigEndian.Uint64([]byte(log[:8]))
		args := make([]record.Value, n)
		log = log[8:]
		for i := range args {
			args[i], log = cutValue(log)
		}
		err = fn(args)
	}
	return over, err
}

// Frames is how many pages the log had after the last commit of the connection.
func (s State) Frames() int { return int(s.st.frames) }

// Free frees it.
func (s State) Free() {
	if s.st != nil {
		C.native_free(&s.st.log)
		C.free(unsafe.Pointer(s.st))
	}
}
