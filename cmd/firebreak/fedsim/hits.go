package fedsim

// The states that a run of many seeds must have reached to be evidence.
const (
	HitFilled    = "sync filled a gap"
	HitOwnTail   = "a node's own tail changed a row and its daemon was asked"
	HitRenewed   = "a writer was renewed"
	HitOffLine   = "a feed position was off the line of boots"
	HitOwed      = "a push queue dropped and the peer was owed sync"
	HitPushed    = "push alone sufficed"
	HitDuplicate = "a duplicate was dropped"
	HitPutBack   = "a put-back image met its own later writer"
	HitForeign   = "an image of another node was started"
	HitWiped     = "an empty node caught up"
	HitHeld      = "withheld: clock"
	HitReleased  = "a stamp ahead was withheld and applied in time"
	HitSchema    = "unknown-schema data was withheld and applied"
	HitOwner     = "withheld: owner"
	HitPoison    = "withheld: constraint"
	HitRejoin    = "rejoin healed a split"
	HitDisk      = "a disk error surfaced"
	HitAhead     = "a shared write was refused with clock ahead"
	HitBackward  = "a backward clock recovered"
	HitEvicted   = "an eviction dropped rows"
	HitTimeout   = "a peer did not answer"
	HitDropped   = "a push found the store's queue full"
	HitListHead  = "a listing was used for a floor under a head"
	HitListGap   = "a listing was used for a floor under a gap"
	HitGap       = "a closing waited for a gap"
	HitClosed    = "a closing took effect"
	HitWaited    = "a closing waited for a dead member"
	HitForgotten = "a writer was forgotten"
	HitCollected = "a tombstone was collected"
	HitAbsent    = "collection ran with an absent member"
	HitCoverage  = "a listing was used for coverage alone"
)

// MustHit lists them; some only if nodes close their earlier starts.
func MustHit(closing bool) []string {
	all := []string{
		HitFilled, HitOwnTail, HitRenewed, HitOffLine, HitOwed, HitPushed, HitDuplicate, HitPutBack, HitForeign, HitWiped, HitHeld,
		HitReleased, HitSchema, HitOwner, HitPoison, HitRejoin, HitDisk, HitAhead, HitBackward, HitEvicted, HitTimeout,
	}
	if closing {
		all = append(all, HitListHead, HitListGap, HitClosed, HitGap, HitWaited, HitForgotten, HitCollected, HitAbsent, HitCoverage)
	}
	return all
}
