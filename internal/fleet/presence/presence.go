// Package presence is what a region tells the rest of the fleet about itself,
// and the rules on it: in which class the number of an app's current claims
// lies, which of two reports ranks higher, the digest by which a router proves
// that it misses nothing, and the brake on mass withdrawals. It is all that
// crosses a region boundary unasked; nothing else has a field to travel in.
//
// Everything here is a pure function of its arguments.
package presence

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// The limits of a report.
const (
	MaxPresence = 256     // bytes of one presence record
	MaxRegion   = 1 << 10 // bytes of one region record
	MaxGateways = 4       // of one region record
	MaxAddress  = 100     // bytes of one gateway's host:port
)

// Class is the size of a count to the next power of two: 0 for none, 1 for
// one, 2 for 2 to 3, 3 for 4 to 7, and so on.
type Class uint8

// MaxClass is the class of every count above 2³¹ - 1 machines.
const MaxClass Class = 32

// ClassOf returns the class of a count. Negative counts are none.
func ClassOf(n int) Class {
	if n <= 0 {
		return 0
	}
	return min(Class(bits.Len(uint(n))), MaxClass)
}

// Bounds returns the lowest and the highest count of c.
func (c Class) Bounds() (low, high int) {
	switch {
	case c == 0:
		return 0, 0
	case c >= MaxClass:
		return 1 << (MaxClass - 1), math.MaxInt
	}
	return 1 << (c - 1), 1<<c - 1
}

// Generation is a region's incarnation: a number that rises and 64 random
// bits. It changes only by a reseed.
type Generation struct {
	Number, Bits uint64
}

// String gives number-bits, as in configuration files.
func (g Generation) String() string { return fmt.Sprintf("%d-%016x", g.Number, g.Bits) }

// Compare orders generations by number, then bits (as the signed integers that
// the directory stores).
func (g Generation) Compare(o Generation) int {
	return cmp.Or(cmp.Compare(g.Number, o.Number), cmp.Compare(int64(g.Bits), int64(o.Bits)))
}

// Rank decides between two reports of one subject: the higher wins, whole.
type Rank struct {
	Generation Generation
	Stamp      uint64 // a counter of the reporter's, at least its Unix milliseconds
	Reporter   fleet.Worker
}

// Compare orders ranks by generation, stamp, reporter: the order of the rank
// columns at global. Two reports of one rank come from one reporter, and the
// ingress changeset decides between them.
func (r Rank) Compare(o Rank) int {
	return cmp.Or(r.Generation.Compare(o.Generation), cmp.Compare(r.Stamp, o.Stamp), cmp.Compare(r.Reporter, o.Reporter))
}

func (r Rank) check() error {
	switch {
	case r.Generation.Number == 0 || r.Generation.Number > math.MaxInt64:
		return fmt.Errorf("generation number %d is out of range", r.Generation.Number)
	case r.Stamp == 0 || r.Stamp > math.MaxInt64:
		return fmt.Errorf("stamp %d is out of range", r.Stamp)
	}
	return r.Reporter.Check()
}

// Record says in which class an app's current claims in a region lie. Class 0
// is a withdrawal: a tombstone from the start.
type Record struct {
	Region fleet.Region
	App    fleet.App
	Class  Class
	Since  int64 // class 0: the stamp with which the withdrawal was first offered; else zero
	Rank   Rank
}

// Check reports why r may not enter a directory, or nil.
func (r Record) Check() error {
	if err := r.Region.Check(); err != nil {
		return err
	}
	if err := r.App.Check(); err != nil {
		return err
	}
	if err := r.Rank.check(); err != nil {
		return err
	}
	switch {
	case r.Class > MaxClass:
		return fmt.Errorf("class %d is over the limit of %d", r.Class, MaxClass)
	case r.Class > 0 && r.Since != 0:
		return fmt.Errorf("class %d with a time of withdrawal", r.Class)
	case r.Class == 0 && (r.Since <= 0 || uint64(r.Since) > r.Rank.Stamp):
		return fmt.Errorf("withdrawal since %d is not in 1 to its stamp %d", r.Since, r.Rank.Stamp)
	}
	return nil
}

// Gateway is a node of a region that answers routers.
type Gateway struct {
	Node    fleet.Worker
	Address string // host:port of its gRPC
}

// Region is what a region says of itself.
type Region struct {
	Name       fleet.Region
	Gateways   []Gateway // at most MaxGateways
	Locality   string
	SchemaHash uint64
	Rank       Rank
}

// Check reports why r may not enter a directory, or nil.
func (r Region) Check() error {
	if err := r.Name.Check(); err != nil {
		return err
	}
	if r.Locality != "" {
		if err := fleet.CheckLocality(r.Locality); err != nil {
			return err
		}
	}
	if len(r.Gateways) > MaxGateways {
		return fmt.Errorf("%d gateways are over the limit of %d", len(r.Gateways), MaxGateways)
	}
	for _, g := range r.Gateways {
		if err := g.Node.Check(); err != nil {
			return err
		}
		if err := checkHostPort(g.Address); err != nil {
			return fmt.Errorf("gateway %s: %w", g.Node, err)
		}
	}
	return r.Rank.check()
}

// SameContent reports whether both say the same, whatever their ranks.
func (r Region) SameContent(o Region) bool {
	if r.Name != o.Name || r.Locality != o.Locality || r.SchemaHash != o.SchemaHash || len(r.Gateways) != len(o.Gateways) {
		return false
	}
	for i, g := range r.Gateways {
		if g != o.Gateways[i] {
			return false
		}
	}
	return true
}

const hostRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"

func checkHostPort(s string) error {
	if len(s) > MaxAddress {
		return fmt.Errorf("address of %d bytes is over the limit of %d", len(s), MaxAddress)
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return fmt.Errorf("address %q has no port", s)
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("address %q: bad port", s)
	}
	host := s[:i]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if _, err := netip.ParseAddr(inner); !ok || err != nil || strings.Contains(inner, "%") {
			return fmt.Errorf("address %q: bad IPv6 address", s)
		}
		return nil
	}
	if host == "" || strings.ContainsFunc(host, func(r rune) bool { return !strings.ContainsRune(hostRunes, r) }) {
		return fmt.Errorf("address %q: bad host", s)
	}
	return nil
}
