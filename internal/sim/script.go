package sim

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
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

// String gives one line, as failures print it and ParseScript reads it.
func (a Action) String() string {
	return fmt.Sprintf("%9.3fs  %-16s %-10s %-10s %d", a.At.Seconds(), a.Kind, cmp.Or(a.Who, none), cmp.Or(a.With, none), a.N)
}

// none stands for an empty field in a line.
const none = "-"

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

// ParseScript reads the lines of a script, to the millisecond. Empty lines and
// those that begin with # are comments.
func ParseScript(text string) (Script, error) {
	s := Script{}
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		a, err := parseAction(strings.Fields(line))
		if err != nil {
			return nil, fmt.Errorf("line %d of the script, %q: %w", i+1, line, err)
		}
		s = append(s, a)
	}
	return s, nil
}

func parseAction(fields []string) (a Action, err error) {
	if len(fields) != 5 {
		return a, errors.New("want time, kind, who, with whom or what, and a number")
	}
	for i, f := range fields {
		if f == none {
			fields[i] = ""
		}
	}
	a.Kind, a.Who, a.With = fields[1], fields[2], fields[3]
	if a.At, err = time.ParseDuration(fields[0]); err != nil {
		return a, err
	}
	a.N, err = strconv.Atoi(fields[4])
	return a, err
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
