package edge

import (
	"maps"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Counts are what became of requests. The keys are a contract:
// docs/reference/dev-report.md.
type Counts struct {
	Requests       int `json:"requests"`        // that the load generator sent
	Errors         int `json:"errors"`          // of them: not answered by a machine of the app
	Retries        int `json:"retries"`         // further machines that an edge has tried
	WrongMachine   int `json:"wrong_machine"`   // answers of another machine than the chosen one
	StoppedMachine int `json:"stopped_machine"` // tries of one that had stopped long before
}

func (c *Counts) add(o Counts) {
	c.Requests += o.Requests
	c.Errors += o.Errors
	c.Retries += o.Retries
	c.WrongMachine += o.WrongMachine
	c.StoppedMachine += o.StoppedMachine
}

// Report is what was counted, in sum and by the region of the machine. A
// request for which an edge knew no machine is of no region.
type Report struct {
	Counts
	Regions map[fleet.Region]Counts `json:"regions"`
}

// Tally counts for all edges. Safe for concurrent use.
type Tally struct {
	mu      sync.Mutex
	regions map[fleet.Region]Counts
	nowhere Counts
	example map[string]string // of each kind of mistake, the first
}

// NewTally counts for machines of these regions.
func NewTally(regions []fleet.Region) *Tally {
	t := &Tally{regions: map[fleet.Region]Counts{}, example: map[string]string{}}
	for _, r := range regions {
		t.regions[r] = Counts{}
	}
	return t
}

// Add counts for a region; one that does not exist stands for none.
func (t *Tally) Add(region fleet.Region, c Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, known := t.regions[region]
	if !known {
		t.nowhere.add(c)
		return
	}
	now.add(c)
	t.regions[region] = now
}

// The kinds of mistakes.
const (
	wrongMachine   = "wrong machine"
	stoppedMachine = "stopped machine"
)

// mistake counts a request that went to the wrong place, and remembers the
// first of its kind.
func (t *Tally) mistake(kind string, region fleet.Region, text string) {
	c := Counts{WrongMachine: 1}
	if kind == stoppedMachine {
		c = Counts{StoppedMachine: 1}
	}
	t.Add(region, c)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.example[kind] == "" {
		t.example[kind] = text
	}
}

// Mistakes describes the first mistake of each kind: none of an edge that is
// told everything in time.
func (t *Tally) Mistakes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, kind := range []string{wrongMachine, stoppedMachine} {
		if text := t.example[kind]; text != "" {
			out = append(out, text)
		}
	}
	return out
}

// Report returns what was counted by now.
func (t *Tally) Report() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Report{Counts: t.nowhere, Regions: maps.Clone(t.regions)}
	for _, c := range r.Regions {
		r.add(c)
	}
	return r
}

// Errors returns the failed requests by region of the machine.
func (t *Tally) Errors() map[fleet.Region]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[fleet.Region]int64, len(t.regions))
	for region, c := range t.regions {
		out[region] = int64(c.Errors)
	}
	return out
}
