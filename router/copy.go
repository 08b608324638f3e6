package router

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// held is the copy of one region's rows. Its lock is no other region's.
type held struct {
	mu     sync.Mutex
	region *directory.Region
}

// with works on the rows, and gives back the lock whatever fn does.
func (h *held) with(fn func(*directory.Region)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn(h.region)
}

// copyOf is the router's copy of the directory. Safe for concurrent use.
type copyOf struct {
	// Set at the start, then constant.
	fleet   string
	globals int // configured
	now     func() directory.Instant

	regions atomic.Pointer[map[fleet.Region]*held] // replaced whole, never written to

	mu        sync.Mutex // guards what follows; held for a few instructions
	heard     directory.Instant
	everHeard bool // heard is set, perhaps from the last-good file
	confirmed bool // heard in this process
	follows   string
	snapshot  *snapshotting // under way
	dirty     bool          // differs from the file
}

type snapshotting struct {
	source  string
	replace bool
}

func newCopy(fleetName string, globals int, now func() directory.Instant) *copyOf {
	c := &copyOf{fleet: fleetName, globals: globals, now: now}
	c.regions.Store(&map[fleet.Region]*held{})
	return c
}

// load takes over what a last-good file held.
func (c *copyOf) load(f directory.File) {
	m := make(map[fleet.Region]*held, len(f.Regions))
	for _, r := range f.Regions {
		m[r.Name()] = &held{region: r}
	}
	c.regions.Store(&m)
	if f.Heard != 0 {
		c.heard, c.everHeard = directory.FromFile(f.Heard, c.now()), true
	}
}

// names lists the regions, in order.
func (c *copyOf) names() []fleet.Region { return slices.Sorted(maps.Keys(*c.regions.Load())) }

func (c *copyOf) get(name fleet.Region) (*held, bool) {
	h, ok := (*c.regions.Load())[name]
	return h, ok
}

// getOrAdd returns a region's copy, an empty one if there is none.
func (c *copyOf) getOrAdd(name fleet.Region) *held {
	if h, ok := c.get(name); ok {
		return h
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.get(name); ok {
		return h
	}
	h := &held{region: directory.NewRegion(c.fleet, name, c.now())}
	if c.snapshot != nil {
		h.region.Begin(c.snapshot.source, c.snapshot.replace)
	}
	m := maps.Clone(*c.regions.Load())
	m[name] = h
	c.regions.Store(&m)
	return h
}

// begin says that source begins a snapshot. It reports whether that replaces
// the copy, which is too old to be merged.
func (c *copyOf) begin(source string) (replace bool) {
	c.mu.Lock()
	replace = c.everHeard && c.now().Since(c.heard) > directory.MaxAge
	c.snapshot = &snapshotting{source, replace}
	c.mu.Unlock()
	for _, name := range c.names() {
		if h, ok := c.get(name); ok {
			h.with(func(r *directory.Region) { r.Begin(source, replace) })
		}
	}
	return replace
}

// merge takes an entry and reports whether it changed the copy.
func (c *copyOf) merge(e directory.Entry) bool {
	changed := false
	c.getOrAdd(e.Region).with(func(r *directory.Region) { changed = r.Merge(e, c.now()) })
	if changed {
		c.markDirty()
	}
	return changed
}

// synced ends a snapshot and lists the regions in which it changed something.
func (c *copyOf) synced() (changed []fleet.Region) {
	c.mu.Lock()
	c.snapshot = nil
	c.mu.Unlock()
	for _, name := range c.names() {
		h, ok := c.get(name)
		if !ok {
			continue
		}
		moved, gone := false, false
		h.with(func(r *directory.Region) { moved, gone = r.Synced(c.globals, c.now()), r.Gone(c.globals) })
		if moved {
			changed = append(changed, name)
		}
		if gone {
			c.forget(name)
			changed = append(changed, name)
		}
	}
	if len(changed) > 0 {
		c.markDirty()
	}
	return changed
}

func (c *copyOf) forget(name fleet.Region) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := maps.Clone(*c.regions.Load())
	delete(m, name)
	c.regions.Store(&m)
}

// confirm takes a region's confirmation and reports whether it changed rows.
// One of a region that the copy does not have is nobody's.
func (c *copyOf) confirm(conf directory.Confirmation) bool {
	h, ok := c.get(conf.Region)
	if !ok {
		return false
	}
	changed := false
	h.with(func(r *directory.Region) { changed = r.Confirm(conf, c.now()) })
	if changed {
		c.markDirty()
	}
	return changed
}

// hear says that source answered what was asked at the moment asked, all of
// its snapshot having come before.
func (c *copyOf) hear(source string, asked directory.Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard, c.everHeard, c.confirmed, c.follows = asked, true, true, source
}

func (c *copyOf) unfollow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follows, c.snapshot = "", nil
}

func (c *copyOf) markDirty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty = true
}

// age returns how long ago a global node was last heard, negative for never:
// in this process, or at all.
func (c *copyOf) age() (here, ever time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	here, ever = -1, -1
	if c.everHeard {
		ever = c.now().Since(c.heard)
	}
	if c.confirmed {
		here = ever
	}
	return here, ever
}

func (c *copyOf) following() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.follows
}

// standings returns how every region stands to an app, in the order of names.
func (c *copyOf) standings(app fleet.App) []directory.Standing {
	names := c.names()
	out := make([]directory.Standing, 0, len(names))
	for _, name := range names {
		if s, ok := c.standing(name, app); ok {
			out = append(out, s)
		}
	}
	return out
}

func (c *copyOf) standing(name fleet.Region, app fleet.App) (directory.Standing, bool) {
	h, ok := c.get(name)
	if !ok {
		return directory.Standing{}, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.region.Standing(app, c.now()), true
}

// record returns what a region says of itself, and how many apps it runs.
func (c *copyOf) record(name fleet.Region) (rec presence.Region, apps int) {
	h, ok := c.get(name)
	if !ok {
		return presence.Region{Name: name}, 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.region.Record(), h.region.Present()
}

// marked counts the rows that a snapshot lacked and nobody confirmed absent.
func (c *copyOf) marked() int {
	n := 0
	for _, name := range c.names() {
		if h, ok := c.get(name); ok {
			h.with(func(r *directory.Region) { n += len(r.Marked()) })
		}
	}
	return n
}

// trim forgets what is too old to matter.
func (c *copyOf) trim() {
	for _, name := range c.names() {
		if h, ok := c.get(name); ok {
			h.with(func(r *directory.Region) { r.Trim(c.now()) })
		}
	}
}
