package dev

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/compare"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// two is a session of two small regions under traffic.
func two(t *testing.T, script string) *session {
	t.Helper()
	s := small(t, filepath.Join(t.TempDir(), "dev"))
	s.spec.Regions = []fleet.Region{"iad", "ams"}
	s.rate, s.exitAfter = 40, 4*time.Second
	if script != "" {
		s.script = writeFile(t, script)
	}
	return s
}

// everyFault is what a region and the tiers above it go through. Those that hold
// up news wait until edges know machines: only such are asked for meanwhile.
const everyFault = `
1s     storm region iad
2s     heal
4s     kill region iad
5500ms heal
5500ms upgrade region iad at-once
7s     delay globals 20ms
7s     loss region iad 5%
7500ms heal
7500ms partition region iad
8500ms heal
8500ms stop node iad/iad-2
9s     mass-delete node iad/iad-1
9500ms kill globals
` // the end heals the last ones

// A node is not its host: edges that know a region's machines go on reaching
// them while every node of it is dead, and while all are upgraded at once.
func TestFaultsTouchTheirRegionAloneFailNoRequestAndHeal(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a federation through every fault, twice, for 20 s")
	}
	t.Parallel()
	for name, processes := range map[string]bool{"in one process": false, "processes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := two(t, everyFault)
			if s.processes = processes; processes {
				s.binary = nodeBinary(t)
			}
			s.requests, s.exitAfter = 60, 14*time.Second
			s.latency = writeFile(t, "* * 1ms\n")
			if err := s.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := readReport(t, s.report)
			if e := r.Edges; e.Errors != 0 || e.Regions["iad"].Requests < 20 || e.WrongMachine != 0 {
				t.Errorf("counted %+v", e)
			}
			checkVerdicts(t, r.Faults)
		})
	}
}

// checkVerdicts checks those of everyFault.
func checkVerdicts(t *testing.T, faults []fault.Verdict) {
	t.Helper()
	byName := map[string]fault.Verdict{}
	for _, v := range faults {
		byName[v.Fault] = v
		if !v.OK || slices.Contains(v.Touched, "ams") || v.Healed <= v.Began {
			t.Errorf("%s: %+v", v.Fault, v)
		}
	}
	if len(faults) != 9 {
		t.Errorf("%d faults in the report", len(faults))
	}
	for name, restarts := range map[string]int64{"kill region iad": 2, "upgrade region iad at-once": 2, "partition region iad": 0, "stop node iad/iad-2": 1} {
		if got := byName[name].Regions["iad"].Restarts; got != restarts {
			t.Errorf("%s: %d nodes ended, want %d", name, got, restarts)
		}
	}
	if storm := byName["storm region iad"]; storm.Written < 50 || storm.Nodes != 2 {
		t.Errorf("the storm wrote %d rows at %d nodes", storm.Written, storm.Nodes)
	}
}

// A verdict that cannot fail is worth nothing.
func TestTheCheckFailsIfAFaultTouchesAnotherRegion(t *testing.T) {
	t.Parallel()
	s := two(t, "0s kill node iad/iad-2\n")
	s.rate, s.exitAfter = 0, 2*time.Second
	done := make(chan error, 1)
	go func() { done <- s.run(t.Context()) }()
	told := func() bool { return s.ready() }
	await(t, done, told)
	var ams federation.Node
	for _, n := range s.federation.Plan().In("ams") {
		ams = n
	}
	await(t, done, func() bool { return len(s.federation.Down()) == 1 })
	if err := s.federation.Kill(t.Context(), ams); err != nil {
		t.Fatal(err)
	}
	err := <-done
	if err == nil || !strings.Contains(err.Error(), "fault kill node iad/iad-2: region ams was touched: 1 nodes ended") {
		t.Errorf("the check said %v", err)
	}
	if r := readReport(t, s.report); r.OK || !slices.Contains(r.Faults[0].Touched, "ams") {
		t.Errorf("ok %v, %+v", r.OK, r.Faults)
	}
}

// await waits until ok holds, while a session runs.
func await(t *testing.T, done <-chan error, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case err := <-done:
			t.Fatalf("it ended by itself: %v", err)
		}
	}
}

