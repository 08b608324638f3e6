package sim

import (
	"fmt"
	"strings"
	"time"
)

// Action is one thing that a script has happen: a fault, or a piece of work.
// What its fields mean is up to who performs it; all that is random about it
// is in them, so that a script without some of its actions performs the others
// as before.
type Action struct {
	At   time.Duration
	Kind string
	Who  string
	With string
	N    int
}

// String gives one line, as failures print it.
func (a Action) String() string {
	return fmt.Sprintf("%9.3fs  %-16s %-10s %-10s %d", a.At.Seconds(), a.Kind, a.Who, a.With, a.N)
}

// Script is what happens to a world, in the order of time.
type Script []Action

// String gives a line per action.
func (s Script) String() string {
	var b strings.Builder
	for _, a := range s {
		b.WriteString(a.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Minimise leaves actions out of a script for as long as it still fails, and
// returns what is left. Fails is asked at most tries times.
//
// Source: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing
// Input", IEEE TSE 28(2), 2002; only the complements are tried.
func Minimise(s Script, tries int, fails func(Script) bool) Script {
	for parts := 2; len(s) > 0 && tries > 0; {
		size := (len(s) + parts - 1) / parts
		smaller := false
		for from := 0; from < len(s) && tries > 0; from += size {
			rest := append(append(Script{}, s[:from]...), s[min(from+size, len(s)):]...)
			tries--
			if fails(rest) {
				s, parts, smaller = rest, max(parts-1, 2), true
				break
			}
		}
		switch {
		case smaller:
		case size == 1:
			return s
		default:
			parts = min(2*parts, len(s))
		}
	}
	return s
}
