package fedsim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/sim"
)

// The kinds of actions: work first, then faults.
const (
	putOwned  = "put"
	delOwned  = "delete"
	putShared = "put-shared"
	delShared = "delete-shared"
	putRanked = "put-ranked"
	putLate   = "put-late"   // into the table that an older schema lacks
	putMany   = "put-many"   // one transaction of N rows
	putBurst  = "burst"      // many transactions at once
	putSame   = "put-same"   // a row as it is: no write
	putPoison = "put-poison" // a row that the constraint of one node refuses
	putForged = "put-forged" // a row in the name of another node
	putEvict  = "evict"      // the rows of another node, by the boot it has now

	doStop    = "stop"
	doCrash   = "crash"
	doStart   = "start"
	doImage   = "image"   // copy the disk
	doPutBack = "putback" // start on that copy later
	doForeign = "foreign" // start on the copy of another node's disk
	doWipe    = "wipe"    // start on an empty disk
	doOlder   = "older"   // start with an older schema
	doCut     = "cut"
	doJoin    = "join"
	doWeather = "weather"
	doDays    = "days"  // pass, whoever is away: shared writes may come late then
	doClock   = "clock" // N milliseconds off
	doFull    = "disk-full"
	doRoom    = "disk-room"
)

// storms are the weathers that a script chooses from.
var storms = []sim.Weather{
	{Delay: 2 * time.Millisecond, Jitter: time.Millisecond},
	{Delay: 5 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.02},
	{Delay: 20 * time.Millisecond, Jitter: 200 * time.Millisecond, Loss: 0.1, Duplicate: 0.05, Reorder: 0.1},
	{Delay: 100 * time.Millisecond, Jitter: 400 * time.Millisecond, Loss: 0.3, Duplicate: 0.2, Reorder: 0.5},
	{Delay: 2 * time.Millisecond, Duplicate: 0.5, Reorder: 0.5, Jitter: 50 * time.Millisecond},
	{Delay: 10 * time.Millisecond, Rate: 8 << 10},
}

// calm is the weather once faults are over.
var calm = storms[0]

// author writes the script of a seed. It never looks at the world: what it
// asks for and cannot be done is left out when its time comes.
type author struct {
	rand   *rand.Rand
	opts   Options
	names  [][]string // by cluster
	script sim.Script
	next   int
	faults []fault
}

// fault adds what makes up one fault of a cluster.
type fault func(at time.Duration, cluster []string)

func newScript(f *federation) sim.Script {
	o := f.opts
	a := &author{rand: f.world.Stream("script"), opts: o}
	a.names = f.names()
	// Each seed draws from some of the faults only: all at once hide each other.
	for _, fault := range []fault{a.restart, a.restore, a.split, a.swizzle, a.storm, a.clock, a.disk, a.schema, a.evict} {
		if a.rand.IntN(5) < 2 {
			a.faults = append(a.faults, fault)
		}
	}
	for range o.Actions {
		at := time.Duration(a.rand.Int64N(int64(o.Spread)))
		cluster := a.cluster()
		if len(a.faults) > 0 && a.rand.IntN(4) == 0 {
			a.faults[a.rand.IntN(len(a.faults))](at, cluster)
		} else {
			a.work(at, cluster)
		}
	}
	slices.SortStableFunc(a.script, func(x, y sim.Action) int { return cmp.Compare(x.At, y.At) })
	if o.goesOn() {
		a.rand = f.world.Stream("script later")
		a.addLater()
	}
	return a.script
}

// names lists the processes by cluster, in the order they were added.
func (f *federation) names() (out [][]string) {
	of := map[string]int{}
	for _, p := range f.all {
		i, ok := of[p.cluster]
		if !ok {
			i = len(out)
			of[p.cluster] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], string(p.name))
	}
	return out
}

func (a *author) cluster() []string { return a.names[a.rand.IntN(len(a.names))] }

func (a *author) add(at time.Duration, kind, who, with string, n int) {
	a.script = append(a.script, sim.Action{At: at, Kind: kind, Who: who, With: with, N: n})
}

func (a *author) pick(from []string) string { return from[a.rand.IntN(len(from))] }

// other picks one of a cluster beside who, or who itself if there is none.
func (a *author) other(cluster []string, who string) string {
	rest := slices.DeleteFunc(slices.Clone(cluster), func(o string) bool { return o == who })
	if len(rest) == 0 {
		return who
	}
	return a.pick(rest)
}

func (a *author) soon(most time.Duration) time.Duration {
	return time.Duration(a.rand.Int64N(int64(most)))
}

