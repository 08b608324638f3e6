package global_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// fill reports n apps.
func (g *gateway) fill(n int) {
	g.t.Helper()
	var records []presence.Record
	for i := range n {
		records = append(records, g.record(fmt.Sprintf("app-%d", i), 1, nowMs()))
	}
	g.presence(records...)
	if got := g.accepted(); got != uint64(n) {
		g.t.Fatalf("%d accepted, want %d", got, n)
	}
}

func (g *gateway) withdraw(n int) (admitted uint64) {
	g.t.Helper()
	var records []presence.Record
	for i := range n {
		records = append(records, g.record(fmt.Sprintf("app-%d", i), 0, nowMs()))
	}
	g.presence(records...)
	return g.accepted()
}

func TestAMassWithdrawalIsHeldShownAndSaysWhatEndsIt(t *testing.T) {
	w := newWorld(t)
	nodes := w.trio()
	w.addRegion(nodes[0], "iad")
	g := w.report(nodes[0], "iad", "iad-1", nil)
	g.fill(100)
	if got := g.withdraw(100); got != 50 {
		t.Errorf("%d of 100 withdrawals were admitted, want 50", got)
	}
	if got := g.withdraw(100); got != 50 { // the held half of it, again
		t.Errorf("offered again, %d stand, want the same 50", got)
	}
	for len(g.last.GetHeld()) != 50 {
		g.own()
	}
	client := globalv1.NewDirectoryServiceClient(w.operator(nodes[0]))
	regions, err := client.ListRegions(t.Context(), &globalv1.ListRegionsRequest{})
	if err != nil || regions.GetRegions()[0].GetApps() != 50 || len(regions.GetRegions()[0].GetHeld()) != 50 {
		t.Errorf("the list of regions does not show what is held: %v, %v", regions, err)
	}
	status, err := client.Status(t.Context(), &globalv1.StatusRequest{})
	if err != nil || !strings.Contains(strings.Join(status.GetAlarms(), "\n"), "firebreak region release iad") {
		t.Errorf("no alarm names the command that ends the hold: %v, %v", status.GetAlarms(), err)
	}
	r := w.router(nodes[0])
	r.until(synced)
	present, held := 0, 0
	for app, class := range r.classes {
		if class > 0 {
			present++
		}
		if r.held[app] {
			held++
		}
	}
	if present != 50 || held != 50 {
		t.Errorf("a router sees %d apps and %d held, want 50 and 50", present, held)
	}
	// The brake stores nothing: another node judges alike.
	eventually(t, "g2 has what g1 has", func() error {
		out, err := globalv1.NewDirectoryServiceClient(w.operator(nodes[1])).ListRegions(t.Context(), &globalv1.ListRegionsRequest{})
		if err == nil && (len(out.GetRegions()) != 1 || out.GetRegions()[0].GetApps() != 50) {
			err = fmt.Errorf("it has %v", out.GetRegions())
		}
		return err
	})
	b := w.report(nodes[1], "iad", "iad-1", nil)
	if got := b.withdraw(100); got != 50 {
		t.Errorf("another node lets %d stand, want the same 50", got)
	}
}

func TestAnObservingBrakeLetsThroughAndTells(t *testing.T) {
	w := newWorld(t)
	w.observe = true
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	g := w.report(g1, "iad", "iad-1", nil)
	g.fill(100)
	if got := g.withdraw(100); got != 100 {
		t.Errorf("%d of 100 withdrawals were admitted, want all", got)
	}
	status, err := globalv1.NewDirectoryServiceClient(w.operator(g1)).Status(t.Context(), &globalv1.StatusRequest{})
	if err != nil || !strings.Contains(strings.Join(status.GetAlarms(), "\n"), "let 50 withdrawals through") {
		t.Errorf("the alarms do not tell what would be held: %v, %v", status.GetAlarms(), err)
	}
}
