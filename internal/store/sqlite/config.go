package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Durability says when a local write is acknowledged. What peers sent is
// never waited for: they have it.
type Durability int

// The durabilities. Both survive the end of the process.
const (
	Fsync Durability = iota // after an fsync: survives a power cut
	OS                      // once the operating system has it
)

// Limits bounds what one read may cost. Zero fields take the defaults.
type Limits struct {
	Rows    int           // rows of one answer; zero means 100,000
	Bytes   int           // bytes of one answer; zero means 64 MiB
	Time    time.Duration // of one query; zero means 5s
	Readers int           // queries at once; zero means 4
	Pin     time.Duration // how long a snapshot may hold the log; zero means one minute
	Temp    int64         // bytes that one query may sort and materialise on disk; zero means 64 MiB
	WAL     int64         // bytes of the log from which on peers' records wait; zero means 1 GiB
}

// Config says which file to open and in whose name.
type Config struct {
	Path        string                // database file; its directory must exist
	Fleet       string                // name of the fleet
	Cluster     string                // "global" or "region/<name>"; for lanes "global" too
	Lane        string                // region whose records a global node keeps here; empty for a region's own cluster
	Node        record.Node           // whose database it is
	Tables      []schema.Table        // replicated tables, with ids; of kind zero: local tables
	Definitions bool                  // users' tables come beside those, by definitions that replicate
	Stagger     time.Duration         // within which the nodes take their turns at a step that blocks writes; zero means 30s
	Views       []string              // CREATE VIEW statements, made anew at every open
	Durability  Durability            // zero is Fsync
	Budget      Budget                // of each writer; zero means none
	Now         func() time.Time      // nil means time.Now
	Rand        func() uint64         // bits of writers; nil means random
	ClockFault  func() error          // why shared rows may not be stamped now, wrapping store.ErrClock; nil never refuses. It must not wait
	Limits      Limits                // of readers
	Logger      *slog.Logger          // nil discards
	Metrics     prometheus.Registerer // nil leaves metrics unregistered
	SetAside    bool                  // a damaged file is renamed and kept, and the store starts empty; else it is refused
	Progress    func()                // called in every round of the loop, for a watchdog; nil for none
	FeedKeep    int                   // feed entries kept on disk; zero means 100,000
	Program     string                // version of the program: another one tries again what has ended the process

	// Trip is called with every row that peers' records are about to show, to
	// break the program on purpose: it may panic or end the process. For tests
	// and federations for development; nil in production.
	Trip func(table string, row store.Row)
}

func (c Config) validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(c.Path != "", "path is empty")
	need(c.Fleet != "", "fleet is empty")
	need(c.Cluster != "", "cluster is empty")
	need(c.Node != "", "node is empty")
	need(len(c.Node) <= maxNode, "node %q of %d bytes is over the limit of %d", c.Node, len(c.Node), maxNode)
	need(c.FeedKeep >= 0, "feed keep %d is negative", c.FeedKeep)
	seen := map[string]bool{}
	for _, t := range c.Tables {
		need(!seen[t.Name], "table %s is listed twice", t.Name)
		seen[t.Name] = true
		if err := checkTable(t); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if abs, err := filepath.Abs(c.Path); err == nil {
		c.Path = abs
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Uint64
	}
	if c.ClockFault == nil {
		c.ClockFault = func() error { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Progress == nil {
		c.Progress = func() {}
	}
	if c.Stagger == 0 {
		c.Stagger = 30 * time.Second
	}
	if c.FeedKeep == 0 {
		c.FeedKeep = 100_000
	}
	if c.Limits.Rows == 0 {
		c.Limits.Rows = 100_000
	}
	if c.Limits.Bytes == 0 {
		c.Limits.Bytes = 64 << 20
	}
	if c.Limits.Time == 0 {
		c.Limits.Time = 5 * time.Second
	}
	if c.Limits.Readers == 0 {
		c.Limits.Readers = 4
	}
	if c.Limits.Temp == 0 {
		c.Limits.Temp = 64 << 20
	}
	if c.Limits.WAL == 0 {
		c.Limits.WAL = 1 << 30
	}
	if c.Limits.Pin == 0 {
		c.Limits.Pin = time.Minute
	}
	return c
}
