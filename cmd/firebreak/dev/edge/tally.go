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
	Excused        int `json:"excused"`         // of them: not answered, while this process itself hardly ran
	Errors         int `json:"errors"`          // of them: not answered by a machine of the app
	Retries        int `json:"retries"`         // further machines that an edge has tried
	WrongMachine   int `json:"wrong_machine"`   // answers of another machine than the chosen one
	StoppedMachine int `json:"stopped_machine"` // tries of one that had stopped long before
}

func (c *Counts) add(o Counts) {
	c.Requests += o.Requests
	c.Excused += o.Excused
	c.Errors += o.Errors
	c.Retries += o.Retries
	c.WrongMachine += o.WrongMachine
	c.StoppedMachine += o.StoppedMachine
}

// Report is what was counted, in sum and by the region of the machine. A failed
// request is of every region that has a machine that should have answered.
type Report struct {
	Counts
	Regions map[fleet.Region]Counts `json:"regions"`
}

// Tally counts for all edges. Safe for concurrent use.
type Tally struct {
	mu      sync.Mutex
	regions map[fleet.Region]Counts
	total   Counts
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

// Add counts something of some regions; one that does not exist counts only in
// the sum.
func (t *Tally) Add(c Counts, regions ...fleet.Region) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.add(c)
	for _, region := range regions {
		if now, known := t.regions[region]; known {
			now.add(c)
			t.regions[region] = now
		}
	}
}

// Fail counts a failed request to machines of some regions, and remembers the
// first.
func (t *Tally) Fail(why string, regions ...fleet.Region) {
	t.Add(Counts{Requests: 1, Errors: 1}, regions...)
	t.note(failed, why)
}

// The kinds of mistakes.
const (
	wrongMachine   = "wrong machine"
	stoppedMachine = "stopped machine"
	failed         = "failed"
)

// mistake counts a request that went to the wrong place, and remembers the
// first of its kind.
func (t *Tally) mistake(kind string, region fleet.Region, text string) {
	c := Counts{WrongMachine: 1}
	if kind == stoppedMachine {
		c = Counts{StoppedMachine: 1}
	}
	t.Add(c, region)
	t.note(kind, text)
}

func (t *Tally) note(kind, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.example[kind] == "" {
		t.example[kind] = text
	}
}

// Failure describes the first failed request; empty if there was none.
func (t *Tally) Failure() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.example[failed]
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
	return Report{Counts: t.total, Regions: maps.Clone(t.regions)}
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
