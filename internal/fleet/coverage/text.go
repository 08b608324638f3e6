package coverage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// MarshalText gives the name.
func (s State) MarshalText() ([]byte, error) {
	if s < Live || int(s) >= len(names) {
		return nil, fmt.Errorf("coverage state %d has no name", uint8(s))
	}
	return []byte(names[s]), nil
}

// UnmarshalText reads a name.
func (s *State) UnmarshalText(b []byte) error {
	got, err := ParseState(string(b))
	if err == nil {
		*s = got
	}
	return err
}

// String gives "region: state", with what belongs to the state in brackets:
// "iad: stale(12s)", "ams: pruned(2026-01-02T15:04:05.000Z)".
func (p Part) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", p.Region, p.State)
	switch p.State {
	case Stale, PrunedStale:
		if p.Age < 0 {
			b.WriteString("(never)")
		} else {
			fmt.Fprintf(&b, "(%v)", p.Age.Round(time.Millisecond))
		}
	case Pruned:
		fmt.Fprintf(&b, "(%s)", p.AsOf.UTC().Format(timeFormat))
	}
	if p.Withheld > 0 {
		fmt.Fprintf(&b, ", %d withheld", p.Withheld)
	}
	if p.Detail != "" {
		fmt.Fprintf(&b, ", %s", p.Detail)
	}
	return b.String()
}

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// part is the JSON of one region, without its name: that is the key.
type part struct {
	State    State  `json:"state"`
	AgeMS    int64  `json:"age_ms"`        // stale states; negative: never
	AsOfMS   int64  `json:"as_of_unix_ms"` // zero: unknown
	Withheld uint64 `json:"withheld"`
	Detail   string `json:"detail,omitempty"`
}

// ByRegion is coverage as the JSON object {"REGION": {"state": …}}, in the
// order of its regions. Parts of one region are merged.
type ByRegion []Part

// MarshalJSON writes the object.
func (c ByRegion) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range c.merged() {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(string(p.Region))
		if err != nil {
			return nil, fmt.Errorf("coverage of %s: %w", p.Region, err)
		}
		val, err := json.Marshal(toJSON(p))
		if err != nil {
			return nil, fmt.Errorf("coverage of %s: %w", p.Region, err)
		}
		b.Write(append(append(key, ':'), val...))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads the object.
func (c *ByRegion) UnmarshalJSON(data []byte) error {
	var m map[string]part
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("coverage: %w", err)
	}
	out := make(ByRegion, 0, len(m))
	for _, region := range sortedKeys(m) {
		out = append(out, fromJSON(fleet.Region(region), m[region]))
	}
	*c = out
	return nil
}

func (c ByRegion) merged() []Part {
	parts := slices.Clone([]Part(c))
	slices.SortStableFunc(parts, func(a, b Part) int { return strings.Compare(string(a.Region), string(b.Region)) })
	out := parts[:0]
	for _, p := range parts {
		if n := len(out); n > 0 && out[n-1].Region == p.Region {
			out[n-1] = Merge(out[n-1], p)
			continue
		}
		out = append(out, p)
	}
	return out
}

func toJSON(p Part) part {
	out := part{State: p.State, Withheld: p.Withheld, Detail: p.Detail}
	if p.State == Stale || p.State == PrunedStale {
		out.AgeMS = ageMS(p.Age)
	}
	if !p.AsOf.IsZero() {
		out.AsOfMS = p.AsOf.UnixMilli()
	}
	return out
}

func fromJSON(region fleet.Region, j part) Part {
	p := Part{Region: region, State: j.State, Withheld: j.Withheld, Detail: j.Detail}
	if j.State == Stale || j.State == PrunedStale {
		p.Age = Age(j.AgeMS)
	}
	if j.AsOfMS != 0 {
		p.AsOf = time.UnixMilli(j.AsOfMS).UTC()
	}
	return p
}

// ageMS keeps never, which is negative, apart from no time at all.
func ageMS(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Milliseconds()
}

// Age reads an age in milliseconds that came from outside: negative is never,
// and what a duration cannot hold is the longest there is.
func Age(ms int64) time.Duration {
	const limit = int64(1<<63-1) / int64(time.Millisecond)
	if ms < 0 {
		return -1
	}
	return time.Duration(min(ms, limit)) * time.Millisecond
}
