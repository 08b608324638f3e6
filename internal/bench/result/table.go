package result

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print writes f as a table for people.
func (f File) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "bench\tmeasure\tvalue\t95 %\ttarget\tblocks\tverdict")
	for _, b := range f.Benches {
		name := b.Name + " " + b.Title
		if len(b.Measures) == 0 {
			fmt.Fprintf(t, "%s\t%s\t\t\t\t\t%s\n", name, b.Note, b.Verdict)
			continue
		}
		for _, m := range b.Measures {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%v\t%s\t%s\n", name, m.Name, m.figure(), m.interval(), m.Target, m.counted(), m.Verdict)
			name = ""
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range f.notes() {
		if _, err := fmt.Fprintln(w, n); err != nil {
			return err
		}
	}
	return f.Environment.Print(w)
}

// notes are what is to be known of figures, a line per bench that has any;
// also, of which commit they are if the last run was of another.
func (f File) notes() (out []string) {
	for _, b := range f.Benches {
		note := b.Note
		if b.Commit != "" && b.Commit != f.Environment.Commit {
			note = strings.TrimPrefix(note+"; measured at commit "+b.Commit, "; ")
		}
		if len(b.Measures) > 0 && note != "" {
			out = append(out, b.Name+": "+note+".")
		}
	}
	return out
}

func (m Measure) figure() string {
	if m.Verdict == TooNoisy && m.Quiet < Few && m.Blocks > 0 {
		return "(" + m.number() + ")"
	}
	return m.number()
}

func (m Measure) number() string {
	if m.Unit == "" {
		return Number(m.Value)
	}
	return Number(m.Value) + " " + m.Unit
}

func (m Measure) interval() string {
	if m.Blocks == 0 {
		return ""
	}
	return Number(m.Low) + "…" + Number(m.High)
}

func (m Measure) counted() string {
	if m.Blocks == 0 {
		return "counted"
	}
	return fmt.Sprintf("%d of %d", m.Quiet, m.Blocks)
}

// Print writes the environment, a line per subject.
func (e Environment) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, `
commit %s, %s, seed %d
%s, SQLite %s, %s, %d CPUs, GOMAXPROCS %d, Linux %s
load %s before, %s after; calibration loop %v at best
memory %s; disk %s, fdatasync p50 %v p99 %v
`, e.Commit, e.At.UTC().Format("2006-01-02 15:04 UTC"), e.Seed, e.Go, e.SQLite, e.CPU, e.CPUs, e.GOMAXPROCS, e.Kernel,
		e.LoadBefore, e.LoadAfter, e.Calibration, e.Memory, e.Disk, e.Sync.P50, e.Sync.P99)
	return err
}

// Markdown gives the whole table for a document. It depends on f alone.
func (f File) Markdown() string {
	var b strings.Builder
	b.WriteString("| bench | measure | value | 95 % | target | quiet blocks | verdict |\n|---|---|---|---|---|---|---|\n")
	for _, x := range f.Benches {
		name := x.Name + " " + x.Title
		if len(x.Measures) == 0 {
			fmt.Fprintf(&b, "| %s | %s | | | | | %s |\n", name, cell(x.Note), x.Verdict)
			continue
		}
		for _, m := range x.Measures {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %v | %s | %s |\n", name, cell(m.Name), m.figure(), m.interval(), m.Target, m.counted(), m.Verdict)
			name = ""
		}
	}
	b.WriteByte('\n')
	for _, n := range f.notes() {
		b.WriteString("- " + n + "\n")
	}
	e := f.Environment
	fmt.Fprintf(&b, "\nCommit %s, %s, SQLite %s, %s, %d CPUs, load %s before and %s after, fdatasync p50 %v and p99 %v.\n",
		e.Commit, e.Go, e.SQLite, e.CPU, e.CPUs, e.LoadBefore, e.LoadAfter, e.Sync.P50, e.Sync.P99)
	return b.String()
}

// Summary gives a line per bench that has a figure with a target, for a page
// that has no room for more: the measure that decided its verdict.
func (f File) Summary() string {
	var b strings.Builder
	b.WriteString("| bench | measure | value | target | verdict |\n|---|---|---|---|---|\n")
	for _, x := range f.Benches {
		for _, m := range x.Measures {
			if m.Verdict == x.Verdict && !m.Target.None() {
				fmt.Fprintf(&b, "| %s %s | %s | %s | %v | %s |\n", x.Name, x.Title, cell(m.Name), m.figure(), m.Target, m.Verdict)
				break
			}
		}
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
