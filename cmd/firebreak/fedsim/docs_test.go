package fedsim

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestReferenceListsWhatIsHeldAndMustBeReached(t *testing.T) {
	data, err := os.ReadFile("../../../docs/reference/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for _, p := range Properties() {
		if want := fmt.Sprintf("| %s | %s |", p.ID, p.Says); !strings.Contains(page, want) {
			t.Errorf("docs/reference/simulation.md lacks %q", want)
		}
	}
	for _, h := range MustHit(true) {
		if !strings.Contains(page, "\n- "+h+"\n") {
			t.Errorf("docs/reference/simulation.md lacks the state %q", h)
		}
	}
}

func TestReferenceListsMutants(t *testing.T) {
	data, err := os.ReadFile("../../../docs/reference/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants() {
		if want := fmt.Sprintf("\n| %s | %d |\n", m.name, m.within); !strings.Contains(string(data), want) {
			t.Errorf("docs/reference/simulation.md lacks %q", want)
		}
	}
}
