package checkpoint

import "time"

// Order is what a child is told, as a line of JSON on its standard input. It
// works until that input ends, as it does when its parent dies.
type Order struct {
	Database string        // to copy
	Chain    string        // directory of the copies
	State    string        // directory for what the child itself needs to know
	Every    time.Duration // between copies
}

// Line is what a child says, as a line of JSON on its standard output, about
// once a second while all is well.
type Line struct {
	Copied uint64 // number of the last transaction that is in the chain
	Behind bool   // there are others
}
