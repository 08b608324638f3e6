package sqlite

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/store"
)

// Reading is a read in progress. It keeps the log from starting over, so it is
// known by name.
type Reading struct {
	Caller    string // who asked, as Query was told, or the code that took a snapshot
	Statement string // the beginning of it; empty for a snapshot
	Since     time.Time
}

const maxShown = 200 // bytes of a statement that logs and status show

func (r Reading) String() string {
	s := r.Caller
	if s == "" {
		s = "a caller without a name"
	}
	if r.Statement != "" {
		s += ": " + r.Statement
	}
	return s
}

// shorten makes a statement fit to be shown on a line.
func shorten(sql string) string {
	sql = strings.ToValidUTF8(strings.Join(strings.Fields(sql), " "), "?")
	if len(sql) > maxShown {
		sql = strings.ToValidUTF8(sql[:maxShown], "") + "…"
	}
	return sql
}

// outside names the code that called into this package.
func outside() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		name := f.Function[strings.LastIndexByte(f.Function, '/')+1:]
		if !strings.HasPrefix(name, "sqlite.") || !more {
			return name
		}
	}
}

// readers knows every read in progress, and how to end it, so that closing the
// store waits for nobody's leisure.
type readers struct {
	mu     sync.Mutex
	closed bool
	next   uint64
	now    map[uint64]reader
}

type reader struct {
	Reading
	end func()
}

// add notes a reader and returns what to call when it is done by itself.
func (r *readers) add(what Reading, end func()) (done func(), err error) {
	what.Since = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, store.ErrClosed
	}
	if r.now == nil {
		r.now = map[uint64]reader{}
	}
	r.next++
	id := r.next
	r.now[id] = reader{what, end}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.now, id)
	}, nil
}

// list returns the reads in progress, the oldest first.
func (r *readers) list() []Reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Reading
	for _, x := range r.now {
		out = append(out, x.Reading)
	}
	slices.SortFunc(out, func(a, b Reading) int { return a.Since.Compare(b.Since) })
	return out
}

// close ends all readers and lets no more in.
func (r *readers) close() {
	r.mu.Lock()
	r.closed = true
	var ends []func()
	for _, x := range r.now {
		ends = append(ends, x.end)
	}
	r.mu.Unlock()
	for _, end := range ends {
		end()
	}
}
