package store

import "github.com/firebreak-dev/firebreak/internal/record"

// Verification is what a look at every row of a store has found.
type Verification struct {
	Rows     int64 // received records that were read back, tombstones included
	Withheld int64
	Writers  int
	Damage   []Damage // the first of it
	More     int64    // damage beyond
}

// Damage is one thing that is not what was received.
type Damage struct {
	Table string // empty for a writer's sum
	Key   []record.Value
	What  string
}
