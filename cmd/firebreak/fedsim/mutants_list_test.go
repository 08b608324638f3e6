package fedsim

import (
	"testing"

	"github.com/firebreak-dev/firebreak/internal/sim"
)

// Files that mutants break.
const (
	pushFile    = "internal/replica/push.go"
	syncFile    = "internal/replica/sync.go"
	peerFile    = "internal/replica/peer.go"
	fetchFile   = "internal/replica/fetch.go"
	closeFile   = "internal/replica/closing.go"
	listFile    = "internal/replica/listing.go"
	planFile    = "internal/replica/runner/listing.go"
	workFile    = "internal/replica/runner/work.go"
	memFile     = "internal/store/memory/memory.go"
	stepFile    = "internal/store/memory/step.go"
	stateFile   = "internal/store/memory/state.go"
	readFile    = "internal/store/memory/read.go"
	collectFile = "internal/store/memory/collect.go"
	closedFile  = "internal/store/memory/closing.go"
	takeFile    = "internal/store/memory/take.go"
	listedFile  = "internal/store/memory/listing.go"
	simReplica  = "cmd/firebreak/fedsim/replica.go"
	simProcess  = "cmd/firebreak/fedsim/process.go"
	simClosing  = "cmd/firebreak/fedsim/closing.go"
)

func one(name string, within int, file, is, breaks string) mutant {
	return mutant{name: name, within: within, edits: []edit{{file, is, breaks}}}
}

func mutants() []mutant {
	out := receivingMutants()
	out = append(out, closingMutants()...)
	out = append(out, listingMutants()...)
	return append(out, laneMutants()...)
}

// receivingMutants break what is written, received and compared.
func receivingMutants() []mutant {
	return []mutant{
		one("dedupe before durable apply", 20, pushFile, "e.pending = e.pending.With(d.rang)", "e.Received = e.Received.With(d.rang)"),
		one("a writer is continued after a restart", 20, memFile, "	boot = max(boot, uint64(max(0, s.cfg.Now().Unix()))",
			"	if ws := s.st.ownWriters(s.cfg.Node); len(ws) > 0 && boot == 0 {\n		return ws[len(ws)-1]\n	}\n	boot = max(boot, uint64(max(0, s.cfg.Now().Unix()))"),
		one("rows found on disk are published again", 400, memFile, "s.disk.ownedSince(s.since, ", "s.disk.ownedSince(0, "),
		one("no higher boot for a clock that went back", 400, pushFile, "if boot < c.self.Boot || c.renewing {", "if true {"),
		one("acceptance looks at the order of arrival", 20, stepFile, "if ok && !record.Wins(h.rec.Rank(h.at), old.top.rec.Rank(old.top.at)) {", "if false {"),
		one("a foreign-owned record competes for the key", 20, stepFile, "if h.rec.ForeignOwner(h.at.Writer) {", "if false {"),
		{name: "empty inferred from absence", within: 200, edits: []edit{
			{fetchFile, "missing := have.Minus(theirs.Received)", "missing := have.Minus(record.Received{Head: theirs.Received.Head})"},
			{readFile, "range ws.Received.Ranges()", "range (record.Received{Head: ws.Received.Head}).Ranges()"},
		}},
		{name: "nothing left, said beyond the head that is known", within: 200, edits: []edit{
			{planFile, "g.To = min(g.To, s.Received.Head)", "g.To = min(g.To, s.Received.Head+1)"},
			{readFile, "min(have.To, r.To)", "min(have.To+1, r.To)"},
		}},
		one("a head believed because a peer told of it", 20, syncFile, "	p.bench = 0\n",
			"	p.bench = 0\n	for _, st := range states {\n		if e := c.book.find(st.Writer); e != nil && st.Received.Head > e.Received.Head {\n			e.Received = e.Received.With(record.Range{From: e.Received.Head + 1, To: st.Received.Head})\n		}\n	}\n"),
		one("a gap closed without its rows", 20, stateFile, "ws.Received.With(e.delivery.Range)", "ws.Received.With(record.Range{From: 1, To: e.delivery.Range.To})"),
		one("a version is taken twice", 20, memFile, "if len(s.st.missing(d.Writer, d.Range)) == 0 {", "if false {"),
		one("acknowledged before it is durable", 100, memFile, "quiet: quiet, wall: s.cfg.Now()})\n	s.disk.Sync()", "quiet: quiet, wall: s.cfg.Now()})"),
		one("withheld records left out of fingerprints", 50, stepFile, "	s.count(h, true)\n	s.place(p, h, now)", "	if h.reason == \"\" {\n		s.count(h, true)\n	}\n	s.place(p, h, now)"),
		one("withheld records count as not received", 50, memFile, "Status: store.Applied, Withheld: done.withheld", "Status: store.Status(1 + 2*min(1, done.withheld)), Withheld: done.withheld"),
		one("a stamp ahead is withheld for ever", 200, stateFile, "if s.top.reason == store.ReasonClock && !ahead(s.top.rec, now) {\n			return true", "if s.top.reason == \"never\" {\n			return true"),
		{name: "what shows under a withheld record depends on the order of arrival", within: 2000, lanes: true, edits: []edit{{stepFile, "		s.below(p, old, h, now)\n", ""}}},
		one("leaves and roots depend on membership", 50, peerFile, "c.peers = slices.Delete(c.peers, i, i+1)", "c.peers = slices.Delete(c.peers, i, i+1)\n		c.book.root = minus(c.book.root, c.book.digest(n))"),
		one("leaves that differ are never looked into", 20, syncFile, "p.session = session{phase: differs, due: c.now + differFor, leaves: differ}", "_ = differ"),
		{name: "push pushes back on receiving", within: 200, edits: []edit{
			{pushFile, "if p == nil || p.dropped {\n		return // lost meanwhile", "if p == nil || p.dropped || slices.ContainsFunc(c.peers, func(o *peer) bool { return o.owes }) {\n		return // lost meanwhile"},
			{pushFile, "	\"fmt\"\n", "	\"fmt\"\n	\"slices\"\n"},
			{peerFile, "p.owes, p.rootAt = false, c.now", "p.rootAt = c.now"},
		}},
		one("no rejoin", 100, simProcess, "case c == nil && passes && o.up():", "case c == nil && passes && o.up() && p.apart[o.name] == 0:"),
		one("what a core knows of boots does not outlast it", 20, workFile, "return replica.Reloaded{States: States(ws), Boots: Boots(ns)}, nil", "return replica.Reloaded{States: States(ws), Boots: Boots(ns)[:0]}, nil"),
	}
}

