package record

import (
	"fmt"
	"slices"
	"strings"
)

// Range is the versions From..To, both included.
type Range struct {
	From, To Version
}

// Len returns how many versions r covers.
func (r Range) Len() uint64 {
	if r.To < r.From {
		return 0
	}
	return uint64(r.To-r.From) + 1
}

// Received is the set of one writer's versions that a node has received, as a
// head less its gaps. The zero value is the empty set. It is a value: methods
// that change it return a new one and never write through shared memory.
type Received struct {
	Head Version
	Gaps []Range // ascending, disjoint, not adjacent, all below Head
}

// Has reports whether v was received.
func (r Received) Has(v Version) bool {
	if v == 0 || v > r.Head {
		return false
	}
	for _, g := range r.Gaps {
		if v < g.From {
			return true
		}
		if v <= g.To {
			return false
		}
	}
	return true
}

// Covers reports whether every version of g was received.
func (r Received) Covers(g Range) bool {
	return len(r.Missing(g)) == 0
}

// Missing returns the parts of g that were not received, ascending.
func (r Received) Missing(g Range) []Range {
	var out []Range
	if g.From == 0 {
		g.From = 1
	}
	for _, gap := range r.Gaps {
		lo, hi := max(gap.From, g.From), min(gap.To, g.To)
		if lo <= hi {
			out = append(out, Range{lo, hi})
		}
	}
	if r.Head < g.To { // so Head+1 does not wrap around
		if lo := max(r.Head+1, g.From); lo <= g.To {
			out = append(out, Range{lo, g.To})
		}
	}
	return out
}

// With returns r and the versions of g.
func (r Received) With(g Range) Received {
	if g.From == 0 {
		g.From = 1
	}
	if g.To < g.From {
		return r
	}
	out := Received{Head: max(r.Head, g.To)}
	for _, gap := range r.Gaps {
		if gap.To < g.From || gap.From > g.To {
			out.Gaps = append(out.Gaps, gap)
			continue
		}
		if gap.From < g.From {
			out.Gaps = append(out.Gaps, Range{gap.From, g.From - 1})
		}
		if gap.To > g.To {
			out.Gaps = append(out.Gaps, Range{g.To + 1, gap.To})
		}
	}
	if g.From > r.Head && g.From-r.Head > 1 {
		out.Gaps = append(out.Gaps, Range{r.Head + 1, g.From - 1})
	}
	return out
}

// ReceivedOf returns the set of ranges, which ascend and do not overlap.
func ReceivedOf(ranges []Range) Received {
	var r Received
	for _, g := range ranges {
		if g.From > r.Head+1 {
			r.Gaps = append(r.Gaps, Range{r.Head + 1, g.From - 1})
		}
		r.Head = g.To
	}
	return r
}

// Union returns every version of r and of o.
func (r Received) Union(o Received) Received {
	if len(r.Gaps) == 0 && r.Head >= o.Head {
		return r
	}
	if len(o.Gaps) == 0 && o.Head >= r.Head {
		return o
	}
	a, b := r.Ranges(), o.Ranges()
	var out []Range
	for len(a) > 0 || len(b) > 0 {
		if len(a) == 0 || len(b) > 0 && b[0].From < a[0].From {
			a, b = b, a
		}
		g := a[0]
		a = a[1:]
		if n := len(out); n > 0 && g.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, g.To)
			continue
		}
		out = append(out, g)
	}
	return ReceivedOf(out)
}

// Minus returns the ranges of o that r lacks, ascending: what r's holder asks
// o's holder for.
func (r Received) Minus(o Received) []Range {
	if len(r.Gaps) == 0 && r.Head >= o.Head {
		return nil
	}
	var out []Range
	have := r.Ranges()
	for _, g := range o.Ranges() {
		for len(have) > 0 && have[0].To < g.From {
			have = have[1:]
		}
		for i := 0; g.From <= g.To; i++ {
			if i == len(have) || have[i].From > g.To {
				out = append(out, g)
				break
			}
			if have[i].From > g.From {
				out = append(out, Range{g.From, have[i].From - 1})
			}
			if have[i].To >= g.To {
				break
			}
			g.From = have[i].To + 1
		}
	}
	return out
}

// Ranges returns what was received, ascending.
func (r Received) Ranges() []Range {
	var out []Range
	from := Version(1)
	for _, g := range r.Gaps {
		if g.From > from {
			out = append(out, Range{from, g.From - 1})
		}
		from = g.To + 1
	}
	if from <= r.Head {
		out = append(out, Range{from, r.Head})
	}
	return out
}

// Equal reports whether both hold the same versions.
func (r Received) Equal(o Received) bool { return r.Head == o.Head && slices.Equal(r.Gaps, o.Gaps) }

// String gives "head" or "head less a..b,c..d".
func (r Received) String() string {
	if len(r.Gaps) == 0 {
		return fmt.Sprint(uint64(r.Head))
	}
	parts := make([]string, len(r.Gaps))
	for i, g := range r.Gaps {
		parts[i] = fmt.Sprintf("%d..%d", g.From, g.To)
	}
	return fmt.Sprintf("%d less %s", r.Head, strings.Join(parts, ","))
}
