package claim

import "slices"

// State is what a worker says of a machine. Zero is a state that this version
// does not know.
type State uint8

// The states.
const (
	Starting State = iota + 1
	Started
	Stopping
	Moved // granted to another worker; may still serve
	Ended // over; the row stays until it is settled
)

var states = []string{"unknown", "starting", "started", "stopping", "moved", "ended"}

// String is the word that rows carry.
func (s State) String() string { return word(states, int(s)) }

// ParseState reads a word; an unknown one is the zero State.
func ParseState(s string) State { return State(parse(states, s)) }

// Why is why a claim ended. Zero is no reason.
type Why uint8

// The reasons.
const (
	Withdrawn Why = iota + 1
	Destroyed     // for good: the id is never started anew
	Failed        // never got as far as started
	WhyMoved      // released at or above its grant
	Yielded       // released otherwise
)

var whys = []string{"", "withdrawn", "destroyed", "failed", "moved", "yielded"}

// String is the word that rows carry, empty for no reason.
func (w Why) String() string { return word(whys, int(w)) }

// ParseWhy reads a word; an unknown one is no reason.
func ParseWhy(s string) Why { return Why(parse(whys, s)) }

// Health is the outcome of a machine's checks. Zero is unknown, which counts
// as not failing.
type Health uint8

// The outcomes.
const (
	Passing Health = iota + 1
	Warning
	Failing
)

var healths = []string{"unknown", "passing", "warning", "failing"}

// String is the word that rows carry.
func (h Health) String() string { return word(healths, int(h)) }

// ParseHealth reads a word; an unknown one is unknown.
func ParseHealth(s string) Health { return Health(parse(healths, s)) }

func word(words []string, i int) string {
	if i >= len(words) {
		return words[0]
	}
	return words[i]
}

func parse(words []string, s string) int { return max(slices.Index(words, s), 0) }
