package storebench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/bench/stat"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

const (
	changeRate  = 500                    // updates per second meanwhile
	changeRest  = 700 * time.Millisecond // of updates before each change, and after it
	changeBase  = "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, a TEXT, c TEXT, d INTEGER"
	changeTurns = time.Minute // that a change may take to have its turn and its pause
)

// change is one step of a schema, from what the step before has left.
type change struct {
	name, file string
	previewed  bool // its pause is, by its plan
}

// changes begin at the table of changeBase.
func changes() []change {
	return []change{
		{"add a column", changeBase + ", e TEXT)", false},
		{"create an index", changeBase + ", e TEXT); CREATE INDEX t_a ON t (a)", true},
		{"drop the index", changeBase + ", e TEXT)", true},
		{"drop the column", changeBase + ")", true},
	}
}

// changing is a store whose schema is changed under updates.
type changing struct {
	db     *sqlite.DB
	pauses *pauses
	rows   int
	extra  int // records that no update has made

	mu      sync.Mutex // guards what follows
	n       int        // updates so far
	commits []stretch
	records int // of tables that were written, as peers are sent them
}

// stretch is a time: of a commit, from when it was due; or of a pause.
type stretch struct{ from, to time.Time }

// changeSchema measures what changes of a large table cost its writers.
func changeSchema(ctx context.Context, b *bench.Bencher) (err error) {
	rows := fullRows
	if !b.Full() {
		rows = quickRows
	}
	b.Note("%d rows of about 70 bytes under %d updates a second; a pause is what the store logs of a step, which the loop of writes spends on it", rows, changeRate)
	dir, err := b.MemoryDir(uint64(rows) * bytesOfRow)
	if err != nil {
		return err
	}
	c := &changing{pauses: newPauses(), rows: rows}
	c.db, err = sqlite.Open(ctx, sqlite.Config{
		Path: filepath.Join(dir, "node.db"), Fleet: "bench", Cluster: "region/bench", Node: "w1", Tables: []schema.Table{}, Definitions: true,
		Stagger: time.Millisecond, Durability: sqlite.OS, Logger: slog.New(c.pauses),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.db.Close()) }()
	if err := c.fill(ctx); err != nil {
		return err
	}
	var measures []bench.Measure
	for _, x := range changes() {
		measures = append(measures, x.measures()...)
	}
	if err := b.Compare(ctx, bench.Pair{Most: 1, Subject: bench.Side{Name: "changes", Do: c.round}, Measures: measures}); err != nil {
		return err
	}
	b.Count("records replicated beside the updates", "", float64(c.extra), result.AtMost(0))
	return nil
}

// The figures of a change, after its name.
const (
	figurePause  = ": pause"
	figureOff    = ": pause off what was previewed"
	figureBeside = ": p99 of other commits beside that before"
)

// measures are the figures of one change: what has no preview has a bound.
func (x change) measures() []bench.Measure {
	of := func(figure, unit string, t result.Target) bench.Measure {
		return bench.Measure{Name: x.name + figure, Unit: unit, Of: bench.Value(x.name + figure), How: bench.Alone, Target: t}
	}
	out := []bench.Measure{of(figurePause, "ms", result.Target{}), of(figureOff, "%", result.AtMost(50))}
	if !x.previewed {
		out = []bench.Measure{of(figurePause, "ms", result.AtMost(5))}
	}
	return append(out, of(figureBeside, "×", result.AtMost(2)))
}

// round makes every change once.
func (c *changing) round(ctx context.Context, _ int) (bench.Values, error) {
	all := bench.Values{}
	for _, x := range changes() {
		v, err := c.measure(ctx, x)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.name, err)
		}
		maps.Copy(all, v)
	}
	return all, nil
}