func TestFaultsFromAnotherTerminal(t *testing.T) {
	t.Parallel()
	s := two(t, "")
	s.report, s.rate = "", 0
	during(t, s, s.ready, func() {
		ctl := func(words ...string) (out, errText string, code int) {
			out, code, errText = command(t, append([]string{"ctl", "--data", s.data}, words...)...)
			return out, errText, code
		}
		for _, c := range []struct {
			words []string
			code  int
			want  string
		}{
			{[]string{"stop", "node", "ams/ams-2"}, 0, "stopping node ams/ams-2 (1 nodes)\nshould stay unaffected: rows, restarts and requests in iad"},
			{[]string{"status"}, 0, "! broken: [stop node ams/ams-2]"},
			{[]string{"heal"}, 0, "1 nodes were started again"},
			{[]string{"kill", "region", "lhr"}, 1, `there is no region "lhr"`},
			{[]string{"explode"}, 2, `unknown fault "explode"`},
			{[]string{"poison", "globals"}, 2, `want "region R"`},
			{nil, 2, "no command"},
		} {
			out, errText, code := ctl(c.words...)
			if code != c.code || !strings.Contains(out+errText, c.want) {
				t.Errorf("ctl %v: exit %d, %s%s", c.words, code, out, errText)
			}
		}
	})
	if _, code, errText := command(t, "ctl", "--data", s.data, "heal"); code != 1 || !strings.Contains(errText, "no dev runs there") {
		t.Errorf("after the end: exit %d, %s", code, errText)
	}
}

func TestBadFaultsAreRefusedBeforeAnythingStarts(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--script", writeFile(t, "1s heal\n2s explode\n")}, `line 2: unknown fault "explode"`},
		{[]string{"--script", writeFile(t, "1s kill region lhr\n")}, `line 1: kill: there is no region "lhr"`},
		{[]string{"--script", writeFile(t, "1s poison region lhr\n")}, `line 1: poison: there is no region "lhr"`},
		{[]string{"--script", "/nowhere/script"}, "--script: open /nowhere/script"},
		{[]string{"--latency", "/nowhere/map"}, "--latency /nowhere/map: open"},
		{[]string{"--latency", writeFile(t, "iad lhr 5ms\n")}, `line 1: there is no site "lhr"`},
		{[]string{"--flat", "--workers", "90"}, "workers: 270 is not in"},
		{[]string{"--regions", "iad,iad"}, "iad is named twice"},
		{[]string{"--workers", "0"}, "workers: 0"},
		{[]string{"--regions", many(65)}, "regions: 65 is not in 0..64"},
		{[]string{"compare"}, "--fault: want one"},
		{[]string{"compare", "--fault", "explode", "--duration", "1s", "-o", "xml", "--traffic", "x"}, `unknown fault "explode"`},
		{[]string{"compare", "--fault", "delay"}, "want a time"},
	} {
		args := c.args
		data := filepath.Join(t.TempDir(), "dev")
		if args[0] != "compare" {
			args = append(args, "--data", data)
		}
		_, code, errText := command(t, args...)
		if code != 2 || !strings.Contains(errText, c.want) {
			t.Errorf("%v: exit %d, %s", c.args, code, errText)
		}
		if exists(filepath.Join(data, "iad")) {
			t.Errorf("%v: something was started", c.args)
		}
	}
}

// many names n regions.
func many(n int) string {
	var out []string
	for i := range n {
		out = append(out, "r"+strings.Repeat("x", i%8)+string(rune('a'+i/8)))
	}
	return strings.Join(out, ",")
}

func TestCompareShowsThatOneRegionKeepsItsMassDelete(t *testing.T) {
	if testing.Short() {
		t.Skip("runs two federations one after the other, 20 s")
	}
	t.Parallel()
	out, code, errText := command(t, "compare", "--fault", "mass-delete", "--regions", "iad,ams", "--workers", "1", "--duration", "4s", "--traffic", "60/s", "-o", "json")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errText)
	}
	var got compare.Table
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.TwoLevels.Touched != 1 || got.Flat.Touched != 2 || got.Flat.Rows <= got.TwoLevels.Rows || got.Fault != "mass-delete region iad" {
		t.Errorf("%+v", got)
	}
}

func TestAnInterruptedCompareSaysSo(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	c := comparison{regions: []string{"iad"}, workers: 1, fault: "storm", traffic: "1/s", requests: "off", output: "table", duration: 5 * time.Second}
	o, what, err := c.options()
	if err != nil {
		t.Fatal(err)
	}
	o.data = filepath.Join(t.TempDir(), "dev")
	if _, err := c.side(ctx, o, what, newProgress(testWriter{t})); err == nil {
		t.Error("it made a table of nothing")
	}
}
