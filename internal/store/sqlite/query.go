package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Query is one read-only statement.
type Query struct {
	Caller  string // who asks, for the log and for status; may be empty
	SQL     string
	Args    []record.Value
	Named   map[string]record.Value // in place of Args, as in [Statement]
	MaxRows int                     // cut the answer there; zero, or more than the store's limit: its limit, beyond which the query is refused
	Timeout time.Duration           // zero, or more than the store's limit: its limit
	Watch   bool                    // on the connections of watches: however busy users keep theirs, these are free
}

// readingWords begin what Query runs.
var readingWords = []string{"SELECT", "WITH", "VALUES", "EXPLAIN", "PRAGMA"}

// Result says what a query gave.
type Result struct {
	Rows      int
	Bytes     int
	Truncated bool // MaxRows cut it
}

// LimitError says that a read was ended because it cost too much.
type LimitError struct {
	What  string // "rows", "bytes", "time" or "temporary space"
	Limit string
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("query was ended: over the limit of %s (%s)", e.Limit, e.What)
}

var errCut = errors.New("cut")

// Query runs one read-only statement from one moment's view of the database.
// The first call of row brings the column names and a nil row. Values come as
// they are stored. What writes, attaches, loads, or reads what is the node's
// own is refused by name; what takes too long, or ctx, interrupts it.
func (db *DB) Query(ctx context.Context, q Query, row func(columns []string, r store.Row) error) (Result, error) {
	res, err := db.query(ctx, q, row)
	label := "answered"
	if err != nil {
		label = "refused"
		db.endedQuery(q, err)
		err = fmt.Errorf("query: %w", err)
	}
	db.metrics.queries.WithLabelValues(label).Inc()
	return res, err
}

func (db *DB) query(ctx context.Context, q Query, row func([]string, store.Row) error) (Result, error) {
	limit := db.cfg.Limits
	if q.Timeout > 0 {
		limit.Time = min(limit.Time, q.Timeout)
	}
	cut := q.MaxRows > 0 && q.MaxRows <= limit.Rows
	if cut {
		limit.Rows = q.MaxRows
	}
	outer := ctx
	ctx, stop := context.WithTimeout(ctx, limit.Time)
	defer stop()
	done, err := db.readers.add(q.reading(), stop)
	if err != nil {
		return Result{}, err
	}
	defer done()
	pool := db.poolOf(q)
	c, err := pool.get(ctx)
	if err != nil {
		return Result{}, tooLong(outer, err, limit)
	}
	defer pool.put(c)
	s, args, err := c.prepareUser(Statement{q.SQL, q.Args, q.Named}, readingWords...)
	if err != nil {
		return Result{}, err
	}
	defer s.Close()
	c.temp.Over() // of an earlier query
	if !s.Readonly() {
		return Result{}, errors.New("statement writes, and this is a read")
	}
	var res Result
	var columns []string
	err = readRows(ctx, s, toDriver(args), func(names []string) error {
		columns = append(columns, names...)
		return row(columns, nil)
	}, func(r []record.Value) error {
		if res.Rows == limit.Rows {
			if cut {
				res.Truncated = true
				return errCut
			}
			return &LimitError{"rows", fmt.Sprint(limit.Rows)}
		}
		for _, v := range r {
			res.Bytes += 8 + len(v.Data)
		}
		if res.Bytes > limit.Bytes {
			return &LimitError{"bytes", fmt.Sprint(limit.Bytes)}
		}
		res.Rows++
		return row(columns, r)
	})
	if errors.Is(err, errCut) {
		err = nil
	}
	if err != nil && c.temp.Over() {
		err = &LimitError{"temporary space", fmt.Sprintf("%d bytes", limit.Temp)}
	}
	return res, tooLong(outer, err, limit)
}

// poolOf returns the connections that a query runs on.
func (db *DB) poolOf(q Query) *pool {
	if q.Watch {
		return db.watches
	}
	return db.users
}

func (q Query) reading() Reading { return Reading{Caller: q.Caller, Statement: shorten(q.SQL)} }

// endedQuery tells of a query that was ended, if that is more than its caller's
// own mistake.
func (db *DB) endedQuery(q Query, err error) {
	_ = db.sound(err)
	if l, ok := errors.AsType[*LimitError](err); ok {
		r := q.reading()
		db.cfg.Logger.Warn("query ended", "limit", l.What, "of", l.Limit, "caller", r.Caller, "statement", r.Statement)
	}
}

// tooLong names the limit if it was that which ended a query, and not the
// caller.
func tooLong(caller context.Context, err error, l Limits) error {
	if errors.Is(err, context.DeadlineExceeded) && caller.Err() == nil {
		return &LimitError{"time", l.Time.String()}
	}
	return err
}
