package router

import (
	"maps"
	"slices"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// poke says that an app's standing in a region may have changed; without an
// app, that of any.
type poke struct {
	region fleet.Region
	app    fleet.App
}

// bell wakes one watch. Pokes are a set, so it is bounded by what is watched.
// Safe for concurrent use.
type bell struct {
	rung chan struct{} // of size 1: who is awake needs no second ring

	mu    sync.Mutex // guards what follows
	apps  map[fleet.App]struct{}
	pokes map[poke]struct{}
}

func newBell() *bell {
	return &bell{rung: make(chan struct{}, 1), apps: map[fleet.App]struct{}{}, pokes: map[poke]struct{}{}}
}

// ring wakes without blocking.
func (b *bell) ring() {
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

func (b *bell) want(app fleet.App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apps[app] = struct{}{}
}

func (b *bell) unwant(app fleet.App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.apps, app)
}

// poke notes a change, if it is of something that is watched.
func (b *bell) poke(p poke) {
	b.mu.Lock()
	_, wanted := b.apps[p.app]
	if wanted || p.app == "" {
		b.pokes[p] = struct{}{}
	}
	b.mu.Unlock()
	if wanted || p.app == "" {
		b.ring()
	}
}

func (b *bell) take() []poke {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pokes) == 0 {
		return nil
	}
	out := slices.Collect(maps.Keys(b.pokes))
	clear(b.pokes)
	return out
}

// watchers are the bells of all watches. Safe for concurrent use.
type watchers struct {
	mu  sync.RWMutex // guards all
	all map[*bell]struct{}
}

func newWatchers() *watchers { return &watchers{all: map[*bell]struct{}{}} }

func (w *watchers) enter(b *bell) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all[b] = struct{}{}
}

func (w *watchers) leave(b *bell) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, b)
}

// changed pokes every watch that the change may concern.
func (w *watchers) changed(region fleet.Region, app fleet.App) {
	w.mu.RLock()
	all := slices.Collect(maps.Keys(w.all))
	w.mu.RUnlock()
	for _, b := range all {
		b.poke(poke{region, app})
	}
}

func (w *watchers) count() int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return len(w.all)
}