// closingMutants break closings and evictions.
func closingMutants() []mutant {
	return []mutant{
		one("closing up to the highest earlier boot that is known", 20, closedFile, "if !st.cfg.Mutant.is(CloseKnown) {", "if false {"),
		one("closing without writing the rows again", 20, closedFile, "if s.cfg.Mutant.is(CloseUnstamped) {", "if true {"),
		one("closing without its base", 100, closedFile, "if complete < c.Base && !st.cfg.Mutant.is(CloseBaseless) {", "if false {"),
		one("closing in effect over a gap", 20, closedFile, "!st.cfg.Mutant.is(CloseOverGap) && len(", "false && len("),
		one("closing without waiting for dead members", 50, closeFile, "	missing := cl.passes.Missing(known)\n",
			"	missing := cl.passes.Missing(known)\n	missing = slices.DeleteFunc(missing, func(n record.Node) bool { return c.peer(n) == nil })\n"),
		one("closing by an empty node that asked nobody", 100, closeFile, "case len(known) == 0 && !c.cfg.Alone, cl.unconfirmed:", "case cl.unconfirmed:"),
		{name: "closing while the daemon has yet to reconcile", within: 50, edits: []edit{
			{closeFile, "case len(known) == 0 && !c.cfg.Alone, cl.unconfirmed:", "case len(known) == 0 && !c.cfg.Alone:"},
			{simClosing, "if r.doubts > 0 {", "if false {"},
		}},
		one("a survey leaves out what waits for the store", 600, closeFile, "c.reply(r.b, p.node)", "c.reply(r.b, \"\")"),
		one("a closing that covers shared rows", 20, stateFile, "if st.cfg.Mutant.is(CloseShared) && r.Kind == record.Shared {", "if r.Kind == record.Shared {"),
		one("an eviction that covers shared rows", 100, stateFile, "	return r.Kind == record.Owned && at.Writer.Boot <= n.Over()", "	if r.Kind == record.Shared && at.Writer.Boot <= n.Evicted {\n		return true\n	}\n	return r.Kind == record.Owned && at.Writer.Boot <= n.Over()"),
		{name: "gaps of closed writers counted", within: 1, script: lostForEver, edits: []edit{{collectFile, "if st.cfg.Mutant.is(CountClosedGaps) {", "if true {"}}},
		one("collection before the own closing", 20, collectFile, "(closed || st.cfg.Mutant.is(CollectEarly))", "(closed || true)"),
		one("collection above a gap", 200, collectFile, "&& !st.cfg.Mutant.is(CollectAboveGap) {", "&& false {"),
		one("forgetting before complete", 100, collectFile, "if st.cfg.Mutant.is(ForgetEarly) {", "if true {"),
	}
}

