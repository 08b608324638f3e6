package report

import (
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// Input is one thing that a Core is told. Global is the place of a global node
// in the configured list.
type Input interface{ input() }

// Count is the number of an app's current claims.
type Count struct {
	App fleet.App
	N   int
}

// Counts are the counts of every app that has any, in any order. They replace
// the last ones. A second count of one app is ignored.
type Counts []Count

// Members says which gateways could report.
type Members struct {
	Fit        bool           // this node is
	Candidates []fleet.Worker // live fit gateways
	Gateways   []presence.Gateway
	Locality   string
	SchemaHash uint64
}

// Connected says that a session with a global node has begun, or ended. What
// that node holds comes anew.
type Connected struct {
	Global int
	Up     bool
}

// Own is what a global node holds of this region: all of it first, then
// changes. Region is nil if there is none, or it is as before.
type Own struct {
	Global     int
	Full, Last bool // Full replaces what was said before; more parts follow until Last
	Presence   []presence.Record
	Region     *presence.Region
	Confirmed  []fleet.Worker // with Last: reporters confirmed at that node
}

// Token asks whether the reports still hold. The caller has seen to it that
// since the token came this node caught up with its region, and has stepped
// the Counts of after.
type Token struct {
	Global   int
	Token    uint64
	Withheld uint64
	AgeMs    int64 // since the token came
}

// Accepted answers one message of presence or of the region's record, after
// any Refused for it.
type Accepted struct {
	Global int
	N      int // how many of its records are now held there
}

// Code says what to do about a refusal.
type Code uint8

// The codes.
const (
	Lost      Code = iota + 1 // to the winning stamp
	BadNode                   // that node does not take it, another may
	BadRecord                 // no node will take that record
)

// Refused says that a report was not taken. App is empty for the region's
// record and for everything.
type Refused struct {
	Global  int
	App     fleet.App
	Code    Code
	Winning uint64
	Reason  string
}

func (Counts) input()    {}
func (Members) input()   {}
func (Connected) input() {}
func (Own) input()       {}
func (Token) input()     {}
func (Accepted) input()  {}
func (Refused) input()   {}

// Message is one thing to send to a global node: presence, the region's
// record, or a confirmation.
type Message struct {
	Global       int
	Presence     []presence.Record
	Region       *presence.Region
	Confirmation *Confirmation
}

// Confirmation says that the reports still hold, as of when its token was
// sent.
type Confirmation struct {
	Region     fleet.Region
	Generation presence.Generation
	Reporter   fleet.Worker
	Boot       uint64
	Token      uint64
	Digest     presence.Digest
	Offered    int // withdrawals that global does not show yet
	Withheld   uint64
	AgeMs      int64
}
