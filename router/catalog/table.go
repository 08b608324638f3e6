package catalog

import (
	"maps"
	"sync/atomic"

	"github.com/firebreak-dev/firebreak/router/catalog/core"
)

// table is what lookups read: a base of all apps that were known at the last
// rebuild, each with a place of its own, and a small overlay of those that
// came since. Maps are never written to once they are shown.
type table struct {
	maps  atomic.Pointer[tableMaps]
	stale atomic.Int64 // since when nothing is current, Unix nanoseconds; zero if it is
}

type tableMaps struct {
	base    map[string]*place
	overlay map[string]*place
}

// place holds an app as it is now: an update replaces it whole, by one store.
type place struct {
	app atomic.Pointer[core.App]
}

const maxOverlay = 64

func newTable() *table {
	t := &table{}
	t.maps.Store(&tableMaps{base: map[string]*place{}})
	return t
}

func (t *table) get(app string) *core.App {
	m := t.maps.Load()
	p := m.base[app]
	if p == nil {
		if p = m.overlay[app]; p == nil {
			return nil
		}
	}
	return p.app.Load()
}

// put shows apps; nil takes one out. Only one goroutine may call it.
func (t *table) put(apps map[string]*core.App) {
	m := t.maps.Load()
	fresh := map[string]*place{}
	for name, app := range apps {
		p := m.base[name]
		if p == nil {
			p = m.overlay[name]
		}
		switch {
		case p != nil:
			p.app.Store(app)
		case app != nil:
			p = &place{}
			p.app.Store(app)
			fresh[name] = p
		}
	}
	if len(fresh) == 0 {
		return
	}
	next := &tableMaps{base: m.base, overlay: maps.Clone(m.overlay)}
	if next.overlay == nil {
		next.overlay = map[string]*place{}
	}
	maps.Copy(next.overlay, fresh)
	if len(next.overlay) > maxOverlay && len(next.overlay) > len(next.base)/64 {
		next = rebuilt(next)
	}
	t.maps.Store(next)
}

// rebuilt makes one base of base and overlay, without the apps that are gone.
func rebuilt(m *tableMaps) *tableMaps {
	base := make(map[string]*place, len(m.base)+len(m.overlay))
	for _, from := range []map[string]*place{m.base, m.overlay} {
		for name, p := range from {
			if p.app.Load() != nil {
				base[name] = p
			}
		}
	}
	return &tableMaps{base: base}
}

func (t *table) len() int {
	m := t.maps.Load()
	return len(m.base) + len(m.overlay)
}
