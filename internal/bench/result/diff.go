package result

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Diff writes what is not the same in now as in before: every measure with its
// change, and whether the two intervals are apart.
func Diff(w io.Writer, before, now File) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "bench\tmeasure\tbefore\tnow\tchange\t\tverdict")
	for _, b := range now.Benches {
		i := slices.IndexFunc(before.Benches, func(o Bench) bool { return o.Name == b.Name })
		if i < 0 {
			fmt.Fprintf(t, "%s\t\t\t\tnew\t\t%s\n", b.Name, b.Verdict)
			continue
		}
		old := before.Benches[i]
		if len(b.Measures) == 0 || len(old.Measures) == 0 {
			fmt.Fprintf(t, "%s\t\t\t\t\t\t%s\n", b.Name, changed(old.Verdict, b.Verdict))
			continue
		}
		for _, m := range b.Measures {
			diffMeasure(t, b.Name, old, m)
		}
	}
	for _, b := range before.Benches {
		if !slices.ContainsFunc(now.Benches, func(n Bench) bool { return n.Name == b.Name }) {
			fmt.Fprintf(t, "%s\t\t\t\tnot run\t\t%s\n", b.Name, b.Verdict)
		}
	}
	return t.Flush()
}

func diffMeasure(w io.Writer, bench string, old Bench, m Measure) {
	i := slices.IndexFunc(old.Measures, func(o Measure) bool { return o.Name == m.Name && o.Unit == m.Unit })
	if i < 0 {
		fmt.Fprintf(w, "%s\t%s\t\t%s\tnew\t\t%s\n", bench, m.Name, m.number(), m.Verdict)
		return
	}
	o := old.Measures[i]
	change, apart := "", "within the intervals"
	if o.Value != 0 {
		change = fmt.Sprintf("%+.1f %%", 100*(m.Value/o.Value-1))
	}
	if m.Low > o.High || m.High < o.Low {
		apart = "apart"
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", bench, m.Name, o.number(), m.number(), change, apart, changed(o.Verdict, m.Verdict))
}

func changed(before, now string) string {
	if before == now {
		return now
	}
	return before + " → " + now
}
