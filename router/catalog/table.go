package catalog

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/router/catalog/core"
)

// table is what lookups read: a hash table with one writer. Apps lie in pages,
// which are never written to once they are shown: a change makes a new page off to
// the side and shows it with one store. So it costs the same however many apps
// there are, and a lookup reads about as much memory as one in a map of Go.
type table struct {
	seed  maphash.Seed
	pages atomic.Pointer[[]atomic.Pointer[page]]
	stale atomic.Int64 // since when nothing is current, Unix nanoseconds; zero if it is
	size  atomic.Int64 // apps; only the writer changes it
}

const (
	pageSize = 8
	fill     = 5 // apps per page, on average, beyond which there are a quarter more pages
	minPages = 16
)

// page has a cache line for its head and one for each app.
type page struct {
	tags uint64 // a byte of the hash of each app; zero where nothing is
	more *page  // what found no place; nil, but for one page in twenty
	_    [6]uint64
	apps [pageSize]entry
}

// entry is one app as lookups see it.
type entry struct {
	name  string
	view  View  // with no age
	stale int64 // since when a part is not current, Unix nanoseconds; zero if all are
}

func newTable() *table {
	t := &table{seed: maphash.MakeSeed()}
	t.pages.Store(new(make([]atomic.Pointer[page], minPages)))
	return t
}

// get returns nil for an app that is not there.
func (t *table) get(app string) *entry {
	pages, hash := *t.pages.Load(), maphash.String(t.seed, app)
	for p := pageOf(pages, hash).Load(); p != nil; p = p.more {
		for m := matches(p.tags, tagOf(hash)); m != 0; m &= m - 1 {
			if e := &p.apps[bits.TrailingZeros64(m)/8]; e.name == app {
				return e
			}
		}
	}
	return nil
}

func pageOf(pages []atomic.Pointer[page], hash uint64) *atomic.Pointer[page] {
	i, _ := bits.Mul64(hash, uint64(len(pages)))
	return &pages[i]
}

func tagOf(hash uint64) uint8 { return uint8(hash) | 1 }

// matches has the high bit of every byte of tags set that is tag, and perhaps of
// others, as names are compared anyway.
func matches(tags uint64, tag uint8) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	x := tags ^ ones*uint64(tag)
	return (x - ones) &^ x & highs
}

// put shows apps; nil takes one out. Only one goroutine may call it.
func (t *table) put(apps map[string]*core.App) {
	for name, app := range apps {
		pages, hash := *t.pages.Load(), maphash.String(t.seed, name)
		at := pageOf(pages, hash)
		var next *page
		before, after := 0, 0
		for e := range at.Load().all() {
			if before++; e.name != name {
				next, after = next.with(*e, maphash.String(t.seed, e.name)), after+1
			}
		}
		if app != nil {
			next, after = next.with(show(name, app), hash), after+1
		}
		at.Store(next)
		t.size.Add(int64(after - before))
		if t.len() > fill*len(pages) {
			t.resize(len(pages) * 5 / 4)
		} else if len(pages) > minPages && 8*t.len() < fill*len(pages) {
			t.resize(len(pages) / 2)
		}
	}
}

func (t *table) resize(n int) {
	next := make([]atomic.Pointer[page], n)
	old := *t.pages.Load()
	for i := range old {
		for e := range old[i].Load().all() {
			hash := maphash.String(t.seed, e.name)
			at := pageOf(next, hash)
			at.Store(at.Load().with(*e, hash))
		}
	}
	t.pages.Store(&next)
}

// with puts an app into a page that nobody sees yet; a nil page is an empty one.
func (p *page) with(e entry, hash uint64) *page {
	if p == nil {
		p = &page{}
	}
	for i := range pageSize {
		if !p.taken(i) {
			p.tags |= uint64(tagOf(hash)) << (8 * i)
			p.apps[i] = e
			return p
		}
	}
	p.more = p.more.with(e, hash)
	return p
}

func (p *page) taken(i int) bool { return uint8(p.tags>>(8*i)) != 0 }

func (p *page) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for ; p != nil; p = p.more {
			for i := range pageSize {
				if p.taken(i) && !yield(&p.apps[i]) {
					return
				}
			}
		}
	}
}

func show(name string, app *core.App) entry {
	out := entry{name: name, view: View{Endpoints: app.Endpoints, Complete: app.Complete}}
	if !app.StaleSince.IsZero() {
		out.stale = app.StaleSince.UnixNano()
	}
	return out
}

func (t *table) len() int { return int(t.size.Load()) }

// age returns how old something is that is not current since then.
func age(since int64) time.Duration { return max(1, time.Since(time.Unix(0, since))) }
