package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// snapshot is one read transaction. It ends by itself when it has held the log
// for too long.
type snapshot struct {
	db       *DB
	reading  Reading // who took it
	pos      store.Position
	hasher   *record.Hasher
	timer    *time.Timer
	deadline time.Time
	done     func() // tells the store that it is over
	byID     map[int64]*writerState
	byName   map[record.Writer]int64
	tables   *tableSet
	nodes    map[record.Node]store.NodeState

	mu    sync.Mutex
	users int   // calls in progress; they may be nested
	c     *conn // given back by the last user once why is set
	why   error // of its end
}

var errExpired = errors.New("it held the log for too long and was ended")

// expired is the end of a snapshot that held the log for too long.
func (s *snapshot) expired() error {
	return fmt.Errorf("snapshot of %v, limit %v: %w", s.reading, s.db.cfg.Limits.Pin, errExpired)
}

// Snapshot implements [store.Store].
func (db *DB) Snapshot(ctx context.Context) (store.Snapshot, error) {
	s, err := db.snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", db.sound(err))
	}
	return s, nil
}

func (db *DB) snapshot(ctx context.Context) (*snapshot, error) {
	c, err := db.inside.get(ctx)
	if err != nil {
		return nil, err
	}
	s := &snapshot{
		db: db, c: c, reading: Reading{Caller: outside()}, deadline: time.Now().Add(db.cfg.Limits.Pin),
		hasher: record.NewHasher(db.cfg.Fleet, db.cfg.Cluster),
		byID:   map[int64]*writerState{}, byName: map[record.Writer]int64{}, nodes: map[record.Node]store.NodeState{},
	}
	err = s.begin(ctx)
	if err == nil {
		err = db.line.reach(ctx, s.pos)
	}
	if err != nil {
		s.end(err)
		return nil, err
	}
	if s.done, err = db.readers.add(s.reading, func() { s.end(store.ErrClosed) }); err != nil {
		s.end(err)
		return nil, err
	}
	s.timer = time.AfterFunc(db.cfg.Limits.Pin, s.expire)
	return s, nil
}

// begin opens the view, and takes the tables that are of it. The loop tells of
// a change of the schema right after its commit, so between the two they differ.
func (s *snapshot) begin(ctx context.Context) error {
	for {
		if err := s.c.script("BEGIN"); err != nil {
			return err
		}
		at, err := s.c.value(valueSchema)
		if err != nil {
			return err
		}
		if s.tables = s.db.tables(); s.tables.at == at {
			if s.c.at != at {
				s.c.forgetStatements()
				s.c.at = at
			}
			return s.load()
		}
		if err := s.c.script("ROLLBACK"); err != nil {
			return err
		}
		if err := backoff.Wait(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *snapshot) load() error {
	st := newState()
	if err := loadLine(s.c, st); err != nil {
		return err
	}
	b := st.boots[len(st.boots)-1]
	s.pos = store.Position{Node: s.db.cfg.Node, Boot: b.boot, Bits: b.bits, Sequence: st.sequence}
	if err := readNodes(s.c, func(n store.NodeState) { s.nodes[n.Node] = n }); err != nil {
		return err
	}
	_, err := readWriters(s.c, func(w *writerState) { s.byID[w.id], s.byName[w.writer] = w, w.id })
	return err
}

// use runs fn with the connection, unless the snapshot is over.
func (s *snapshot) use(fn func(ctx context.Context, c *conn) error) error {
	s.mu.Lock()
	c, why := s.c, s.why
	if why == nil {
		s.users++
	}
	s.mu.Unlock()
	if why != nil {
		return why
	}
	defer s.leave(1, nil)
	ctx, stop := context.WithDeadline(context.Background(), s.deadline)
	defer stop()
	err := fn(ctx, c)
	if err != nil && ctx.Err() != nil {
		return s.expired()
	}
	return s.db.sound(err)
}

// end lets no more calls in, and ends the transaction after those in progress.
func (s *snapshot) end(why error) { s.leave(0, why) }

func (s *snapshot) leave(users int, why error) {
	s.mu.Lock()
	s.users -= users
	if s.why == nil {
		s.why = why
	}
	c := s.c
	if s.users > 0 || s.why == nil {
		c = nil
	} else {
		s.c = nil
	}
	s.mu.Unlock()
	if c == nil {
		return
	}
	if !c.c.AutoCommit() {
		_ = c.script("ROLLBACK") // of a reader: there is nothing to lose
	}
	s.db.inside.put(c)
}

func (s *snapshot) expire() {
	err := s.expired()
	s.db.cfg.Logger.Warn("snapshot ended", "caller", s.reading.Caller, "err", err)
	s.end(err)
}

func (s *snapshot) Close() error {
	s.timer.Stop()
	s.done()
	s.end(store.ErrClosed)
	return nil
}

func (s *snapshot) Position() store.Position { return s.pos }

func (s *snapshot) point(id int64, v record.Version) record.Point {
	if w := s.byID[id]; w != nil {
		return record.Point{Writer: w.writer, Version: v}
	}
	return record.Point{}
}

func (s *snapshot) Writers() ([]store.WriterState, error) {
	var out []store.WriterState
	err := s.use(func(context.Context, *conn) error {
		for _, w := range s.byID {
			if w.known() {
				out = append(out, w.public())
			}
		}
		sortStates(out)
		return nil
	})
	return out, err
}

func (s *snapshot) Scan(name string, key []record.Value, fn func(store.Row, record.Point, int64) error) error {
	t := s.tables.byName[name]
	if t == nil || t.Kind == 0 {
		return fmt.Errorf("table %s is unknown", name)
	}
	if len(key) > len(t.Key) {
		return fmt.Errorf("table %s: prefix of %d values, the key has %d", name, len(key), len(t.Key))
	}
	tell := func(r []record.Value) error {
		var side standing
		readSide(r, &side)
		return fn(store.Row(r[sideWidth:]), s.point(side.writer, side.version), side.wall)
	}
	return s.use(func(ctx context.Context, c *conn) error {
		if len(key) < len(t.Key) {
			return c.rows(ctx, t.scan(len(key), true), toDriver(key), tell)
		}
		// One row takes no time to be interrupted in.
		r, err := c.get(t.getBoth, key)
		if err != nil || r == nil {
			return err
		}
		return tell(r)
	})
}

func (s *snapshot) Withheld() ([]store.Withheld, error) {
	var out []store.Withheld
	err := s.use(func(ctx context.Context, c *conn) error {
		return c.rows(ctx, sqlHeldAll, nil, func(r []record.Value) error {
			h := readHeld(r)
			out = append(out, s.db.withheldOf(h, s.point(h.writer, h.version)))
			return nil
		})
	})
	return out, err
}
