package live

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// maxUpdates is how many changes may wait for a reader of a table's updates.
const maxUpdates = 10_000

// Updates tells which keys of one table change. A reader that is too slow is
// ended with ErrBehind: what it missed is kept nowhere.
type Updates struct {
	e     *Engine
	table string

	mu      sync.Mutex
	waiting []KeyChange
	err     error // why it ended
	more    chan struct{}
}

// KeyChange is a key, and whether its row is gone.
type KeyChange struct {
	Key  []record.Value
	Gone bool
}

// Updates begins to tell of a table's changes, whatever case its name is in. The caller closes it.
func (e *Engine) Updates(ctx context.Context, table string) (*Updates, error) {
	if err := e.wait(ctx); err != nil {
		return nil, err
	}
	at := slices.IndexFunc(e.cfg.DB.Tables(), func(t schema.Table) bool { return t.Name == schema.Lower(table) && t.Kind != 0 })
	if at < 0 {
		return nil, refused("table not found in schema: %s", table)
	}
	table = schema.Lower(table)
	u := &Updates{e: e, table: table, more: make(chan struct{}, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.notices[table] == nil {
		e.notices[table] = map[*Updates]struct{}{}
	}
	e.notices[table][u] = struct{}{}
	return u, nil
}

// Close ends it.
func (u *Updates) Close() {
	u.e.mu.Lock()
	defer u.e.mu.Unlock()
	if delete(u.e.notices[u.table], u); len(u.e.notices[u.table]) == 0 {
		delete(u.e.notices, u.table)
	}
}

func (u *Updates) add(c store.Change) {
	cols, err := c.Key.Columns()
	if err != nil {
		return // no key of the store's
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.waiting) >= maxUpdates {
		u.waiting, u.err = nil, fmt.Errorf("%w: more than %d changes of %s waited to be read", ErrBehind, maxUpdates, u.table)
	}
	if u.err == nil {
		u.waiting = append(u.waiting, KeyChange{cols, c.New == nil})
	}
	u.signal()
}

// end makes the reader's next look the last.
func (u *Updates) end(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiting, u.err = nil, err
	u.signal()
}

func (u *Updates) signal() {
	select {
	case u.more <- struct{}{}:
	default:
	}
}

// Next waits for changes and returns them.
func (u *Updates) Next(ctx context.Context) ([]KeyChange, error) {
	for {
		u.mu.Lock()
		out, err := u.waiting, u.err
		u.waiting = nil
		u.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if len(out) > 0 {
			return out, nil
		}
		select {
		case <-u.more:
		case <-u.e.stopped:
			return nil, ErrStopping
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
