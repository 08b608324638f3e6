package dev

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	t.Setenv("FIREBREAK_DEV", "/state/dev")
	var f flags
	set := pflag.NewFlagSet("dev", pflag.ContinueOnError)
	f.register(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f.parse(set)
}

func TestDefaultsAreASmallFederation(t *testing.T) {
	o, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	want := federation.Spec{Regions: []fleet.Region{"iad", "ams", "nrt"}, Workers: 3, Globals: 3, Routers: 1}
	if diff := cmp.Diff(want, o.spec); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o.rate != 20 || o.requests != 50 || o.seed != 1 || o.enforce || o.processes || o.replay != nil || o.data != "/state/dev" {
		t.Errorf("got %+v", o)
	}
}

func TestFlagsAreRead(t *testing.T) {
	o, err := parse(t, "--regions", "a,b", "--traffic", "off", "--brakes", "enforce", "--exit-after", "20s", "--data", "/x",
		"--trace", "t.csv", "--trace-columns", "id=x", "--trace-speed", "60000", "--trace-until", "1800000")
	if err != nil {
		t.Fatal(err)
	}
	want := &replayOptions{file: "t.csv", columns: trace.Columns{ID: "x", App: "app", Create: "create", Delete: "delete"}, speed: 60_000, until: 1_800_000e9}
	if diff := cmp.Diff(want, o.replay, cmp.AllowUnexported(replayOptions{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o.rate != 0 || !o.enforce || o.exitAfter != 20*time.Second || o.data != "/x" {
		t.Errorf("got %+v", o)
	}
}

func TestAReplayRunsWithoutRequestsUnlessAsked(t *testing.T) {
	for _, c := range []struct {
		args []string
		want float64
	}{
		{[]string{"--trace", "t.csv"}, 0},
		{[]string{"--trace", "t.csv", "--requests", "30/s"}, 30},
		{[]string{"--requests", "off"}, 0},
	} {
		if o, err := parse(t, c.args...); err != nil || o.requests != c.want {
			t.Errorf("%v: %v, %v", c.args, o.requests, err)
		}
	}
}

func TestBadFlagsAreRefusedTogetherWithTheirReasons(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--regions", "global,X", "--workers", "0", "--traffic", "fast", "--requests", "x", "--brakes", "maybe", "--exit-after", "-1s"},
			[]string{"reserved", `"X"`, "workers: 0", `--traffic: rate "fast"`, `--requests: rate "x"`, `--brakes "maybe"`, "--exit-after -1s"}},
		{[]string{"--upgrades", "0s"}, []string{"--upgrades 0s"}},
		{[]string{"--upgrades", "5s", "--script", "f"}, []string{"--upgrades: not with --script"}},
		{[]string{"--exit-after", "0"}, []string{"--exit-after 0s"}},
		{[]string{"--regions", ""}, []string{"regions: want at least one"}},
		{[]string{"--trace-until", "5", "--trace-speed", "2"}, []string{"--trace-until: want --trace FILE", "--trace-speed: want --trace FILE"}},
		{[]string{"--trace", ""}, []string{"--trace: want --trace FILE"}},
		{[]string{"--trace", "f", "--trace-until", "NaN", "--trace-speed", "0", "--trace-columns", "when=x"},
			[]string{"--trace-until: time \"NaN\" is not finite", "--trace-speed 0", `--trace-columns: trace columns: "when"`}},
		{[]string{"--trace", "f", "--trace-speed", "NaN"}, []string{"--trace-speed NaN"}},
		{[]string{"--trace", "f", "--trace-until", "-1"}, []string{"negative"}},
	} {
		_, err := parse(t, c.args...)
		if err == nil {
			t.Errorf("%v: taken", c.args)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v does not say %q", c.args, err, want)
			}
		}
	}
}

func TestResumeRefusesAnotherFederationThanTheFormer(t *testing.T) {
	former, err := federation.NewPlan(federation.Spec{Regions: []fleet.Region{"a"}, Workers: 2, Globals: 1, Routers: 1})
	if err != nil {
		t.Fatal(err)
	}
	o, err := parse(t, "--resume")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := o.former(former); err != nil || p.Spec.Workers != 2 {
		t.Errorf("without flags: %v", err)
	}
	if o, err = parse(t, "--resume", "--workers", "3", "--regions", "a", "--routers", "2"); err != nil {
		t.Fatal(err)
	}
	_, err = o.former(former)
	if err == nil || !strings.Contains(err.Error(), "--workers 3, but the directory has 2") ||
		!strings.Contains(err.Error(), "--routers 2") || strings.Contains(err.Error(), "--regions") {
		t.Errorf("got %v", err)
	}
	if _, err := o.former(federation.Plan{}); err == nil {
		t.Error("an empty plan is taken")
	}
}

func TestUsageCountsThisProcess(t *testing.T) {
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) { // until the clock of the kernel has moved
		if cpu, rss := usage(nil); cpu > 0 && rss > 1<<20 {
			return
		}
	}
	t.Error("this process has used nothing")
}

func TestABadTraceIsRefusedBeforeTheDirectoryIsTouched(t *testing.T) {
	data := filepath.Join(t.TempDir(), "dev")
	_, code, errText := command(t, "--data", data, "--trace", writeFile(t, "id,app,create,delete\na,web,5,4\n"))
	if code != 2 || !strings.Contains(errText, ":2: deletion at 4 is before creation at 5") {
		t.Errorf("exit %d: %s", code, errText)
	}
	if exists(data) {
		t.Error("the directory was made")
	}
}
