package sqlite

import (
	"context"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Nodes implements [store.Snapshot].
func (s *snapshot) Nodes() ([]store.NodeState, error) {
	var out []store.NodeState
	err := s.use(func(ctx context.Context, c *conn) error {
		return c.rows(ctx, `SELECT node, boot FROM _fb_evicted ORDER BY node`, nil, func(r []record.Value) error {
			out = append(out, store.NodeState{Node: record.Node(r[0].Data), Evicted: uint64(r[1].Int)})
			return nil
		})
	})
	return out, err
}

// List implements [store.Snapshot].
func (s *snapshot) List([]store.Scope) (store.Listing, error) { return nil, store.ErrUnsupported }

// Restamp implements [store.Store].
func (db *DB) Restamp(context.Context, int) (int, error) { return 0, store.ErrUnsupported }

// CloseEarlier implements [store.Store].
func (db *DB) CloseEarlier(context.Context) (store.Commit, error) {
	return store.Commit{}, store.ErrUnsupported
}

// TakeListing implements [store.Store].
func (db *DB) TakeListing(context.Context, store.ListingPage) error { return store.ErrUnsupported }

// Collect implements [store.Store].
func (db *DB) Collect(context.Context, store.Ages, int) (store.Collected, error) {
	return store.Collected{}, store.ErrUnsupported
}
