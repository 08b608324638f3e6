package sqlite

import (
	"context"
	"errors"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/native"
)

// maxSnapshots is how many snapshots and feeds that read from disk there may
// be at once; more wait for a turn.
const maxSnapshots = 16

// watchReaders is how many queries of watches run at once, and are described.
const watchReaders = 4

// pool keeps read-only connections, opened when first needed. A nil in free is
// room for one.
type pool struct {
	free chan *conn
	open func() (*conn, error)

	mu     sync.Mutex
	closed bool
}

func newPool(n int, open func() (*conn, error)) *pool {
	p := &pool{free: make(chan *conn, n), open: open}
	for range n {
		p.free <- nil
	}
	return p
}

func (p *pool) get(ctx context.Context) (*conn, error) {
	var c *conn
	select {
	case c = <-p.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		p.put(c)
		return nil, store.ErrClosed
	}
	if c != nil {
		return c, nil
	}
	c, err := p.open()
	if err != nil {
		p.put(nil)
		return nil, err
	}
	return c, nil
}

func (p *pool) put(c *conn) { p.free <- c }

// busy counts the connections in use.
func (p *pool) busy() int { return cap(p.free) - len(p.free) }

// close waits for every connection to come back, and closes it.
func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	var errs []error
	conns := make([]*conn, 0, cap(p.free))
	for range cap(p.free) {
		conns = append(conns, <-p.free)
	}
	for _, c := range conns {
		if c != nil {
			errs = append(errs, c.close())
		}
		p.free <- nil
	}
	return errors.Join(errs...)
}

// openReader opens a read-only connection; guarded ones run the statements of
// users.
func openReader(cfg Config, guarded bool) (*conn, error) {
	var temp native.Temp
	var err error
	if guarded {
		if temp, err = native.NewTemp(cfg.Limits.Temp); err != nil {
			return nil, err
		}
	}
	c, err := openVia(cfg.Path, "ro", temp)
	if err != nil {
		return nil, err
	}
	// Sorting and temporary tables go to files: it is disk that a heavy query
	// spends, as much as its limit lets it, and not the node's memory.
	if err := c.script("PRAGMA query_only = ON; PRAGMA cache_size = -4096; PRAGMA temp_store = FILE; PRAGMA trusted_schema = OFF"); err != nil {
		return nil, errors.Join(err, c.close())
	}
	if guarded {
		c.limitUser()
		c.guard = newGuard(c, true)
	}
	return c, nil
}

// with lends a connection to fn.
func (p *pool) with(ctx context.Context, fn func(*conn) error) error {
	c, err := p.get(ctx)
	if err != nil {
		return err
	}
	defer p.put(c)
	return fn(c)
}
