package fedsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const saysQ6 = "closings end and tombstones go, once nobody is down"

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

func closesConfirmed(_ *federation, h happened) error {
	if h.entry == nil || h.entry.Local == nil || h.replica.doubts == 0 {
		return nil
	}
	for _, rec := range h.entry.Local.Records {
		if rec.Table == closings {
			return fmt.Errorf("%s closes its earlier starts while its daemon looks at its rows", h.replica.id())
		}
	}
	return nil
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
