package store

import (
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// VoidTable is the engine's own table of void stamps. No user writes it,
// Store.Tables does not list it, its rows make no Change. It is ranked, so a
// row stays whatever becomes of its writer: neither a closing nor an eviction
// brings back what it has made void. All that a row says is in its key, so no
// row replaces another.
const VoidTable = "_fb_void"

// Void is a node's word that its own earlier writers have stamped shared
// records by a clock that was ahead. It is in effect wherever it is received:
// what it covers is dropped, neither taken nor served.
type Void struct {
	Node  record.Node
	Boot  uint64 // of its writers with boots up to it
	Above int64  // every stamp after this Unix millisecond
}

// Covers reports whether a shared record is void.
func (v Void) Covers(w record.Writer, stamp hlc.Timestamp) bool {
	return w.Node == v.Node && w.Boot <= v.Boot && stamp >= v.First()
}

// First is the lowest stamp that is void.
func (v Void) First() hlc.Timestamp { return hlc.At(time.UnixMilli(v.Above + 1)) }

// Voids are those in effect. They are never changed in place.
type Voids []Void

// Cover reports whether a record of w with this stamp is void. Only shared
// records have a stamp; that of others is zero, and never void.
func (vs Voids) Cover(w record.Writer, stamp hlc.Timestamp) bool {
	if len(vs) == 0 || stamp == 0 {
		return false
	}
	return slices.ContainsFunc(vs, func(v Void) bool { return v.Covers(w, stamp) })
}

// With returns vs with v, and whether that makes more void.
func (vs Voids) With(v Void) (Voids, bool) {
	if slices.ContainsFunc(vs, func(o Void) bool { return o.Node == v.Node && o.Boot >= v.Boot && o.Above <= v.Above }) {
		return vs, false
	}
	return append(slices.Clone(vs), v), true
}

// VoidSchema returns the definition of VoidTable.
func VoidSchema() schema.Table {
	integer := func(name string) schema.Column {
		return schema.Column{Name: name, Type: "INTEGER", NotNull: true, Default: record.Of(0)}
	}
	return schema.Table{
		Name: VoidTable, Kind: record.Ranked, RankBy: []string{"above"},
		Key: []schema.Column{{Name: "node", Type: "TEXT", NotNull: true}, integer("boot"), integer("above")},
	}.WithIDs()
}

// Row makes the row of v.
func (v Void) Row() Row {
	return Row{record.Of(string(v.Node)), record.Of(int64(v.Boot)), record.Of(v.Above)}
}

// VoidOf reads a row that a changeset of w has brought. A node speaks of its
// own earlier writers alone: an error says that this is no void, whoever wrote
// it.
func VoidOf(row Row, w record.Writer) (Void, error) {
	v := Void{Node: record.Node(row[0].Data), Boot: uint64(row[1].Int), Above: row[2].Int}
	switch {
	case row[0].Type != record.Text || v.Node != w.Node:
		return v, fmt.Errorf("void stamps of node %q brought by %v", row[0].Data, w)
	case row[1].Type != record.Integer || row[1].Int < 0 || v.Boot >= w.Boot:
		return v, fmt.Errorf("void stamps up to boot %v brought by %v: they are of earlier writers", row[1], w)
	case row[2].Type != record.Integer || v.Above < 0 || v.Above >= 1<<48-1:
		return v, fmt.Errorf("void stamps above %v: no time", row[2])
	}
	return v, nil
}

// ClockReset is the answer to a reset.
type ClockReset struct {
	Writer record.Writer // of now on
	Above  time.Time     // what the earlier ones stamped after it is void
	Again  int           // of that, records of this node that were stamped again
}
