package live

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/firebreak-dev/firebreak/internal/store"
)

// Sweep does at once what the engine does every few seconds.
func Sweep(e *Engine) { e.sweep() }

// Looks returns how often a result was looked at.
func Looks(e *Engine) float64 {
	return testutil.ToFloat64(e.metrics.looks.WithLabelValues("query")) + testutil.ToFloat64(e.metrics.looks.WithLabelValues("rows"))
}

// Whole reads all of a snapshot.
func Whole(ctx context.Context, w *Watch) (rows []Row, change uint64, err error) {
	s, err := w.Snapshot(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	for {
		page, err := s.Next()
		if err != nil || len(page) == 0 {
			return rows, s.Change, err
		}
		rows = append(rows, page...)
	}
}

// Shelved returns the bytes of old results that are kept for their readers.
func Shelved(e *Engine) int {
	e.shelf.mu.Lock()
	defer e.shelf.mu.Unlock()
	return e.shelf.bytes
}

// Concerned returns how many watches a change may concern.
func Concerned(e *Engine, c store.Change) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.index.affected(c, func(*Watch) { n++ })
	return n
}

// Mutant breaks the plans of an engine in a way that somebody might.
type Mutant int

// The mutants.
const (
	FromOnly     Mutant = iota + 1 // tables of subqueries are not watched
	ChangedRows                    // aggregates and groups over the changed rows only
	FirstTable                     // of a join only the first table is watched
	AnyCondition                   // one side of an OR is taken for a condition of all rows
)

// Break sets a mutant.
func Break(e *Engine, m Mutant) {
	e.mutate = func(p *plan, sh shape) {
		switch m {
		case FromOnly:
			p.tables = nil
			for _, src := range sh.from {
				p.tables = append(p.tables, src.name)
			}
		case FirstTable:
			p.tables = p.tables[:1]
		case ChangedRows:
			if len(sh.from) == 1 && (sh.grouped || sh.aggregate) && len(p.tables) == 1 {
				key := map[string][]string{"m": {"id"}, "a": {"name", "zone"}}[p.tables[0]]
				head := p.sql[:strings.Index(p.sql, " FROM ")] + " FROM " + sh.sources + " WHERE "
				p.point = &point{table: p.tables[0], head: head, key: key, literal: len(p.args)}
			}
		case AnyCondition:
			if p.point != nil && contains(sh.where, "OR") {
				sh.where = split(sh.where, "OR")[0]
				p.point.match = findMatch(sh, tableOf(p.point.table), p.args)
			}
		}
	}
}

// Quiet waits until the engine has told all that was committed before.
func Quiet(ctx context.Context, e *Engine) error {
	snap, err := e.cfg.DB.Snapshot(ctx)
	if err != nil {
		return err
	}
	want := snap.Position().Sequence
	if err := snap.Close(); err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for still := 0; ; { // watches are marked a moment after the position is reached
		if e.reached().Sequence < want || e.running() {
			still = 0
		} else if still++; still > 5 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *Engine) running() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.byID {
		w.mu.Lock()
		busy := w.running
		w.mu.Unlock()
		if busy {
			return true
		}
	}
	return false
}

// Held returns the bytes of rows that the engine counts.
func Held(e *Engine) int64 { return e.bytes.Load() }

// Readers returns how many readers all watches count.
func Readers(e *Engine) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.byID {
		w.mu.Lock()
		n += w.readers
		w.mu.Unlock()
	}
	return n
}

// AggregateNames are those that the shape of a query knows.
func AggregateNames() []string { return append(slices.Clone(aggregateNames), "min", "max") }

// Renewed waits until the journal was begun anew as often.
func Renewed(ctx context.Context, e *Engine, times float64) error {
	for tick := time.NewTicker(time.Millisecond); ; {
		if testutil.ToFloat64(e.metrics.renewed) >= times {
			tick.Stop()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
