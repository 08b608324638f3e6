package schema

import (
	"os"
	"strings"
	"testing"
)

func TestEveryRuleHasASection(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, r := range append(FileRules[:], ChangeRules[:]...) {
		next := strings.Index(string(page[at:]), "\n## "+string(r)+"\n")
		if next < 0 {
			t.Errorf("docs/reference/limits.md has no section %s, or not in this order", r)
			continue
		}
		at += next
	}
}

func TestRefusalSaysWhereWhyAndWhatToDo(t *testing.T) {
	for want, r := range map[string]Refusal{
		"line 3: table t: no good: do better (rule no-key)": {Rule: RuleNoKey, Line: 3, Table: "t", Why: "no good", Do: "do better"},
		"no good (rule syntax)":                             {Rule: RuleSyntax, Why: "no good"},
	} {
		if got := r.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
