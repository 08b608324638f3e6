package memory

import (
	"context"

	"github.com/firebreak-dev/firebreak/internal/store"
)

func (s *snapshot) Nodes() ([]store.NodeState, error) { return nil, nil }

func (s *snapshot) List([]store.Scope) (store.Listing, error) { return nil, store.ErrUnsupported }

// Restamp implements store.Store.
func (s *Store) Restamp(context.Context, int) (int, error) { return 0, store.ErrUnsupported }

// CloseEarlier implements store.Store.
func (s *Store) CloseEarlier(context.Context) (store.Commit, error) {
	return store.Commit{}, store.ErrUnsupported
}

// TakeListing implements store.Store.
func (s *Store) TakeListing(context.Context, store.ListingPage) error { return store.ErrUnsupported }

// Collect implements store.Store.
func (s *Store) Collect(context.Context, store.Ages, int) (store.Collected, error) {
	return store.Collected{}, store.ErrUnsupported
}
