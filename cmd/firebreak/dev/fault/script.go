package fault

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
)

// Step is a line of a script.
type Step struct {
	At      time.Duration // since the federation was ready
	Command Command
	Line    int
}

// maxSteps bounds a script.
const maxSteps = 10_000

// Script is what to break, in the order of its times.
type Script []Step

// ParseScript reads lines of "AT COMMAND…", as in "5s kill region iad". Empty
// lines and those that begin with # are skipped. Every bad line is reported,
// with its number.
func ParseScript(r io.Reader) (Script, error) {
	var s Script
	var errs []error
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if len(s) == maxSteps {
			return nil, fmt.Errorf("line %d: more than %d commands", n, maxSteps)
		}
		step, err := parseStep(strings.Fields(line))
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
		}
		step.Line = n
		s = append(s, step)
	}
	if err := errors.Join(append(errs, in.Err())...); err != nil {
		return nil, err
	}
	slices.SortStableFunc(s, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	return s, nil
}

func parseStep(words []string) (Step, error) {
	at, err := time.ParseDuration(words[0])
	if err != nil || at < 0 {
		return Step{}, fmt.Errorf("%q is no time: want one and a command, as in \"5s kill region iad\"", words[0])
	}
	c, err := Parse(words[1:])
	return Step{At: at, Command: c}, err
}

// Check reports every line that the federation cannot do.
func (s Script) Check(p federation.Plan) error {
	var errs []error
	for _, step := range s {
		if err := step.Command.Check(p); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", step.Line, err))
		}
	}
	return errors.Join(errs...)
}
