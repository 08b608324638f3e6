package sqlite_test

import (
	"context"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{Open: func(ctx context.Context, cfg storetest.Config) (store.Store, error) {
		return sqlite.Open(ctx, sqlite.Config{
			Path: cfg.Disk + ".db", Fleet: storetest.Fleet, Cluster: storetest.Cluster,
			Node: cfg.Node, Tables: cfg.Tables, Now: cfg.Now, Durability: sqlite.OS,
		})
	}})
}
