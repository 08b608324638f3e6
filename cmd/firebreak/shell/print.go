package shell

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
)

// Value is one cell of a row.
type Value = cell.Value

// Mode is how rows are printed.
type Mode string

// The modes.
const (
	Table  Mode = "table"
	CSV    Mode = "csv"
	JSON   Mode = "json"
	Line   Mode = "line"
	NDJSON Mode = "ndjson"
)

func modes() []string {
	return []string{string(Table), string(CSV), string(JSON), string(Line), string(NDJSON)}
}

// printable keeps a value from moving the cursor.
func printable(s string) string { return cell.Printable(s) }

// Printed is a result of the mode json. Its keys are a contract.
type Printed struct {
	Columns  []string  `json:"columns"`
	Rows     [][]Value `json:"rows"`
	Affected *int64    `json:"rows_affected,omitempty"` // of a write
	Points   []string  `json:"points,omitempty"`
	Standing []string  `json:"standing,omitempty"`
}

// print prints a result. How many rows a write wrote is for people: it is
// printed beside the rows, except in JSON.
func (s *shell) print(r Result) error {
	switch s.Mode {
	case JSON:
		p := Printed{Columns: append([]string{}, r.Columns...), Rows: append([][]Value{}, r.Rows...), Points: r.Points, Standing: r.Standing}
		if r.Wrote {
			p.Affected = &r.Affected
		}
		return encode(s.Out, p)
	case NDJSON:
		return s.printLines(r)
	case CSV:
		if err := printCSV(s.Out, r); err != nil {
			return err
		}
	case Line:
		printLine(s.Out, r)
	default:
		if err := printTable(s.Out, r); err != nil {
			return err
		}
	}
	if r.Wrote {
		fmt.Fprintln(s.Err, Told(r.Affected, r.Points, r.Standing))
	}
	return nil
}

// Told is what a write did, for a person.
func Told(rows int64, points, standing []string) string {
	text := fmt.Sprintf("%d rows affected", rows)
	switch {
	case len(points) > 0:
		text += ", written as " + strings.Join(points, " ")
	case len(standing) > 0:
		text += ", nothing changed: as in " + strings.Join(standing, " ")
	}
	return text
}

func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (s *shell) printLines(r Result) error {
	if len(r.Columns) > 0 {
		if err := encode(s.Out, map[string]any{"columns": r.Columns}); err != nil {
			return err
		}
	}
	for _, row := range r.Rows {
		if err := encode(s.Out, map[string]any{"row": row}); err != nil {
			return err
		}
	}
	if !r.Wrote {
		return nil
	}
	return encode(s.Out, struct {
		Affected int64    `json:"rows_affected"`
		Points   []string `json:"points,omitempty"`
		Standing []string `json:"standing,omitempty"`
	}{r.Affected, r.Points, r.Standing})
}

// printCSV prints NULL as nothing.
func printCSV(w io.Writer, r Result) error {
	if len(r.Columns) == 0 {
		return nil
	}
	c := csv.NewWriter(w)
	_ = c.Write(r.Columns)
	for _, row := range r.Rows {
		fields := make([]string, len(row))
		for i, v := range row {
			if v != (Value{}) {
				fields[i] = v.Text()
			}
		}
		_ = c.Write(fields)
	}
	c.Flush()
	return c.Error()
}

func printLine(w io.Writer, r Result) {
	width := 0
	for _, c := range r.Columns {
		width = max(width, len(c))
	}
	for i, row := range r.Rows {
		if i > 0 {
			fmt.Fprintln(w)
		}
		for j, v := range row {
			fmt.Fprintf(w, "%*s = %s\n", width, printable(r.Columns[j]), printable(v.Text()))
		}
	}
}

func printTable(w io.Writer, r Result) error {
	if len(r.Columns) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(n int, text func(i int) string) {
		for i := range n {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, printable(text(i)))
		}
		fmt.Fprintln(t)
	}
	line(len(r.Columns), func(i int) string { return r.Columns[i] })
	for _, row := range r.Rows {
		line(len(row), func(i int) string { return row[i].Text() })
	}
	return t.Flush()
}
