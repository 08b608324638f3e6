// Package report decides what a region tells the global cluster: in which apps
// it has machines, where its gateways are, and that all of it still holds.
//
// What is told is a pure function of the region's rows and of the region's own
// report rows at global: a class is judged against the class held there, so a
// reporter that starts anew, or a second one, sends what is missing and nothing
// else. An update that leaves every class as it was sends nothing. Sending a
// record twice, or from two nodes, is harmless.
//
// A Core keeps these true:
//   - none → some goes at once; every other change once it has stood for Hold.
//   - Nothing is lowered or withdrawn by a node that is not fit, nor while two
//     reporters of the region are confirmed.
//   - A withdrawal is offered with the stamp of its first offer until it is
//     admitted, in the order in which the brake judges.
//   - The rendezvous winner among the region's live fit gateways reports; the
//     next takes over once global has shown none confirmed for Takeover.
//   - A confirmation's digest names every app that has a claim, whatever global
//     holds of it.
//
// A Core does no I/O and reads no clock: package reporter drives it.
package report

import (
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// The times of a reporter.
const (
	Hold     = 5 * time.Second  // a change other than none → some must stand this long
	Takeover = 10 * time.Second // without a confirmed reporter, per place in the order
	Sweep    = 15 * time.Second // classes that never stand for Hold are corrected, offers repeated
	Resend   = 5 * time.Second  // what global took and does not show is sent again
	Penalty  = 10 * time.Second // a global node that refused is left alone
	Yield    = 30 * time.Second // after two global nodes refused; doubles, to 16 times
)

// Batch is how many presence records one message carries at most.
const Batch = 500

const (
	maxInFlight = 4                      // messages that the ingress has not answered
	patience    = 30 * time.Second       // for an answer, before another ingress is tried
	again       = 100 * time.Millisecond // between a report that lost and the next
)

// Instant is a moment: Mono rises steadily (holds and timeouts go by it), Wall
// is Unix milliseconds and may jump (stamps go by it).
type Instant struct {
	Mono time.Duration
	Wall int64
}

// Config of a Core.
type Config struct {
	Fleet      string
	Region     fleet.Region
	Node       fleet.Worker
	Boot       uint64
	Generation presence.Generation
	Globals    int // how many global nodes are configured
}
