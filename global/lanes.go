package global

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// lanes are the regions that the list names. A lane is opened when the list
// first names its region and stays until the process ends. One that fails stays
// too: routers must know that its region exists. Safe for concurrent use.
type lanes struct {
	// Set once, then constant.
	open   func(fleet.Region) (*lane, error) // one that cannot be opened comes failed, and why
	opened bell                              // rings when a lane is to be run
	list   *ledger

	mu      sync.Mutex // guards the fields below
	all     map[fleet.Region]*lane
	changed chan struct{}     // closed when all changes
	readers map[bell]struct{} // ring for every lane, later ones too
}

func newLanes(list *ledger, open func(fleet.Region) (*lane, error)) *lanes {
	s := &lanes{
		open: open, opened: newBell(), list: list,
		all: map[fleet.Region]*lane{}, readers: map[bell]struct{}{}, changed: make(chan struct{}),
	}
	list.apply, list.after = s.put, func() {}
	return s
}

// put takes a row of the list. It is called by the list's follower alone.
func (s *lanes) put(_ string, row store.Row, rank record.Rank) error {
	region, g, err := generationOf(row)
	if err != nil {
		return err
	}
	l := s.get(region)
	if l == nil {
		return s.add(region, g, rank)
	}
	l.view(func(c *directory.Core) { c.PutGeneration(g, string(rank)) })
	l.bells.ring()
	return nil
}

func (s *lanes) add(region fleet.Region, g presence.Generation, rank record.Rank) error {
	l, err := s.open(region)
	l.core.PutGeneration(g, string(rank)) // nobody else has it yet
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.all[region] = l
	for b := range s.readers {
		l.bells.add(b)
		b.ring()
	}
	s.opened.ring()
	return err
}

// await returns once a region's lane is open and holds what is on its disk.
func (s *lanes) await(ctx context.Context, region fleet.Region) error {
	for {
		s.mu.Lock()
		l, changed := s.all[region], s.changed
		s.mu.Unlock()
		if l != nil {
			return l.ready(ctx)
		}
		if err := waitFor(ctx, changed); err != nil {
			return err
		}
	}
}

// get returns a region's lane, or nil.
func (s *lanes) get(region fleet.Region) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[region]
}

// sorted returns all lanes, by region.
func (s *lanes) sorted() []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*lane, 0, len(s.all))
	for _, region := range slices.Sorted(maps.Keys(s.all)) {
		out = append(out, s.all[region])
	}
	return out
}

// failures says which regions this node cannot serve, and why.
func (s *lanes) failures() map[fleet.Region]error {
	out := map[fleet.Region]error{}
	for _, l := range s.sorted() {
		if err := l.failure(); err != nil {
			out[l.region] = err
		}
	}
	return out
}

// watch rings b at every change of any region until unwatch.
func (s *lanes) watch(b bell) {
	s.mu.Lock()
	s.readers[b] = struct{}{}
	all := slices.Collect(maps.Values(s.all))
	s.mu.Unlock()
	for _, l := range all {
		l.bells.add(b)
	}
}

func (s *lanes) unwatch(b bell) {
	s.mu.Lock()
	delete(s.readers, b)
	all := slices.Collect(maps.Values(s.all))
	s.mu.Unlock()
	for _, l := range all {
		l.bells.remove(b)
	}
}

// addRegion writes a region into the list unless it is there, and returns its
// generation.
func (s *lanes) addRegion(ctx context.Context, region fleet.Region, g presence.Generation) (presence.Generation, bool, error) {
	existed := false
	_, err := s.list.store.Update(ctx, func(tx store.Tx) error {
		row, ok, err := tx.Get(tableGenerations, record.Of(string(region)))
		if err != nil {
			return err
		}
		if ok {
			existed = true
			_, g, err = generationOf(row)
			return err
		}
		return tx.Put(tableGenerations, generationRow(region, g))
	})
	return g, existed, err
}
