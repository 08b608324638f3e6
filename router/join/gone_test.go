package join

import (
	"testing"
	"time"

	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/router/directory"
)

func status(s clusterv1.CoverageState) *regionv1.WatchResponse {
	return &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Status{Status: &regionv1.WatchStatus{Coverage: &clusterv1.Coverage{Region: "ams", State: s}}}}
}

const live, stale = clusterv1.CoverageState_COVERAGE_STATE_LIVE, clusterv1.CoverageState_COVERAGE_STATE_STALE

func setup(t *testing.T) (*Region, func(...*regionv1.WatchResponse)) {
	r := NewRegion("ams")
	now := directory.Instant{Mono: time.Second, Wall: 1}
	r.Add(1, "web", now)
	r.Connected(1, directory.Instant{Mono: time.Second, Wall: 1})
	h := func(ms ...*regionv1.WatchResponse) {
		for _, m := range ms {
			if m.GetStatus() == nil {
				m.Interest = r.interests["web"].id
			}
			if err := r.Handle(m, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	h(status(live), &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Snapshot{}},
		&regionv1.WatchResponse{Position: []byte("p1"), Event: &regionv1.WatchResponse_Machine{Machine: &regionv1.Machine{Worker: "w", Id: "a", App: "web"}}},
		&regionv1.WatchResponse{Position: []byte("p2"), Event: &regionv1.WatchResponse_Synced{}})
	h(status(stale), &regionv1.WatchResponse{Position: []byte("p3"), Event: &regionv1.WatchResponse_Gone{Gone: &regionv1.MachineGone{Worker: "w", Id: "a"}}})
	return r, h
}

// after tells a snapshot without the machine to the interest that is asked for
// now, and reports whether the machine is still held.
func afterSnapshot(r *Region, h func(...*regionv1.WatchResponse)) bool {
	h(&regionv1.WatchResponse{Event: &regionv1.WatchResponse_Snapshot{}},
		&regionv1.WatchResponse{Position: []byte("p4"), Event: &regionv1.WatchResponse_Synced{}})
	return len(r.interests["web"].machines) > 0
}

func TestAMachineThatAnUnfitGatewayLostIsJudgedOnceItIsFit(t *testing.T) {
	r, h := setup(t)
	was := r.interests["web"].id
	if h(status(stale)); len(r.interests["web"].machines) != 1 {
		t.Fatal("the word of an unfit gateway took a machine away")
	}
	h(status(live))
	if r.interests["web"].id == was || afterSnapshot(r, h) {
		t.Error("no new snapshot was asked for, or it did not count")
	}
}

func TestAMachineThatAnUnfitGatewayLostIsJudgedByTheNextOneAfterAResume(t *testing.T) {
	r, h := setup(t)
	was := r.interests["web"].id
	r.Lost("unfit", directory.Instant{Mono: 2 * time.Second, Wall: 2})
	r.Connected(1, directory.Instant{Mono: time.Second, Wall: 1})
	h(status(live), &regionv1.WatchResponse{Position: []byte("p3"), Event: &regionv1.WatchResponse_Synced{}}) // resumed
	if r.interests["web"].id == was || afterSnapshot(r, h) {
		t.Error("no new snapshot was asked for, or it did not count")
	}
}