// work writes something. Values never repeat.
func (a *author) work(at time.Duration, cluster []string) {
	a.next++
	who := a.pick(cluster)
	id := fmt.Sprint("row", a.rand.IntN(5))
	switch n := a.rand.IntN(40); {
	case n < 4:
		a.add(at, delOwned, who, id, 0)
	case n < 9:
		a.add(at, putShared, who, id, a.next)
	case n < 11:
		a.add(at, delShared, who, id, 0)
	case n < 14:
		a.add(at, putRanked, who, id, a.next<<8|a.rand.IntN(6))
	case n < 16:
		a.add(at, putLate, who, id, a.next)
	case n < 19:
		a.add(at, putMany, who, id, a.next<<8|2+a.rand.IntN(12))
	case n < 20:
		a.add(at, putBurst, who, id, a.next<<8|50+a.rand.IntN(200))
	case n < 22:
		a.add(at, putSame, who, id, 0)
	case n < 23:
		a.add(at, putPoison, who, id, a.next)
	case n < 24:
		a.add(at, putForged, who, a.other(cluster, who), a.next)
	default:
		a.add(at, putOwned, who, id, a.next)
	}
}

func (a *author) restart(at time.Duration, cluster []string) {
	who := a.pick(cluster)
	a.add(at, a.pick([]string{doStop, doCrash, doCrash}), who, "", 0)
	if a.rand.IntN(8) > 0 {
		a.add(at+a.soon(6*time.Second), doStart, who, "", 0)
	}
}

// restore has a disk come back that is not the one that was there.
func (a *author) restore(at time.Duration, cluster []string) {
	who := a.pick(cluster)
	from := who
	how := doPutBack
	switch a.rand.IntN(5) {
	case 0:
		how = doWipe
	case 1:
		how, from = doForeign, a.other(cluster, who)
	}
	if a.rand.IntN(3) == 0 {
		a.add(at, doStop, from, "", 0) // an image of a clean stop
		a.add(at+time.Millisecond, doImage, from, "", 0)
		a.add(at+2*time.Millisecond, doStart, from, "", 0)
	} else {
		a.add(at, doImage, from, "", 0)
	}
	then := at + a.soon(4*time.Second)
	a.add(then, a.pick([]string{doStop, doCrash}), who, "", 0)
	if a.rand.IntN(2) == 0 {
		a.add(then, doClock, who, "", -3_600_000) // the image's clock is an old one too
	}
	a.add(then+a.soon(2*time.Second), how, who, from, 0)
}

func (a *author) split(at time.Duration, cluster []string) {
	who := a.pick(cluster)
	long := at + a.soon(14*time.Second)
	for _, o := range cluster {
		if o == who {
			continue
		}
		oneWay := a.rand.IntN(4)
		if oneWay != 1 {
			a.add(at, doCut, who, o, 0)
			a.add(long, doJoin, who, o, 0)
		}
		if oneWay != 2 {
			a.add(at, doCut, o, who, 0)
			a.add(long, doJoin, o, who, 0)
		}
	}
}

// maxSwizzle bounds the nodes between which links are swizzled at one time.
const maxSwizzle = 8

// swizzle stops links one by one and lets them return in another order.
func (a *author) swizzle(at time.Duration, cluster []string) {
	from := a.rand.IntN(len(cluster))
	cluster = slices.Concat(cluster[from:], cluster[:from])
	cluster = cluster[:min(len(cluster), maxSwizzle)]
	for _, x := range cluster {
		for _, y := range cluster {
			if x != y && a.rand.IntN(2) == 0 {
				a.add(at+a.soon(2*time.Second), doCut, x, y, 0)
				a.add(at+2*time.Second+a.soon(6*time.Second), doJoin, x, y, 0)
			}
		}
	}
}

func (a *author) storm(at time.Duration, _ []string) {
	a.add(at, doWeather, "", "", a.rand.IntN(len(storms)))
}

func (a *author) clock(at time.Duration, cluster []string) {
	ms := []int{400, 800, 3000, 60_000, 3_600_000, -800, -60_000, -3_600_000, -432_000_000}
	who := a.pick(cluster)
	a.add(at, doClock, who, "", ms[a.rand.IntN(len(ms))])
	if a.rand.IntN(3) > 0 {
		a.add(at+a.soon(5*time.Second), doClock, who, "", 0)
	}
	if a.rand.IntN(3) == 0 {
		a.restart(at+a.soon(time.Second), []string{who})
	}
}

func (a *author) disk(at time.Duration, cluster []string) {
	who := a.pick(cluster)
	a.add(at, doFull, who, "", 0)
	a.add(at+a.soon(5*time.Second), doRoom, who, "", 0)
}

func (a *author) schema(at time.Duration, cluster []string) {
	who := a.pick(cluster)
	a.add(at, doStop, who, "", 0)
	a.add(at+a.soon(time.Second), doOlder, who, "", 0)
	then := at + time.Second + a.soon(6*time.Second)
	a.add(then, doStop, who, "", 0)
	a.add(then+a.soon(time.Second), doStart, who, "", 0)
}

func (a *author) evict(at time.Duration, cluster []string) {
	if a.rand.IntN(3) > 0 {
		return
	}
	who := a.pick(cluster)
	a.add(at, putEvict, who, a.other(cluster, who), 0)
	a.add(at+a.soon(time.Second), doCrash, a.other(cluster, who), "", 0)
}
