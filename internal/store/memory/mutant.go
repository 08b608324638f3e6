package memory

// Mutant breaks one rule of deletes on purpose, so that tests can show that
// they would notice. The zero value breaks none.
type Mutant string

// The mutants. Each says what it leaves out.
const (
	RangesOnly      Mutant = "ranges only"                          // floors are not looked at: a range answers everything
	HeadOnly        Mutant = "listing only for a head below"        // a gap below a floor is answered by a range
	LiveOnly        Mutant = "live rows only in a listing"          // no tombstones
	ByHeads         Mutant = "covered by heads, gaps ignored"       // a version at or below a head counts as received by the responder
	CollectAboveGap Mutant = "collect above a gap"                  // gaps never count
	CollectEarly    Mutant = "collect before the own closing"       // of the tombstone's writer
	ByRankAlone     Mutant = "take from a listing by rank alone"    // also what was received and dropped here
	PerWriter       Mutant = "per-writer listing for shared tables" // only rows of the writers that were asked for
	CloseKnown      Mutant = "closing up to the highest boot known" // not up to the own boot less one
	CloseUnstamped  Mutant = "closing without writing rows again"
	CloseBaseless   Mutant = "closing without its base" // whoever has its list is complete
	CloseOverGap    Mutant = "closing in effect over a gap"
	CloseShared     Mutant = "closing that covers shared rows"
	CountClosedGaps Mutant = "gaps of closed writers counted"
	RenewShared     Mutant = "an evicted start writes its shared rows again"
	ForgetEarly     Mutant = "forgetting before complete"
)

// is reports whether m breaks this rule.
func (m Mutant) is(o Mutant) bool { return m == o }
