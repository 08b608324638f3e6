package survey

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const text = `# HELP go_goroutines Number of goroutines that currently exist.
# TYPE go_goroutines gauge
go_goroutines 41
firebreak_mesh_bytes_received_total{class="push"} 7547
firebreak_mesh_bytes_sent_total{class="push"} 7736
firebreak_mesh_bytes_sent_total{class="sync"} 1.985872e+06
firebreak_store_wal_bytes{lane="ams"} 41232
`

func TestMetricsGiveTheSentBytesByClass(t *testing.T) {
	got, err := read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := used{bytes: map[string]int64{"push": 7736, "sync": 1_985_872}, goroutines: 41}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(used{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	for _, bad := range []string{"go_goroutines x", "go_goroutines -1", "go_goroutines NaN", "go_goroutines 1e300", strings.Repeat("x", maxLine+1)} {
		if got, err := read(strings.NewReader(text + bad + "\n")); err == nil || len(got.bytes) > 0 {
			t.Errorf("%.20q gives %+v, %v", bad, got, err)
		}
	}
}
