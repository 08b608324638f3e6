package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
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
		for i, cell := range r {
			r[i] = printable(cell)
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// printable keeps a value from moving the cursor or breaking the columns of a
// terminal: what comes from a row is shown, not obeyed.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}

// note prints a line for a person beside an answer.
func (e *env) note(format string, args ...any) {
	fmt.Fprintln(e.err, printable(fmt.Sprintf(format, args...)))
}
