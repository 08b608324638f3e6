package memory_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
	"github.com/firebreak-dev/firebreak/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	var mu sync.Mutex
	disks := map[string]*memory.Disk{}
	storetest.Run(t, storetest.Harness{Open: func(_ context.Context, cfg storetest.Config) (store.Store, error) {
		mu.Lock()
		defer mu.Unlock()
		if disks[cfg.Disk] == nil {
			disks[cfg.Disk] = &memory.Disk{}
		}
		return memory.Open(memory.Config{
			Fleet: storetest.Fleet, Cluster: storetest.Cluster, Node: cfg.Node, Tables: cfg.Tables, Now: cfg.Now,
			Disk: disks[cfg.Disk], Check: checkThings,
		})
	}})
}

// checkThings is the CHECK of the suite's table.
func checkThings(table string, row store.Row) error {
	if table == "things" && row[3].Int >= 1000 {
		return fmt.Errorf("CHECK constraint: n is %d", row[3].Int)
	}
	return nil
}
