package replicatest

import (
	"context"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Names of the tables that tests of worlds write to, one of each kind.
const (
	Owned  = "things"
	Shared = "notes"
	Ranked = "marks"
)

// Tables returns them.
func Tables() []schema.Table {
	text := func(name string) schema.Column { return schema.Column{Name: name, Type: "TEXT", NotNull: true} }
	number := func(name string) schema.Column {
		return schema.Column{Name: name, Type: "INTEGER", NotNull: true, Default: record.Of(0)}
	}
	return []schema.Table{
		schema.Table{Name: Owned, Kind: record.Owned, Key: []schema.Column{text("owner"), text("id")}, Columns: []schema.Column{number("val")}}.WithIDs(),
		schema.Table{Name: Shared, Kind: record.Shared, Key: []schema.Column{text("id")}, Columns: []schema.Column{number("val")}}.WithIDs(),
		schema.Table{Name: Ranked, Kind: record.Ranked, Key: []schema.Column{text("id")}, Columns: []schema.Column{number("num"), number("val")}, RankBy: []string{"num"}}.WithIDs(),
	}
}

// PutOwned writes a row in the node's own name.
func (n *Node) PutOwned(id string, val int) store.Commit {
	return n.Write(func(tx store.Tx) error {
		return tx.Put(Owned, store.Row{record.Of(string(n.Name)), record.Of(id), record.Of(val)})
	})
}

// DeleteOwned deletes a row in the node's own name.
func (n *Node) DeleteOwned(id string) store.Commit {
	return n.Write(func(tx store.Tx) error { return tx.Delete(Owned, record.Of(string(n.Name)), record.Of(id)) })
}

// PutShared writes a row of the shared table.
func (n *Node) PutShared(id string, val int) store.Commit {
	return n.Write(func(tx store.Tx) error { return tx.Put(Shared, store.Row{record.Of(id), record.Of(val)}) })
}

// DeleteShared deletes a row of the shared table.
func (n *Node) DeleteShared(id string) store.Commit {
	return n.Write(func(tx store.Tx) error { return tx.Delete(Shared, record.Of(id)) })
}

// PutRanked writes a row of the ranked table.
func (n *Node) PutRanked(id string, num, val int) store.Commit {
	return n.Write(func(tx store.Tx) error {
		return tx.Put(Ranked, store.Row{record.Of(id), record.Of(num), record.Of(val)})
	})
}

// Rows returns what a reader of the node sees, a line per row.
func (n *Node) Rows() []string {
	var out []string
	for _, t := range n.world.cfg.Tables {
		n.scan(t.Name, func(row store.Row) { out = append(out, fmt.Sprint(t.Name, " ", row)) })
	}
	return out
}

func (n *Node) scan(table string, fn func(store.Row)) {
	snap, err := n.Store.Snapshot(context.Background())
	if err != nil {
		panic(err)
	}
	err = snap.Scan(table, nil, func(row store.Row, _ record.Point, _ int64) error {
		fn(row)
		return nil
	})
	if err != nil {
		panic(err)
	}
}

// Equal reports whether all nodes run and have received the same.
func (w *World) Equal() bool {
	for _, n := range w.nodes {
		if !n.Up() || n.Core.Root() != w.nodes[0].Core.Root() {
			return false
		}
	}
	return true
}
