package link

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Site is where a node stands: links are as good as the way between two sites.
type Site string

// Map says how good the way from one site to another is.
type Map func(from, to Site) Quality

// The wide-area network that "wan" stands for: sites on a circle, one way.
const (
	withinSite = 500 * time.Microsecond
	nearest    = 10 * time.Millisecond
	farthest   = 80 * time.Millisecond
)

// WAN is a world-wide network: sites in their order lie on a circle, at 10 ms
// to 80 ms one way.
func WAN(sites []Site) Map {
	at := map[Site]int{}
	for i, s := range sites {
		at[s] = i
	}
	half := max(1, len(sites)/2)
	return func(from, to Site) Quality {
		if from == to {
			return Quality{Delay: withinSite}
		}
		d := at[from] - at[to]
		if d < 0 {
			d = -d
		}
		d = min(d, len(sites)-d)
		return Quality{Delay: nearest + (farthest-nearest)*time.Duration(d)/time.Duration(half)}
	}
}

// Limits of what a link can be told.
const (
	MaxDelay = 10 * time.Second
	maxLines = 10_000
)

// ParseDelay reads a delay: "80ms".
func ParseDelay(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > MaxDelay {
		return 0, fmt.Errorf("delay %q: want a time of up to %v, as in 80ms", s, MaxDelay)
	}
	return d, nil
}

// ParseLoss reads a share: "5%".
func ParseLoss(s string) (float64, error) {
	number, percent := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(number, 64)
	if !percent || err != nil || !(f >= 0 && f <= 100) {
		return 0, fmt.Errorf("loss %q: want 0%% to 100%%, as in 5%%", s)
	}
	return f / 100, nil
}

// ParseMap reads lines of "SITE SITE DELAY [LOSS]". A way holds in both
// directions, "*" is any site, the first line that fits counts, and a way that
// no line fits is perfect. Empty lines and those that begin with # are skipped.
func ParseMap(r io.Reader, sites []Site) (Map, error) {
	type way struct {
		a, b Site
		Quality
	}
	known := map[Site]bool{"*": true}
	for _, s := range sites {
		known[s] = true
	}
	var ways []way
	var errs []error
	in := bufio.NewScanner(r)
	n := 0
	for in.Scan() {
		n++
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if n > maxLines {
			return nil, fmt.Errorf("more than %d lines", maxLines)
		}
		a, b, q, err := parseWay(strings.Fields(line), known)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
		}
		ways = append(ways, way{a, b, q})
	}
	if err := errors.Join(append(errs, in.Err())...); err != nil {
		return nil, err
	}
	is := func(pattern, s Site) bool { return pattern == "*" || pattern == s }
	return func(from, to Site) Quality {
		for _, w := range ways {
			if is(w.a, from) && is(w.b, to) || is(w.a, to) && is(w.b, from) {
				return w.Quality
			}
		}
		return Quality{}
	}, nil
}

func parseWay(words []string, known map[Site]bool) (a, b Site, q Quality, err error) {
	if len(words) < 3 || len(words) > 4 {
		return a, b, q, errors.New("want SITE SITE DELAY [LOSS], as in \"iad nrt 80ms 1%\"")
	}
	a, b = Site(words[0]), Site(words[1])
	var errs []error
	for _, s := range []Site{a, b} {
		if !known[s] {
			errs = append(errs, fmt.Errorf("there is no site %q", s))
		}
	}
	if q.Delay, err = ParseDelay(words[2]); err != nil {
		errs = append(errs, err)
	}
	if len(words) == 4 {
		if q.Loss, err = ParseLoss(words[3]); err != nil {
			errs = append(errs, err)
		}
	}
	return a, b, q, errors.Join(errs...)
}