// listingMutants break floors and listings, whose rule has four clauses: who
// gets one, what is dropped, what is taken, and what is taken over.
func listingMutants() []mutant {
	return []mutant{
		one("collection without floors", 20, collectFile, "ws.Floors[i] = max(ws.Floors[i], h.at.Version)", "_, _ = ws, i"),
		{name: "a range where a listing is due", within: 20, edits: []edit{
			{planFile, "floor := slices.Max(s.Floors[:])", "floor := record.Version(0)"},
			{readFile, "!slices.Contains(without, k) && !s.st.cfg.Mutant.is(RangesOnly)", "k == 0"},
		}},
		{name: "a listing for a floor under a head alone, not under a gap", within: 20, edits: []edit{
			{planFile, "		g.To = min(g.To, s.Received.Head)\n", "		if g.To < 1<<62 {\n			floor = 0\n		}\n		g.To = min(g.To, s.Received.Head)\n"},
			{readFile, "!slices.Contains(without, k) && !s.st.cfg.Mutant.is(RangesOnly)", "k == 0"},
		}},
		one("a listing drops nothing", 200, takeFile, "s.dropGone(gone, l.Listed)\n	s.dropForeign(func", "s.dropGone(func(h held) bool { return false && gone(h) }, l.Listed)\n	s.dropForeign(func"),
		one("a listing drops what lies below a head, gaps ignored", 100, takeFile, "if r.mutant.is(ByHeads) && ", "if "),
		one("a listing without the tombstones that are kept", 20, listedFile, "if s.st.cfg.Mutant.is(LiveOnly) {", "if true {"),
		one("floors are not taken over", 400, takeFile, "if end.Covers(w.Writer, k) && w.Floors[i] >", "if k == 0 && w.Floors[i] >"),
		one("complete boots taken over with a listing of one kind", 500, takeFile, "if end.Whole(theirs.Node) {", "if true {"),
		one("a per-writer listing of shared tables", 20, planFile, "			p.Listed = list\n",
			"			p.Listed = slices.DeleteFunc(list, func(c record.Changeset) bool {\n				return !slices.ContainsFunc(l.end.Takes, func(t record.Closed) bool { return t.Writer == c.Writer })\n			})\n"),
		one("a listing overtakes what is on its way", 600, listFile, "s.mode() == CatchUp && c.leftOut(p)", "false"),
		{name: "a late shared write taken for damage", within: 1, script: lateWrite, edits: []edit{{syncFile, "		*list, p.session.differ = ListingWant{Mode: Exchange}, d\n", ""}}},
	}
}

// laneMutants have the lanes of a global node share what they must not.
func laneMutants() []mutant {
	out := []mutant{
		one("lanes share a queue", 50, simReplica, "sim.Flow{Subject: r.realm.lane, Class: class}", "sim.Flow{Class: class}"),
		one("lanes share a root", 20, simReplica, "		r.core.Step(r.fed().world.Now(), core.Committed{Entries: runner.Entries(entries)})\n",
			"		for _, o := range r.proc.lanes {\n			if o.core != nil {\n				o.core.Step(r.fed().world.Now(), core.Committed{Entries: runner.Entries(entries)})\n			}\n		}\n"),
		one("lanes share a sequence", 20, simReplica, "return &replica{proc: p, realm: m, disk: p.fed.newDisk()}",
			"d := p.fed.newDisk()\n	if len(p.lanes) > 0 {\n		d = p.lanes[0].disk\n	}\n	return &replica{proc: p, realm: m, disk: d}"),
	}
	for i := range out {
		out[i].lanes = true
	}
	return out
}

// A version that is nowhere any more: it left for peers that it could not reach,
// the next one reached them, and the node lost its disk.
const lostForEver = `
1.000s cut    r0-n0 r0-n1 0
1.000s cut    r0-n0 r0-n2 0
1.100s put    r0-n0 row1  1
1.200s join   r0-n0 r0-n1 0
1.200s join   r0-n0 r0-n2 0
1.250s put-shared r0-n0 row2 2
1.300s crash  r0-n0 -     0
1.400s wipe   r0-n0 r0-n0 0
9.000s put    r0-n0 row3  3
9.500s delete r0-n0 row3  0
`

// A shared write that reaches the others days after one of them has collected
// the delete that it does not know of, and another has not.
const lateWrite = `
1.000s put-shared    r0-n0 row1  1
3.000s cut           r0-n0 r0-n1 0
3.000s cut           r0-n0 r0-n2 0
3.000s cut           r0-n1 r0-n0 0
3.000s cut           r0-n2 r0-n0 0
3.100s put-shared    r0-n0 row1  2
3.500s delete-shared r0-n1 row1  0
4.500s stop          r0-n2 -     0
5.000s days          -     -     0
9.000s join          r0-n0 r0-n1 0
9.000s join          r0-n0 r0-n2 0
9.000s join          r0-n1 r0-n0 0
9.000s join          r0-n2 r0-n0 0
9.000s start         r0-n2 -     0
`

// Scripts of mutants break nothing without them.
func TestMutantScriptsHold(t *testing.T) {
	for _, m := range mutants() {
		if m.script == "" {
			continue
		}
		s, err := sim.ParseScript(m.script)
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		if r := Run(Options{Seed: 1, Regions: 1, Globals: -1, Closing: true, Script: s}); r.Err != nil {
			t.Errorf("%s: %v", m.name, r.Err)
		}
	}
}
