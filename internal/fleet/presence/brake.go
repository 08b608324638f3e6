package presence

import (
	"cmp"
	"slices"
)

// The brake: a withdrawal is held if with it more than brakeLost apps of the
// region were lost within brakeWindow, and they are more than half of all.
const (
	brakeLost   = 20
	brakeWindow = 24 * 60 * 60 * 1000 // milliseconds of stamp
	alarmWindow = 10 * 60 * 1000
	alarmShare  = 15 // percent lost within alarmWindow that alarms
)

// Held reports whether one more withdrawal is held, in a region that lost that
// many apps within the window and has that many left, it included.
func Held(lost, present int) bool {
	lost, base := lost+1, present+lost
	return lost > brakeLost && 2*lost > base
}

// Brake judges a region's withdrawals by what its directory holds. It stores
// nothing: built anew from equal directories it judges alike, on any node and
// after any restart. Judge withdrawals in the order of Hasher.App.
type Brake struct {
	since   []int64 // of the withdrawn, ascending
	present int
}

// NewBrake returns the brake of a directory with that many apps present, and
// the Since of each withdrawn one (in any order; it is sorted in place).
func NewBrake(present int, since []int64) *Brake {
	slices.Sort(since)
	return &Brake{since: since, present: present}
}

// Lost counts the withdrawals first offered in the window before the stamp at,
// and after it: two waves are judged together in the order of the hash, and if
// the first were judged by itself both could take half.
func (b *Brake) Lost(at int64) int {
	from, _ := slices.BinarySearch(b.since, at-brakeWindow)
	return len(b.since) - from
}

// Admit judges the withdrawal of a present app, first offered with the stamp
// since. If it is admitted it counts as lost from then on.
func (b *Brake) Admit(since int64) bool {
	if Held(b.Lost(since), b.present) {
		return false
	}
	b.Force(since)
	return true
}

// Force counts a withdrawal that goes through whatever the brake says.
func (b *Brake) Force(since int64) {
	i, _ := slices.BinarySearch(b.since, since)
	b.since = slices.Insert(b.since, i, since)
	b.present--
}

// Losing reports whether more than 15 % of the region's apps were withdrawn
// within the 10 minutes before the stamp at: an alarm, not a hold.
func (b *Brake) Losing(at int64) (lost, base int, alarm bool) {
	from, _ := slices.BinarySearch(b.since, at-alarmWindow)
	lost = len(b.since) - from
	base = lost + b.present
	return lost, base, 100*lost > alarmShare*base
}

// CompareOrder orders withdrawals as the brake judges them: by the hash of
// their app, then by name.
func CompareOrder(a, b Digest, appA, appB string) int {
	return cmp.Or(cmp.Compare(a.Hi, b.Hi), cmp.Compare(a.Lo, b.Lo), cmp.Compare(appA, appB))
}
