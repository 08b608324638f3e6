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

func TestFaultsTouchTheirRegionAloneAndHeal(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a federation through its faults for 15 s")
	}
	t.Parallel()
	s := two(t, `
0s    delay globals 20ms
200ms loss region iad 5%
400ms storm region iad
1s    heal
1s    partition region iad
2s    heal
2s    kill node iad/iad-2
2500ms mass-delete node iad/iad-1
3s    stop globals
`) // the end heals the last ones
	s.exitAfter = 6 * time.Second
	s.latency = writeFile(t, "* * 1ms\n")
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	faults := readReport(t, s.report).Faults
	if len(faults) != 7 {
		t.Fatalf("%d faults in the report", len(faults))
	}
	for _, v := range faults {
		if !v.OK || slices.Contains(v.Touched, "ams") || v.Healed <= v.Began {
			t.Errorf("%s: %+v", v.Fault, v)
		}
	}
	if kill := faults[4]; kill.Fault != "kill node iad/iad-2" || kill.Regions["iad"].Restarts != 1 || !slices.Equal(kill.Touched, []fleet.Region{"iad"}) {
		t.Errorf("%+v", kill)
	}
	if storm := faults[2]; storm.Written < 50 || storm.Nodes != 2 {
		t.Errorf("the storm wrote %d rows at %d nodes", storm.Written, storm.Nodes)
	}
}

// A verdict that cannot fail is worth nothing.
func TestTheCheckFailsIfAFaultTouchesAnotherRegion(t *testing.T) {
	t.Parallel()
	s := two(t, "0s kill node iad/iad-2\n")
	s.rate = 0
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
			{[]string{"heal"}, 0, "1 nodes were started again"},
			{[]string{"kill", "region", "lhr"}, 1, `there is no region "lhr"`},
			{[]string{"explode"}, 2, `unknown fault "explode"`},
			{[]string{"poison", "region", "iad"}, 2, "not in this version"},
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
		{[]string{"--script", writeFile(t, "1s poison region iad\n")}, "line 1: poison: not in this version"},
		{[]string{"--script", "/nowhere/script"}, "--script: open /nowhere/script"},
		{[]string{"--latency", "/nowhere/map"}, "--latency /nowhere/map: open"},
		{[]string{"--latency", writeFile(t, "iad lhr 5ms\n")}, `line 1: there is no site "lhr"`},
		{[]string{"--flat", "--workers", "90"}, "workers: 270 is not in"},
		{[]string{"--regions", "iad,iad"}, "iad is named twice"},
		{[]string{"--workers", "0"}, "workers: 0"},
		{[]string{"--regions", many(65)}, "regions: 65 is not in 0..64"},
		{[]string{"compare"}, "--fault: want one"},
		{[]string{"compare", "--fault", "poison"}, "poison: not in this version"},
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
	out, code, errText := command(t, "compare", "--fault", "mass-delete", "--regions", "iad,ams", "--workers", "2", "--duration", "4s", "--traffic", "60/s", "-o", "json")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errText)
	}
	var got compare.Table
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.TwoLevels.Touched != 2 || got.Flat.Touched != 4 || got.Flat.Rows <= got.TwoLevels.Rows || got.Fault != "mass-delete region iad" {
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
