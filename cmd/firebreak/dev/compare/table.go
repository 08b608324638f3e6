// Package compare shows what one fault did to two federations of the same
// nodes, side by side: one of two levels, and one that is flat.
package compare

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Side is what a fault did to one federation.
type Side struct {
	Nodes    int   `json:"nodes"`             // of regions, all in all
	Touched  int   `json:"nodes_touched"`     // that took rows of the faulted workers, or ended
	Rows     int64 `json:"rows_written"`      // those rows, over all nodes
	Bytes    int64 `json:"bytes"`             // between region nodes, from the fault to the end of the check
	Restarts int64 `json:"restarts"`          // of region nodes
	Withheld int   `json:"nodes_withholding"` // region nodes that could not show a record
	Requests int   `json:"requests"`          // through the edges
	Failed   int   `json:"requests_failed"`
}

// Table is both sides.
type Table struct {
	Fault     string  `json:"fault"`
	Regions   int     `json:"regions"`
	Workers   int     `json:"workers"` // of each region
	Seed      uint64  `json:"seed"`
	Duration  float64 `json:"duration_s"`
	Version   string  `json:"version"`
	TwoLevels Side    `json:"two_levels"`
	Flat      Side    `json:"flat"`
}

// withheldRow is left out if nobody withheld anything.
const withheldRow = "nodes that withhold a row"

// Write prints the table in the form of Markdown.
func (t Table) Write(w io.Writer) error {
	title := fmt.Sprintf("%s, %d regions × %d workers", t.Fault, t.Regions, t.Workers)
	tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintf(tw, "| %s\t| two levels\t| one flat cluster\t|\n|---\t|---\t|---\t|\n", title)
	for _, row := range []struct {
		what string
		cell func(Side) string
	}{
		{"region nodes touched", func(s Side) string { return fmt.Sprintf("%d of %d", s.Touched, s.Nodes) }},
		{"rows written", func(s Side) string { return fmt.Sprint(s.Rows) }},
		{"bytes between region nodes", func(s Side) string { return size(s.Bytes) }},
		{"restarts", func(s Side) string { return fmt.Sprint(s.Restarts) }},
		{withheldRow, func(s Side) string { return fmt.Sprintf("%d of %d", s.Withheld, s.Nodes) }},
		{"failed requests", func(s Side) string { return fmt.Sprintf("%d of %d", s.Failed, s.Requests) }},
	} {
		if row.what == withheldRow && t.TwoLevels.Withheld+t.Flat.Withheld == 0 {
			continue // as almost always
		}
		fmt.Fprintf(tw, "| %s\t| %s\t| %s\t|\n", row.what, row.cell(t.TwoLevels), row.cell(t.Flat))
	}
	return tw.Flush()
}

// size is a number of bytes that is easy to read.
func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
