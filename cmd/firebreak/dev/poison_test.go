package dev

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// A row on which every other node of a region fails is withheld by each of
// them alone. Where that ends processes, each ends three times and no more.
// The other region has no part in it, and a release shows the row.
func TestAPoisonedRowIsWithheldInItsRegionAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("runs two federations, one of processes that end six times")
	}
	t.Parallel()
	for name, processes := range map[string]bool{"in one process": false, "processes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := small(t, filepath.Join(t.TempDir(), "dev"))
			s.spec.Regions, s.spec.Workers, s.rate, s.requests = []fleet.Region{"iad", "ams"}, 3, 20, 20
			reason, ends := "panic", int64(0)
			if s.processes = processes; processes {
				s.binary = nodeBinary(t)
				reason, ends = "crash", 6
			}
			fed := make(chan struct{})
			s.say = newProgress(&awaited{testWriter{t}, "Ctrl-C ends it", sync.OnceFunc(func() { close(fed) })})
			ok := func() bool {
				select {
				case <-fed:
					return true
				default:
					return false
				}
			}
			during(t, s, ok, func() { poisonAndHeal(t, s, reason) })
			r := readReport(t, s.report)
			v, iad, ams := r.Faults[0], r.Faults[0].Regions["iad"], r.Faults[0].Regions["ams"]
			if !v.OK || !slices.Equal(v.Touched, []fleet.Region{"iad"}) || v.Held != 2 {
				t.Errorf("%+v", v)
			}
			if iad.Restarts != ends || iad.Withheld != 2 || iad.Unasked != 0 {
				t.Errorf("iad: %+v, want %d ends", iad, ends)
			}
			if ams.Restarts+ams.Withheld+ams.Unasked+ams.Unexplained+ams.Errors != 0 {
				t.Errorf("ams: %+v", ams)
			}
			if n := r.Edges.Regions["ams"].Errors; n != 0 {
				t.Errorf("%d requests to ams failed", n)
			}
		})
	}
}

// awaited calls heard once a line with a text is written.
type awaited struct {
	testWriter
	text  string
	heard func()
}

func (w *awaited) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.text) {
		w.heard()
	}
	return w.testWriter.Write(p)
}

// poisonAndHeal does so from another terminal.
func poisonAndHeal(t *testing.T, s *session, reason string) {
	t.Helper()
	ctl := func(words ...string) string {
		t.Helper()
		out, code, errText := command(t, append([]string{"ctl", "--data", s.data}, words...)...)
		if code != 0 {
			t.Fatalf("ctl %v: exit %d, %s%s", words, code, out, errText)
		}
		return out
	}
	out := ctl("poison", "region", "iad")
	for _, n := range []string{"iad-2", "iad-3"} {
		want := "withholds fleet_machines"
		at := slices.IndexFunc(strings.Split(out, "\n"), func(line string) bool {
			return strings.HasPrefix(line, "iad/"+n+" ended") && strings.Contains(line, want) && strings.Contains(line, "("+reason+")") &&
				strings.HasSuffix(line, "--node iad/"+n)
		})
		if at < 0 {
			t.Errorf("nothing is said of %s: %s", n, out)
		}
	}
	if got := ctl("status"); !strings.Contains(got, "broken: [poison region iad]") {
		t.Errorf("status: %s", got)
	}
	if got := ctl("heal"); !strings.Contains(got, "2 withheld records are released") {
		t.Errorf("heal: %s", got)
	}
}
