package global_test

import (
	"fmt"
	"testing"

	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// lookup returns the class of app in region at a node.
func (w *world) lookup(n *running, app, region string) (uint32, error) {
	out, err := globalv1.NewDirectoryServiceClient(w.operator(n)).Lookup(w.t.Context(), &globalv1.LookupRequest{App: app})
	if err != nil {
		return 0, err
	}
	for _, f := range out.GetRegions() {
		if f.GetRegion() == region {
			return f.GetClass(), nil
		}
	}
	return 0, nil
}

func (w *world) wantClass(nodes []*running, app, region string, want uint32) {
	w.t.Helper()
	for _, n := range nodes {
		eventually(w.t, fmt.Sprintf("%s shows %s in %s as %d", n.name, app, region, want), func() error {
			got, err := w.lookup(n, app, region)
			if err == nil && got != want {
				err = fmt.Errorf("class %d", got)
			}
			return err
		})
	}
}

func TestAReportAtOneNodeReachesAll(t *testing.T) {
	w := newWorld(t)
	nodes := w.trio()
	w.addRegion(nodes[0], "iad")
	g := w.report(nodes[0], "iad", "iad-1", nil)
	g.presence(g.record("web", 3, nowMs()), g.record("db", 1, nowMs()))
	if got := g.accepted(); got != 2 {
		t.Fatalf("%d accepted, want 2", got)
	}
	w.wantClass(nodes, "web", "iad", 3)
	w.wantClass(nodes, "db", "iad", 1)
	w.wantClass(nodes, "none", "iad", 0)
}
