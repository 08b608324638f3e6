// Package directory is a router's copy of the directory: per region, which apps
// have machines there, how to reach it, and how well that is proven. A Region
// is a pure value; its caller brings entries, confirmations and the time.
//
// What it keeps true:
//
//   - Entries merge by rank, the higher wins, whatever order and whichever
//     global node they came from. A withdrawal is an entry like any other.
//   - What a snapshot lacks is kept, marked, until the region itself or enough
//     global nodes say so. One empty or old global node empties no copy.
//   - What the global node that is followed says of a row with a lower rank is
//     remembered. It counts once the region itself confirms exactly these rows:
//     then global has lost what the copy holds, and nobody will say it again.
//   - A region counts as proven not to run an app only by a fresh confirmation
//     that carries the digest of exactly the rows this copy had at some moment
//     of the last 15 s, the app absent then and now. A copy that lags, or a
//     global node that does, changes the digest and so proves nothing.
//
// Nothing here ends a process or empties a copy by itself: what was last known
// is answered, with its age.
package directory

import (
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// MaxAge is how old a copy may get and still be merged with what a global node
// says. Global nodes forget withdrawals after this time, so that an older copy
// could bring back what was withdrawn: it is replaced.
const MaxAge = 30 * 24 * time.Hour

const maxRank = 256 // bytes of an entry's rank

// Instant is one moment on both clocks of this process: one of them may jump,
// the other may stand still while the machine sleeps.
type Instant struct {
	Wall int64         // Unix nanoseconds
	Mono time.Duration // since the start of the process
}

// Since returns how long ago then was: the larger of what both clocks say, and
// never negative.
func (i Instant) Since(then Instant) time.Duration {
	return max(time.Duration(i.Wall-then.Wall), i.Mono-then.Mono, 0)
}

// Add returns the moment d later.
func (i Instant) Add(d time.Duration) Instant { return Instant{i.Wall + int64(d), i.Mono + d} }

// Time returns the wall time.
func (i Instant) Time() time.Time { return time.Unix(0, i.Wall).UTC() }

// Entry is one row of the directory. Exactly one of the pointers is set.
type Entry struct {
	Region     fleet.Region
	Presence   *presence.Record
	Record     *presence.Region
	Generation *presence.Generation
	Rank       string // compared as bytes, within one key
	Held       bool   // presence: a withdrawal is held by the brake
}

// Confirmation is a region's word that its report still holds.
type Confirmation struct {
	Region     fleet.Region
	Generation presence.Generation
	Reporter   fleet.Worker
	Digest     presence.Digest
	Algorithm  uint32
	Withheld   uint64
	At         Instant // the moment that it speaks of, at the latest
}

// FromEntry checks an entry that came from a global node.
func FromEntry(e *globalv1.DirectoryEntry) (Entry, error) {
	out := Entry{Region: fleet.Region(e.GetRegion()), Rank: string(e.GetRank()), Held: e.GetHeld()}
	if err := out.Region.Check(); err != nil {
		return Entry{}, fmt.Errorf("directory entry: %w", err)
	}
	if len(out.Rank) == 0 || len(out.Rank) > maxRank {
		return Entry{}, fmt.Errorf("directory entry of %s: rank of %d bytes", out.Region, len(out.Rank))
	}
	var err error
	switch p, r, g := e.GetPresence(), e.GetRecord(), e.GetGeneration(); {
	case p != nil && r == nil && g == nil:
		out.Presence, err = fromPresence(out.Region, p)
	case r != nil && p == nil && g == nil:
		out.Record, err = fromRecord(out.Region, r)
	case g != nil && p == nil && r == nil:
		gen := fromGeneration(g.GetGeneration())
		out.Generation = &gen
	default:
		err = fmt.Errorf("want exactly one of presence, record and generation")
	}
	if err != nil {
		return Entry{}, fmt.Errorf("directory entry of %s: %w", out.Region, err)
	}
	return out, nil
}

// FromConfirmation checks a confirmation that answers a token sent at sent.
func FromConfirmation(c *globalv1.Confirmation, sent Instant) (Confirmation, error) {
	out := Confirmation{
		Region: fleet.Region(c.GetRegion()), Reporter: fleet.Worker(c.GetReporter()),
		Algorithm: c.GetAlgorithm(), Withheld: c.GetWithheld(), At: sent,
	}
	out.Generation = fromGeneration(c.GetGeneration())
	if err := out.Region.Check(); err != nil {
		return Confirmation{}, fmt.Errorf("confirmation: %w", err)
	}
	if err := out.Reporter.Check(); err != nil {
		return Confirmation{}, fmt.Errorf("confirmation of %s: %w", out.Region, err)
	}
	digest, ok := presence.ParseDigest(c.GetDigest())
	if !ok {
		return Confirmation{}, fmt.Errorf("confirmation of %s: digest of %d bytes", out.Region, len(c.GetDigest()))
	}
	const week = int64(7 * 24 * time.Hour / time.Millisecond)
	age := c.GetAgeMs()
	if age < 0 || age > week {
		return Confirmation{}, fmt.Errorf("confirmation of %s: age of %d ms", out.Region, age)
	}
	out.Digest = digest
	out.At = sent.Add(-time.Duration(age) * time.Millisecond)
	return out, nil
}

func fromPresence(region fleet.Region, p *globalv1.Presence) (*presence.Record, error) {
	out := &presence.Record{
		Region: region, App: fleet.App(p.GetApp()),
		Class: presence.Class(min(p.GetClass(), 255)), Since: p.GetSinceUnixMs(),
		Rank: presence.Rank{Generation: fromGeneration(p.GetGeneration()), Stamp: p.GetStamp(), Reporter: fleet.Worker(p.GetReporter())},
	}
	return out, out.Check()
}

func fromRecord(region fleet.Region, r *globalv1.RegionRecord) (*presence.Region, error) {
	out := &presence.Region{
		Name: region, Locality: r.GetLocality(), SchemaHash: r.GetSchemaHash(),
		Rank: presence.Rank{Generation: fromGeneration(r.GetGeneration()), Stamp: r.GetStamp(), Reporter: fleet.Worker(r.GetReporter())},
	}
	for _, g := range r.GetGateways() {
		out.Gateways = append(out.Gateways, presence.Gateway{Node: fleet.Worker(g.GetNode()), Address: g.GetAddress()})
	}
	return out, out.Check()
}

// generation is what every message that carries one has.
type generation interface {
	GetNumber() uint64
	GetBits() uint64
}

func fromGeneration(g generation) presence.Generation {
	return presence.Generation{Number: g.GetNumber(), Bits: g.GetBits()}
}
