package fleetbench

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const metricsText = `# HELP firebreak_mesh_bytes_sent_total Bytes of frames written to peers.
firebreak_mesh_bytes_sent_total{class="push"} 9165
firebreak_mesh_bytes_sent_total{class="sync"} 1.985872e+06
firebreak_mesh_frames_sent_total{class="push"} 60
firebreak_mesh_frames_sent_total{class="sync"} 32
firebreak_replica_events_total{event="arrived",lane=""} 67
firebreak_replica_events_total{event="duplicate",lane=""} 5
firebreak_replica_events_total{event="push_dropped",lane=""} 0
firebreak_replica_events_total{event="taken",lane=""} 62
`

func TestMetricsGiveWhatIsAddedUp(t *testing.T) {
	got, err := parseMetrics(strings.NewReader(metricsText))
	if err != nil {
		t.Fatal(err)
	}
	want := sums{pushBytes: 9165, syncSent: 32, syncBytes: 1_985_872, arrived: 67, taken: 62, unpushed: 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(5.0, got.since(sums{taken: 57})[taken]); diff != "" {
		t.Error(diff)
	}
}

func TestMetricsThatLackOneAreAnError(t *testing.T) {
	for _, bad := range []string{
		strings.ReplaceAll(metricsText, "event=\"taken\"", "event=\"took\""),
		strings.ReplaceAll(metricsText, "} 9165", "} x"),
		metricsText + strings.Repeat("x", maxMetricLine+1),
		"",
	} {
		if got, err := parseMetrics(strings.NewReader(bad)); err == nil {
			t.Errorf("%.40q gives %v", bad, got)
		}
	}
}
