package fault

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

func spec() federation.Spec {
	return federation.Spec{Regions: []fleet.Region{"iad", "ams"}, Workers: 2, Globals: 2, Routers: 1}
}

func plan(t *testing.T, s federation.Spec) federation.Plan {
	t.Helper()
	p, err := federation.NewPlan(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScriptsAreReadInTheOrderOfTheirTimes(t *testing.T) {
	s, err := ParseScript(strings.NewReader(`
# a comment
12s heal
5s  kill region iad
1s delay globals 200ms
1s loss node iad/iad-2,iad/iad-1 5%
2s upgrade region ams at-once
500ms upgrade region ams rolling
`))
	if err != nil {
		t.Fatal(err)
	}
	iad := Target{Region: "iad"}
	want := Script{
		{500 * time.Millisecond, Command{Kind: Upgrade, Target: Target{Region: "ams"}}, 8},
		{time.Second, Command{Kind: Delay, Target: Target{Tier: federation.Global}, Delay: 200 * time.Millisecond}, 5},
		{time.Second, Command{Kind: Loss, Target: Target{Nodes: []string{"iad/iad-1", "iad/iad-2"}}, Loss: 0.05}, 6},
		{2 * time.Second, Command{Kind: Upgrade, Target: Target{Region: "ams"}, AtOnce: true}, 7},
		{5 * time.Second, Command{Kind: Kill, Target: iad}, 4},
		{12 * time.Second, Command{Kind: Heal}, 3},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := s.Check(plan(t, spec())); err != nil {
		t.Error(err)
	}
	if err := s.Check(plan(t, spec().Flat())); err != nil {
		t.Errorf("the same script on a flat federation: %v", err)
	}
}

func TestBadLinesAreNamed(t *testing.T) {
	for line, want := range map[string]string{
		"kill region iad":             `"kill" is no time`,
		"-1s heal":                    `"-1s" is no time`,
		"5s":                          "no command",
		"5s explode region iad":       `unknown fault "explode"`,
		"5s heal now":                 `"now" is too much`,
		"5s kill":                     "kill: want a target",
		"5s kill iad":                 "kill: want a target",
		"5s kill region":              "region: want its name",
		"5s delay globals":            "want a time after the target",
		"5s delay globals soon":       `delay "soon"`,
		"5s loss globals 5":           `loss "5"`,
		"5s storm globals":            `storm: want "region R"`,
		"5s upgrade node iad/iad-1":   `upgrade: want "region R"`,
		"5s mass-delete routers":      `mass-delete: want "region R" or "node R/N"`,
		"5s poison node iad/iad-1":    "poison: want \"region R\"",
		"5s upgrade region iad later": `"later" is too much`,
	} {
		_, err := ParseScript(strings.NewReader("1s heal\n" + line + "\n"))
		if err == nil || !strings.Contains(err.Error(), "line 2: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	for line, want := range map[string]string{
		"1s kill region lhr":           `line 1: kill: there is no region "lhr"`,
		"1s kill node iad/iad-3":       `line 1: kill: there is no node "iad/iad-3"`,
		"1s mass-delete node global/1": `there is no node "global/1"`,
	} {
		s, err := ParseScript(strings.NewReader(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if err := s.Check(plan(t, spec())); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add("5s kill region iad\n12s heal")
	f.Add("1s loss node iad/iad-1 5%\n# x\n1ms delay globals 1s")
	f.Add("1s upgrade region iad at-once")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseScript(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, step := range s {
			again, err := Parse(strings.Fields(step.Command.String()))
			if err != nil || again.Kind != step.Command.Kind || again.Target.String() != step.Command.Target.String() {
				t.Errorf("%q was read as %q, which is read as %v, %v", text, step.Command, again, err)
			}
		}
	})
}
