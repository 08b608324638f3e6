package sqlite

import (
	"encoding/binary"
	"errors"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// line is a feed entry as it is kept on disk: what changed, not how.
type line struct {
	at      record.Point // its writer by number on disk
	writer  int64
	writers []int64        // that it changed
	changes []store.Change // only tables and keys
}

var errFeed = errors.New("feed entry is damaged")

// appendLine appends, all as unsigned varints: writer, version, how many
// writers changed and which, how many rows changed, and for each its table
// (empty: as before) and key, with their lengths before them.
func appendLine(b []byte, l line) []byte {
	b = binary.AppendUvarint(b, uint64(l.writer))
	b = binary.AppendUvarint(b, uint64(l.at.Version))
	b = binary.AppendUvarint(b, uint64(len(l.writers)))
	for _, id := range l.writers {
		b = binary.AppendUvarint(b, uint64(id))
	}
	b = binary.AppendUvarint(b, uint64(len(l.changes)))
	table := ""
	for _, c := range l.changes {
		name := c.Table
		if name == table {
			name = ""
		}
		table = c.Table
		b = appendBytes(appendBytes(b, name), string(c.Key))
	}
	return b
}

func appendBytes(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// lineReader reads what appendLine wrote; after an error it reads zeros.
type lineReader struct {
	b   string
	err error
}

func (r *lineReader) number() uint64 {
	n, size := binary.Uvarint([]byte(r.b[:min(len(r.b), binary.MaxVarintLen64)]))
	if size <= 0 {
		r.b, r.err = "", errFeed
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count reads how many of something follow, each of at least one byte.
func (r *lineReader) count() int {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.b, r.err = "", errFeed
		return 0
	}
	return int(n)
}

func (r *lineReader) bytes() string {
	n := r.count()
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *lineReader) line() line {
	l := line{writer: int64(r.number()), at: record.Point{Version: record.Version(r.number())}}
	for range r.count() {
		l.writers = append(l.writers, int64(r.number()))
	}
	table := ""
	for range r.count() {
		if name := r.bytes(); name != "" {
			table = name
		}
		l.changes = append(l.changes, store.Change{Table: table, Key: record.Key(r.bytes())})
	}
	return l
}
