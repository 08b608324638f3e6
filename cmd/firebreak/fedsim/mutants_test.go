package fedsim

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var mutantsFlag = flag.Bool("mutants", false, "build every mutant and run it until it is caught")

var mutantSeeds = flag.Int("mutant-seeds", 1<<30, "with -mutants: run no more seeds of a mutant than that")

const root = "../../.."

// mutant breaks one rule of the code that ships, by other words where it is
// kept: in two places where it is kept twice. The simulator must catch it
// within so many seeds.
type mutant struct {
	name   string
	within int
	edits  []edit
	script string // performed as the one seed, for what chance seldom comes to; empty: seeds' own
	lanes  bool   // two regions and two global nodes are needed to see it; else one region
}

type edit struct {
	file   string
	is     string // must be there once
	breaks string
}

// The table must keep step with the code it breaks.
func TestMutantsApply(t *testing.T) {
	for _, m := range mutants() {
		for _, e := range m.edits {
			data, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(data), e.is); n != 1 {
				t.Errorf("%s: %s has the words it replaces %d times, want once", m.name, e.file, n)
			}
		}
	}
}

var failedSeed = regexp.MustCompile(`\nseed (\d+);`)

func TestMutantsAreCaught(t *testing.T) {
	if !*mutantsFlag {
		t.Skip("builds a binary per mutant: make mutants")
	}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			out, err := m.run(t)
			if err == nil {
				t.Fatalf("not caught within %d seeds: %s", m.within, out)
			}
			seed := failedSeed.FindStringSubmatch(out)
			if seed == nil {
				t.Fatalf("did not run: %v\n%s", err, out)
			}
			n, _ := strconv.Atoi(seed[1])
			first, _, _ := strings.Cut(out, "\n")
			t.Logf("caught by seed %d of %d: %.120s", n, m.within, first)
		})
	}
}

// run builds the simulator with the mutant in it, and runs it.
func (m mutant) run(t *testing.T) (string, error) {
	dir := t.TempDir()
	replace := map[string]string{}
	for i, e := range m.edits {
		path, err := filepath.Abs(filepath.Join(root, e.file))
		if err != nil {
			t.Fatal(err)
		}
		from := path
		if before := replace[path]; before != "" {
			from = before // it is broken in two places
		}
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		replace[path] = filepath.Join(dir, strconv.Itoa(i)+".go")
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(data), e.is, e.breaks, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	over := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(over, overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "seeds")
	build := exec.Command("go", "build", "-tags", "mutant", "-ldflags", "-s -w", "-overlay", over, "-o", binary, "./cmd/firebreak/fedsim/seeds")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	args := []string{"-seeds", strconv.Itoa(min(m.within, *mutantSeeds)), "-once", "-whole"}
	if m.script != "" {
		file := filepath.Join(dir, "script.txt")
		if err := os.WriteFile(file, []byte(m.script), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-script", file)
	}
	if !m.lanes {
		args = append(args, "-regions", "1", "-globals", "-1")
	}
	out, err := exec.Command(binary, args...).CombinedOutput()
	return string(out), err
}
