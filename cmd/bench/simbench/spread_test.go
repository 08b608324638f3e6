package simbench

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the table of docs/reference/spreading.md anew")

const spreadingPage = "../../../docs/reference/spreading.md"

// Equal seeds give equal figures, so the page shows those of this tree.
func TestSpreadingPageShowsTheCountedFigures(t *testing.T) {
	page, err := os.ReadFile(spreadingPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), "<!-- spread -->\n")
	old, after, ok2 := strings.Cut(rest, "<!-- end spread -->")
	if !ok || !ok2 {
		t.Fatal("the page has no place for the table")
	}
	var table strings.Builder
	table.WriteString("| nodes | | copies per delivery | bytes per update and node | p50 to the last node | p99 |\n|---|---|---|---|---|---|\n")
	for _, n := range SpreadNodes {
		if n > 50 && testing.Short() {
			continue
		}
		push, broadcast, err := Spreads(t.Context(), n, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			name string
			s    Spread
		}{{"push", push}, {"memberlist's broadcast", broadcast}} {
			line := fmt.Sprintf("| %d | %s | %.2f | %.0f | %.0f ms | %.0f ms |\n", n, x.name, x.s.Copies, x.s.Bytes/float64(n), 1000*x.s.P50.Seconds(), 1000*x.s.P99.Seconds())
			table.WriteString(line)
			if !strings.Contains(old, line) && !*rewrite {
				t.Errorf("the page lacks %q; go test ./cmd/bench/simbench -rewrite", line)
			}
		}
	}
	if *rewrite {
		if err := os.WriteFile(spreadingPage, []byte(before+"<!-- spread -->\n"+table.String()+"<!-- end spread -->"+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
