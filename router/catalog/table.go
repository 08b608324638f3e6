package catalog

import (
	"maps"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/router/catalog/core"
)

// table is what lookups read: an immutable base of all apps, and a small
// overlay of those that changed since it was made. Every change makes a new
// overlay, off to the side, and shows it with one store.
type table struct {
	shown atomic.Pointer[snapshot]
	stale atomic.Int64 // since when nothing is current, Unix nanoseconds; zero if it is
}

// snapshot is never written to once it is shown.
type snapshot struct {
	base    map[string]shown
	overlay map[string]shown // wins over base
}

// shown is one app as lookups see it.
type shown struct {
	endpoints []Endpoint
	stale     int64 // since when a part is not current, Unix nanoseconds; zero if all are
	complete  bool
	there     bool
}

// minOverlay is how large an overlay may always get; beyond, it may get as
// large as costs about as much to copy as a base does in the end.
const minOverlay = 128

func newTable() *table {
	t := &table{}
	t.shown.Store(&snapshot{})
	return t
}

func (t *table) get(app string) shown {
	s := t.shown.Load()
	if len(s.overlay) > 0 {
		if a, ok := s.overlay[app]; ok {
			return a
		}
	}
	return s.base[app]
}

// put shows apps; nil takes one out. Only one goroutine may call it.
func (t *table) put(apps map[string]*core.App) {
	s := t.shown.Load()
	next := &snapshot{base: s.base, overlay: maps.Clone(s.overlay)}
	if next.overlay == nil {
		next.overlay = make(map[string]shown, len(apps))
	}
	for name, app := range apps {
		next.overlay[name] = show(app)
	}
	if n := len(next.overlay); n > minOverlay && n*n > 4*len(next.base) {
		next = &snapshot{base: next.merged()}
	}
	t.shown.Store(next)
}

func show(app *core.App) shown {
	if app == nil {
		return shown{}
	}
	out := shown{endpoints: app.Endpoints, complete: app.Complete, there: true}
	if !app.StaleSince.IsZero() {
		out.stale = app.StaleSince.UnixNano()
	}
	return out
}

// merged is base and overlay in one, without the apps that are gone.
func (s *snapshot) merged() map[string]shown {
	out := make(map[string]shown, len(s.base)+len(s.overlay))
	maps.Copy(out, s.base)
	for name, app := range s.overlay {
		if app.there {
			out[name] = app
		} else {
			delete(out, name)
		}
	}
	return out
}

func (t *table) len() int {
	s := t.shown.Load()
	n := len(s.base)
	for name, app := range s.overlay {
		_, based := s.base[name]
		switch {
		case app.there && !based:
			n++
		case !app.there && based:
			n--
		}
	}
	return n
}

// age returns how old something is that is not current since then.
func age(since int64) time.Duration { return max(1, time.Since(time.Unix(0, since))) }
