package sim

import "fmt"

// Property is one thing that must hold, over the world W that can be observed.
// E is what just happened, as the world tells it.
type Property[W, E any] struct {
	ID    string              // as the catalogue of faults names it
	Says  string              // one sentence
	Event func(W, E) error    // asked after each thing that happened; nil if there is nothing to ask
	Quiet func(world W) error // asked when all is healed and at rest; nil if there is nothing to ask
}

// Properties are checked together. Checks counts how often each was asked.
type Properties[W, E any] struct {
	All    []Property[W, E]
	Checks map[string]uint64
}

// Violation says which property broke.
type Violation struct {
	ID, Says string
	Err      error
}

func (v *Violation) Error() string { return fmt.Sprintf("%s (%s): %v", v.ID, v.Says, v.Err) }

func (v *Violation) Unwrap() error { return v.Err }

// Happened asks all about e.
func (p *Properties[W, E]) Happened(w W, e E) error {
	for _, one := range p.All {
		if one.Event == nil {
			continue
		}
		p.Checks[one.ID]++
		if err := one.Event(w, e); err != nil {
			return &Violation{one.ID, one.Says, err}
		}
	}
	return nil
}

// AtRest asks all about a world that is healed and at rest.
func (p *Properties[W, E]) AtRest(w W) error {
	for _, one := range p.All {
		if one.Quiet == nil {
			continue
		}
		p.Checks[one.ID]++
		if err := one.Quiet(w); err != nil {
			return &Violation{one.ID, one.Says, err}
		}
	}
	return nil
}

// Hits counts the states that a run must have reached to be evidence.
type Hits map[string]uint64

// Add sums.
func (h Hits) Add(o Hits) {
	for k, n := range o {
		h[k] += n
	}
}

// Missing returns those of must that were never reached.
func (h Hits) Missing(must []string) []string {
	var out []string
	for _, m := range must {
		if h[m] == 0 {
			out = append(out, m)
		}
	}
	return out
}
