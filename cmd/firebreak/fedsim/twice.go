package fedsim

import (
	"context"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/store"
)

// twiceIsOnce applies some batches again: every delivery of them is a duplicate
// then, nothing is emitted, and the root stays.
func twiceIsOnce(f *federation, h happened) error {
	if h.batch == nil || f.world.Events()%4 != 0 {
		return nil
	}
	r := h.replica
	root := r.core.Root()
	out, err := r.store.Apply(context.Background(), h.batch)
	if err != nil {
		return fmt.Errorf("%s applies a batch twice: %w", r.id(), err)
	}
	for i, o := range out {
		if o.Status == store.Applied {
			return fmt.Errorf("%s takes %v %v twice", r.id(), h.batch[i].Writer, h.batch[i].Range)
		}
	}
	if entries, err := r.feed.Next(ended); err == nil || r.core.Root() != root {
		return fmt.Errorf("%s emits %d entries for what it had", r.id(), len(entries))
	}
	return nil
}
