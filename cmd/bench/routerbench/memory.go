package routerbench

import (
	"context"
	"errors"
	"fmt"

	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/machine"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

// CatalogMemory counts the heap of a catalog: the part of B23 that is an
// edge's.
func CatalogMemory(ctx context.Context, b *bench.Bencher) (err error) {
	machines := catalogMachines
	if !b.Full() {
		machines /= 10
	}
	b.Note("a catalog of %d machines", catalogApps*machines)
	dir, err := b.MemoryDir(1 << 20)
	if err != nil {
		return err
	}
	w, err := world.New(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	before := machine.Held()
	c, err := follow(ctx, w, &feeder{machines: machines, told: make(chan struct{})})
	if err != nil {
		return err
	}
	after := machine.Held()
	if v, ok := c.Lookup(appName(1)); !ok || len(v.Endpoints) != machines {
		return fmt.Errorf("%d endpoints of %d", len(v.Endpoints), machines)
	}
	b.Count("catalog: heap per machine", "B", (float64(after.Heap)-float64(before.Heap))/float64(catalogApps*machines), result.AtMost(300))
	return nil
}
