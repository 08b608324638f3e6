package process

import (
	"fmt"
	"testing"
	"time"
)

// How long a step may take: the product's own bounds, and room for a host that
// does ten things at once.
const (
	soon   = 20 * time.Second // a write is everywhere, an answer falls back
	healed = 35 * time.Second // a restarted part is back; a dead one is noticed
)

// TestFederationOfProcesses takes one federation through the deaths of its
// parts, each in turn; a failure names the step.
func TestFederationOfProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts eleven processes and waits for deaths to be noticed: about a minute")
	}
	f := build(t)
	f.startGlobals(3)
	f.startRegion("iad", 3)
	f.startRegion("ams", 3)
	f.startRouters(2)
	f.publish("iad/w1", "web", "m1")
	f.publish("iad/w2", "web", "m2")
	f.publish("iad/w3", "web", "m3")
	f.publish("ams/w1", "web", "m4")
	f.publish("ams/w2", "far", "m5")
	f.startCatalog("web", "far")
	f.step("all is found, from everywhere", healed, f.complete)
	f.step("an unknown app is not found", soon, f.unknown)

	f.each("iad-w3", (*process).kill)
	f.step("a dead node is seen", healed, func() error { return f.member("iad/w1", "w3", "dead") })
	f.step("a dead node takes no machine away", soon, f.complete)
	f.each("iad-w3", (*process).start)
	f.step("complete after a region node's restart", healed, f.complete)

	f.each("g1", (*process).kill)
	f.step("routers leave a dead global node", healed, func() error { return f.notFollowed("g1") })
	f.step("a dead global node is not missed", soon, f.complete)
	f.each("g1", (*process).start)
	f.step("complete after a global node's restart", healed, f.complete)

	f.each("ams-", (*process).kill)
	f.step("a dead region is partial and never empty", healed, func() error { return f.without("ams") })
	f.each("ams-", (*process).start)
	f.step("complete after a region's restart", healed, f.complete)

	f.each("g", (*process).kill)
	f.step("without global all is found", soon, f.found)
	f.publish("iad/w1", "web", "m6")
	f.step("without global a new machine is found", soon, f.found)
	f.each("r", (*process).kill)
	f.step("without routers the catalog serves", soon, f.edgeServes)
	f.each("r", (*process).start)
	f.step("routers start cold from the last good map", soon, f.cold)
	f.each("g", (*process).start)
	f.step("complete after global's restart", healed, f.complete)

	f.each("r", func(p *process) { p.stop(); p.start() })
	f.step("complete after every router's clean restart", healed, f.complete)
	f.step("all nodes are equal", soon, f.equal)
	f.each("", (*process).stop)
}

// each does something to the processes whose names begin with prefix.
func (f *federation) each(prefix string, do func(*process)) {
	f.t.Helper()
	n := 0
	for _, p := range f.processes {
		if len(p.name) >= len(prefix) && p.name[:len(prefix)] == prefix {
			do(p)
			n++
		}
	}
	if n == 0 {
		f.t.Fatalf("no process is named %s", prefix)
	}
}

// unknown asks for an app that nobody runs: that is "not found" only if every
// region is covered.
func (f *federation) unknown() error {
	for _, r := range f.routers {
		if got := f.ask(r, "where", "nobody"); got.code != 3 {
			return fmt.Errorf("router %s: %v", r, got)
		}
	}
	return nil
}
