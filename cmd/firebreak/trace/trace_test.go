package trace_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace/tracegen"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

const day = trace.Time(24 * 3600 * 1e9)

// play applies a schedule as a replay does and counts what is left.
func play(s trace.Schedule) map[fleet.App]int {
	live := map[int]bool{}
	for _, i := range s.Initial {
		live[i] = true
	}
	for from, now := 0, s.Start(); from < len(s.Events); now += day / 50 {
		due := s.Due(from, now)
		for _, e := range due {
			live[e.Machine] = !e.Gone
		}
		from += len(due)
	}
	out := map[fleet.App]int{}
	for i, alive := range live {
		if alive {
			out[s.Machines[i].App]++
		}
	}
	return out
}

func TestAReplayEndsAtTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		machines := tracegen.Generate(tracegen.Config{
			Seed:     rapid.Uint64().Draw(t, "seed"),
			Machines: rapid.IntRange(1, 300).Draw(t, "machines"),
			Apps:     rapid.IntRange(1, 20).Draw(t, "apps"),
			Span:     30 * day,
		})
		until := trace.Time(rapid.Int64Range(0, 31).Draw(t, "until day")) * day
		if rapid.Bool().Draw(t, "at an event") {
			if m := machines[rapid.IntRange(0, len(machines)-1).Draw(t, "machine")]; m.Delete != trace.Never {
				until = m.Delete
			}
		}
		if diff := cmp.Diff(trace.Count(machines, until), play(trace.NewSchedule(machines, until)), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("live at %d (-definition +replay):\n%s", until, diff)
		}
	})
}

func TestLiveIsFromCreationUpToButWithoutDeletion(t *testing.T) {
	m := trace.Machine{Create: 5, Delete: 9}
	for at, want := range map[trace.Time]bool{4: false, 5: true, 8: true, 9: false} {
		if m.LiveAt(at) != want {
			t.Errorf("live at %d: %v", at, !want)
		}
	}
	if (trace.Machine{Create: 5, Delete: 5}).LiveAt(5) {
		t.Error("a machine of equal times counts")
	}
}

func TestEqualTimesArePublishedAndThenWithdrawn(t *testing.T) {
	s := trace.NewSchedule([]trace.Machine{
		{ID: "x", Create: 1, Delete: 7},
		{ID: "a", Create: 7, Delete: 7},
	}, trace.Never)
	want := []trace.Event{{At: 1, Machine: 0}, {At: 7, Machine: 0, Gone: true}, {At: 7, Machine: 1}, {At: 7, Machine: 1, Gone: true}}
	if diff := cmp.Diff(want, s.Events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestUntilTakesEventsAtItsVeryMoment(t *testing.T) {
	machines := []trace.Machine{{ID: "a", Create: 7, Delete: 8}, {ID: "b", Create: 3, Delete: 7}, {ID: "c", Create: 8, Delete: 9}}
	s := trace.NewSchedule(machines, 7)
	want := []trace.Event{{At: 3, Machine: 1}, {At: 7, Machine: 0}, {At: 7, Machine: 1, Gone: true}}
	if diff := cmp.Diff(want, s.Events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestDueIsWhatIsNotDoneUpToAndAtNow(t *testing.T) {
	s := trace.NewSchedule([]trace.Machine{{ID: "a", Create: 1, Delete: 3}, {ID: "b", Create: 3, Delete: 5}}, trace.Never)
	for _, c := range []struct {
		from, want int
		now        trace.Time
	}{{0, 0, 0}, {0, 1, 1}, {0, 1, 2}, {0, 3, 3}, {1, 2, 3}, {3, 0, 4}, {3, 1, 5}, {4, 0, 9}} {
		if got := len(s.Due(c.from, c.now)); got != c.want {
			t.Errorf("from %d at %d: %d events, want %d", c.from, c.now, got, c.want)
		}
	}
}

func TestPlaceIsXXH3ModuloTheWorkers(t *testing.T) {
	// The value of xxh3_64("instance_0") is fixed by the algorithm's reference.
	for _, id := range []fleet.MachineID{"a", "instance_0", "machine_77"} {
		for n := 1; n < 12; n++ {
			if got, want := trace.Place(id, n), int(xxh3.Hash([]byte(id))%uint64(n)); got != want {
				t.Errorf("Place(%q, %d) = %d, want %d", id, n, got, want)
			}
		}
	}
	if got := xxh3.HashString(""); got != 0x2d06800538d394c2 { // XXH3_64bits of the empty string, seed 0
		t.Errorf("xxh3_64 of the empty string is %#x", got)
	}
}

func TestParseColumns(t *testing.T) {
	got, err := trace.ParseColumns("delete=d,id=instance_sn,app=app_name")
	want := trace.Columns{ID: "instance_sn", App: "app_name", Create: "create", Delete: "d"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = trace.ParseColumns("id=a,id=b,when=c,app=,delete")
	for _, want := range []string{"id is given twice", `"when" is none of`, `"app="`, `"delete"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %s", err, want)
		}
	}
}

func TestGeneratedTracesHaveTheShapeOfAFleet(t *testing.T) {
	cfg := tracegen.Config{Seed: 7, Machines: 4000, Apps: 60, Span: 30 * day}
	machines := tracegen.Generate(cfg)
	if diff := cmp.Diff(machines, tracegen.Generate(cfg)); diff != "" {
		t.Fatalf("one seed gave two traces:\n%s", diff)
	}
	var before, outlive, equal, short int
	for _, m := range machines {
		before += count(m.Create == trace.Before)
		outlive += count(m.Delete == trace.Never)
		equal += count(m.Create == m.Delete)
		short += count(m.Create != trace.Before && m.Delete != trace.Never && m.Delete-m.Create < 3600e9)
	}
	if before < 1000 || outlive < 400 || equal < 5 || short < 400 {
		t.Errorf("from before %d, outliving %d, of equal times %d, below an hour %d", before, outlive, equal, short)
	}
	apps := trace.Count(machines, 0)
	if len(apps) < 30 || apps["app_0"] < 5*apps["app_40"] {
		t.Errorf("apps are spread too evenly: %d apps, %d and %d machines", len(apps), apps["app_0"], apps["app_40"])
	}
	var csv bytes.Buffer
	if err := tracegen.WriteCSV(&csv, machines); err != nil {
		t.Fatal(err)
	}
	back, err := trace.Read(&csv, "generated", tracegen.Columns())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(machines, back); diff != "" {
		t.Errorf("read back (-written +read):\n%s", diff)
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
