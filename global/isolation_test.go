package global_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// One region's database is another's file: the others are served, that region
// is known to exist, and the node says which file it is.
func TestABrokenLaneCostsItsRegionAlone(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	w.addRegion(g1, "ams")
	for _, region := range []string{"iad", "ams"} {
		g := w.report(g1, region, region+"-1", nil)
		g.presence(g.record("web", 2, nowMs()))
		g.accepted()
	}
	g1.stop()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		path := filepath.Join(w.dir, "g1", "iad.db"+suffix)
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	other, err := os.ReadFile(filepath.Join(w.dir, "g1", "ams.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "g1", "iad.db"), other, 0o600); err != nil {
		t.Fatal(err)
	}

	again := w.start("g1")
	w.wantClass([]*running{again}, "web", "ams", 2)
	r := w.router(again)
	known := map[string]bool{}
	r.until(func(m *globalv1.WatchResponse) bool {
		if m.GetEntry().GetGeneration() != nil {
			known[m.GetEntry().GetRegion()] = true
		}
		return synced(m)
	})
	if !known["iad"] || !known["ams"] {
		t.Errorf("a router learns of the regions %v, want both: it must not take one for missing", known)
	}
	out, err := globalv1.NewDirectoryServiceClient(w.operator(again)).Status(t.Context(), &globalv1.StatusRequest{})
	if err != nil || !strings.Contains(strings.Join(out.GetAlarms(), "\n"), "region iad is not served") {
		t.Errorf("the alarms do not name the region: %v, %v", out.GetAlarms(), err)
	}
	if err := w.report(again, "iad", "iad-1", nil).ended(); status.Code(err) != codes.Unavailable {
		t.Errorf("a report for it: %v, want Unavailable", err)
	}
	ams := w.report(again, "ams", "ams-1", nil)
	ams.presence(ams.record("new", 1, nowMs()))
	if got := ams.accepted(); got != 1 {
		t.Errorf("%d of the other region's reports are taken, want 1", got)
	}
}

// A lane whose file is garbage starts empty, and its region's report fills it
// again; the garbage is kept beside it.
func TestADamagedLaneIsSetAsideAndFilledAgain(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	g := w.report(g1, "iad", "iad-1", nil)
	g.presence(g.record("web", 2, nowMs()))
	g.accepted()
	g1.stop()
	path := filepath.Join(w.dir, "g1", "iad.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	again := w.start("g1")
	w.router(again).until(func(m *globalv1.WatchResponse) bool {
		return m.GetEntry().GetRegion() == "iad" && m.GetEntry().GetGeneration() != nil
	})
	g = w.report(again, "iad", "iad-1", nil)
	g.presence(g.record("web", 3, nowMs()))
	if got := g.accepted(); got != 1 {
		t.Errorf("%d reports are taken, want 1", got)
	}
	w.wantClass([]*running{again}, "web", "iad", 3)
	if kept, _ := filepath.Glob(path + ".aside-*"); len(kept) != 1 {
		t.Errorf("kept beside it: %v, want the garbage", kept)
	}
}

// A region that floods its own sessions holds up no other.
func TestAFloodFromOneRegionHoldsUpNoOther(t *testing.T) {
	w := newWorld(t)
	g1 := w.start("g1")
	w.addRegion(g1, "iad")
	w.addRegion(g1, "ams")
	flood := w.report(g1, "iad", "iad-1", nil)
	go func() { // until the stream ends with the test
		batch := &globalv1.PresenceBatch{}
		for range 900 {
			batch.Presence = append(batch.Presence, &globalv1.Presence{App: strings.Repeat("x", 60), Class: 1})
		}
		for flood.stream.Send(&globalv1.ReportRequest{Part: &globalv1.ReportRequest_Presence{Presence: batch}}) == nil {
		}
	}()
	ams := w.report(g1, "ams", "ams-1", nil)
	for i := range 20 {
		ams.presence(ams.record("web", 1+presenceClass(i), nowMs()+int64(i)))
		if got := ams.accepted(); got != 1 {
			t.Fatalf("report %d: %d accepted, want 1", i, got)
		}
	}
	w.wantClass([]*running{g1}, "web", "ams", uint32(1+presenceClass(19)))
}