func (c *changing) load(ctx context.Context, file string) (sqlite.SchemaPlan, error) {
	tables, err := sqlite.ParseSQL(file)
	if err != nil {
		return sqlite.SchemaPlan{}, err
	}
	p, err := c.db.PlanSchema(ctx, tables)
	if err != nil {
		return p, err
	}
	_, err = c.db.LoadSchema(ctx, sqlite.SchemaLoad{Tables: tables, Who: "bench", Hash: p.Hash})
	return p, err
}

func (c *changing) exec(ctx context.Context, sql string, args ...record.Value) (store.Commit, error) {
	_, out, err := c.db.Exec(ctx, sqlite.Request{Statements: []sqlite.Statement{{SQL: sql, Args: args}}})
	return out, err
}

func (c *changing) fill(ctx context.Context) error {
	const each = 1000
	if _, err := c.load(ctx, changeBase+")"); err != nil {
		return err
	}
	if err := c.db.WaitSchema(ctx); err != nil {
		return err
	}
	for i := range c.rows / each {
		_, err := c.exec(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
			INSERT INTO t SELECT ? * 1000 + i, hex(randomblob(16)), hex(randomblob(16)), NULL FROM n`, record.Of(i))
		if err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return nil
}

// measure makes one change and counts what its writers saw of it.
func (c *changing) measure(ctx context.Context, x change) (bench.Values, error) {
	c.pauses.take()
	feed, err := c.follow(ctx)
	if err != nil {
		return nil, err
	}
	offering, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- c.updates(offering) }()
	began := time.Now()
	plan, err := c.changeAmid(ctx, x)
	stop()
	if err = errors.Join(err, <-ended); err != nil {
		return nil, errors.Join(err, feed())
	}
	if err := feed(); err != nil {
		return nil, err
	}
	pause := c.pauses.take()
	c.mu.Lock()
	commits := c.commits
	c.extra += c.records - len(commits)
	c.commits, c.records = nil, 0
	c.mu.Unlock()
	return x.values(plan, pause, commits, began.Add(changeRest)), nil
}

// changeAmid lets some updates pass before the change, and after it.
func (c *changing) changeAmid(ctx context.Context, x change) (p sqlite.SchemaPlan, err error) {
	if err := bench.Pause(ctx, changeRest); err != nil {
		return p, err
	}
	if p, err = c.load(ctx, x.file); err != nil {
		return p, err
	}
	bound, cancel := context.WithTimeout(ctx, changeTurns)
	defer cancel()
	select {
	case <-c.pauses.some:
	case <-bound.Done():
		return p, fmt.Errorf("the change is not in effect: %w", bound.Err())
	}
	if err := c.db.WaitSchema(ctx); err != nil {
		return p, err
	}
	return p, bench.Pause(ctx, changeRest)
}

// values compare the pause with what the plan said of it, and the commits
// beside it with those before the change.
func (x change) values(p sqlite.SchemaPlan, pause, commits []stretch, loaded time.Time) bench.Values {
	var took, said time.Duration
	for _, s := range pause {
		took += s.to.Sub(s.from)
	}
	for _, cost := range p.Costs {
		said += cost.Pause
	}
	var before, beside []float64
	for _, s := range commits {
		us := float64(s.to.Sub(s.from).Microseconds())
		switch {
		case s.to.Before(loaded):
			before = append(before, us)
		case !overlaps(s, pause):
			beside = append(beside, us)
		}
	}
	out := bench.Values{
		x.name + figurePause:  1000 * took.Seconds(),
		x.name + figureBeside: stat.Quantile(beside, 0.99) / stat.Quantile(before, 0.99),
	}
	if x.previewed {
		out[x.name+figureOff] = 100 * off(took, said)
	}
	return out
}

// off is how far took is from said, as a part of it.
func off(took, said time.Duration) float64 {
	d := took.Seconds()/said.Seconds() - 1
	return max(d, -d)
}

func overlaps(s stretch, pause []stretch) bool {
	for _, p := range pause {
		if s.from.Before(p.to) && p.from.Before(s.to) {
			return true
		}
	}
	return false
}
