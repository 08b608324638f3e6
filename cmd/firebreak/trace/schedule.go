package trace

import (
	"cmp"
	"slices"
)

// Event is one publish or withdrawal.
type Event struct {
	At      Time
	Machine int  // index into the machines
	Gone    bool // withdrawn, else published
}

// Schedule is a trace in the order in which it happens.
type Schedule struct {
	Machines []Machine
	Initial  []int   // the machines from before the trace, in file order
	Events   []Event // by time; a machine's publish before its withdrawal
}

// NewSchedule orders the events up to and at until (Never for all).
func NewSchedule(machines []Machine, until Time) Schedule {
	s := Schedule{Machines: machines}
	for i, m := range machines {
		switch {
		case m.Create == Before:
			s.Initial = append(s.Initial, i)
		case m.Create <= until:
			s.Events = append(s.Events, Event{At: m.Create, Machine: i})
		}
		if m.Delete != Never && m.Delete <= until {
			s.Events = append(s.Events, Event{At: m.Delete, Machine: i, Gone: true})
		}
	}
	slices.SortStableFunc(s.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return s
}

// Start returns when the clock of a replay starts: at the first event, so that
// a trace in Unix seconds does not begin with half a century of nothing.
func (s Schedule) Start() Time {
	if len(s.Events) == 0 {
		return 0
	}
	return s.Events[0].At
}

// End returns the time of the last event.
func (s Schedule) End() Time {
	if len(s.Events) == 0 {
		return 0
	}
	return s.Events[len(s.Events)-1].At
}

// Due returns the events from index from that are due at now.
func (s Schedule) Due(from int, now Time) []Event {
	to, _ := slices.BinarySearchFunc(s.Events[from:], now, func(e Event, t Time) int {
		if e.At <= t {
			return -1
		}
		return 1
	})
	return s.Events[from : from+to]
}
