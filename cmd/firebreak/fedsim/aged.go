package fedsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sim"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const saysQ6 = "closings end and tombstones go, once nobody is down"

// rest waits until nobody has anything left to close, and every tombstone could
// have been collected.
func (f *federation) rest() error {
	if !f.opts.Closing {
		return nil
	}
	began := f.world.Now()
	done, err := f.world.RunUntil(began+closeWithin, f.due(func() bool {
		return f.each(func(r *replica) error {
			if !r.core.Stats().Closing.Done {
				return errOpen
			}
			return nil
		}) == nil
	}))
	if err != nil {
		return err
	}
	if !done {
		return &sim.Violation{ID: "Q6", Says: saysQ6, Err: fmt.Errorf("%v after %v: %s", errOpen, closeWithin, f.open())}
	}
	if err := f.world.Run(f.world.Now() + ages.Owned + 2*collectEvery); err != nil {
		return err
	}
	if err := f.release(); err != nil {
		return err
	}
	f.rested = true
	return f.props.AtRest(f)
}

var errOpen = errors.New("a closing is not done")

// open names who has not closed, and for whom it waits.
func (f *federation) open() string {
	var out []string
	_ = f.each(func(r *replica) error {
		if c := r.core.Stats().Closing; !c.Done {
			out = append(out, fmt.Sprintf("%s waits for %v", r.id(), c.Waiting))
		}
		return nil
	})
	return strings.Join(out, ", ")
}

// empty has one node of some seeds lose its disk, with all at rest.
func (f *federation) empty() error {
	if f.opts.Seed%4 != 1 {
		return nil
	}
	p := f.all[int(f.opts.Seed/4)%len(f.all)]
	if len(p.peers()) == 0 {
		return nil
	}
	p.stop()
	p.wipe()
	p.start()
	if err := f.settle("L8", "an empty node catches up within 20 s", emptyWithin); err != nil {
		return err
	}
	return f.props.AtRest(f)
}

// tombstonesGo: with every closing done, no owned tombstone outlasts its age by
// more than two collections.
func tombstonesGo(f *federation) error {
	if !f.rested {
		return nil
	}
	return f.each(func(r *replica) error {
		oldest := r.proc.wall().Add(-ages.Owned - 2*collectEvery)
		return r.eachOwned(func(rec record.Record, c record.Changeset) error {
			if rec.Deleted && time.UnixMilli(c.Wall).Before(oldest) {
				return fmt.Errorf("%s keeps the tombstone of %q, by %v", r.id(), rec.Key, c.Point())
			}
			return nil
		})
	})
}

// eachOwned calls fn for every owned record that r has received and keeps.
func (r *replica) eachOwned(fn func(record.Record, record.Changeset) error) error {
	snap, err := r.store.Snapshot(context.Background())
	if err != nil {
		return err
	}
	defer snap.Close()
	var scopes []store.Scope
	for _, p := range r.fed().all {
		if p.cluster == r.proc.cluster {
			scopes = append(scopes, store.Scope{Kind: record.Owned, Node: p.name})
		}
	}
	list, err := snap.List(scopes)
	if err != nil {
		return err
	}
	for {
		page, err := list.Next(1 << 20)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list the owned records of %s: %w", r.id(), err)
		}
		for _, c := range page {
			for _, rec := range c.Records {
				if err := fn(rec, c); err != nil {
					return err
				}
			}
		}
	}
}
