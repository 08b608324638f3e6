package region_test

import (
	"os"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/region/table"
)

func TestTablesPageNamesEveryTableAndColumn(t *testing.T) {
	b, err := os.ReadFile("../docs/reference/tables.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(b), "\n## ")[1:] {
		name, body, _ := strings.Cut(s, " ")
		sections[name] = body
	}
	for _, tab := range table.All() {
		body, ok := sections[tab.Name]
		if !ok {
			t.Errorf("table %s has no section", tab.Name)
		}
		for _, column := range tab.Names() {
			if !strings.Contains(body, "`"+column+"`") {
				t.Errorf("column %s of %s is not described", column, tab.Name)
			}
		}
	}
	if len(sections) != len(table.All())+1 {
		t.Errorf("%d sections, want one per table and one for the view", len(sections))
	}
}
