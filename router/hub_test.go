package router

import (
	"log/slog"
	"testing"

	"github.com/firebreak-dev/firebreak/router/directory"
	"github.com/firebreak-dev/firebreak/router/join"
)

// A watch drains the cores of all its regions in turn: a lock that one of them
// keeps would stop the others.
func TestPanicOverOneRegionKeepsNoLock(t *testing.T) {
	c := newRegionClient(&regionClient{
		name: "iad", log: slog.New(slog.DiscardHandler), metrics: newMetrics(nil), now: func() directory.Instant { return directory.Instant{Wall: 1, Mono: 1} },
	})
	h := newHub("iad", c, "r1")
	sub := h.enter(func() {})
	h.add(sub, "web")
	take := func() (err error) {
		defer c.guard(&err)
		h.change(func(*join.Region) { panic("a row that nobody thought of") })
		return nil
	}
	if err := take(); err == nil {
		t.Error("the panic is no error of its region")
	}
	if events, _ := h.drain(sub, 10); len(events) == 0 {
		t.Error("what was owed before is lost")
	}
}
