package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
)

// format is how an answer is printed.
type format string

const (
	formatTable  format = "table"  // for people; may change
	formatJSON   format = "json"   // one document, on one line
	formatNDJSON format = "ndjson" // a document per line, as it arrives
)

func formats() []string {
	return []string{string(formatTable), string(formatJSON), string(formatNDJSON)}
}

// Set is part of pflag.Value.
func (f *format) Set(s string) error {
	switch v := format(s); v {
	case formatTable, formatJSON, formatNDJSON:
		*f = v
		return nil
	}
	return fmt.Errorf("want table, json or ndjson")
}

// String is part of pflag.Value.
func (f *format) String() string { return string(*f) }

// Type is part of pflag.Value.
func (*format) Type() string { return "format" }

// json prints v as one line.
func (e *env) json(v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table prints rows under a heading, in columns.
func (e *env) table(heading []string, rows [][]string) error {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	for _, r := range append([][]string{slices.Clone(heading)}, rows...) {
		for i, text := range r {
			r[i] = cell.Printable(text)
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// note prints a line for a person beside an answer.
func (e *env) note(format string, args ...any) {
	fmt.Fprintln(e.err, cell.Printable(fmt.Sprintf(format, args...)))
}
