package fedsim

import (
	"fmt"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sim"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/report"
	copies "github.com/firebreak-dev/firebreak/router/directory"
)

// The tables of a lane that hold its region's report: where its apps are, and
// what it says of itself.
const (
	presences = "presences"
	selves    = "selves"
)

func pathTables() []schema.Table {
	integer := func(name string) schema.Column {
		return schema.Column{Name: name, Type: "INTEGER", NotNull: true, Default: record.Of(0)}
	}
	text := func(name string) schema.Column { return schema.Column{Name: name, Type: "TEXT", NotNull: true} }
	rank := []string{"stamp", "reporter"}
	return []schema.Table{
		schema.Table{
			Name: presences, Kind: record.Ranked, Key: []schema.Column{text("app")}, RankBy: rank,
			Columns: []schema.Column{integer("class"), integer("since"), integer("stamp"), text("reporter")},
		}.WithIDs(),
		schema.Table{
			Name: selves, Kind: record.Ranked, Key: []schema.Column{text("region")}, RankBy: rank,
			Columns: []schema.Column{text("gateways"), integer("schema"), integer("stamp"), text("reporter")},
		}.WithIDs(),
	}
}

func rankOf(row store.Row) presence.Rank {
	return presence.Rank{Generation: generation, Stamp: uint64(row[3].Int), Reporter: fleet.Worker(row[4].Data)}
}

// ledger drives the directory core of one lane of a start of a global node: rows
// that the lane's store shows go in, reports are judged and written, and who
// follows hears what changed.
type ledger struct {
	replica *replica
	core    *directory.Core
	watches []*watch
	turns   int
	tokens  map[uint64]time.Duration // when each was sent
}

// watch is one who follows a directory: a reporter, or a router.
type watch struct {
	session  *sim.Session
	reporter *reporter // nil: a router
	place    int       // of this node in the reporter's list
	seq      uint64
	told     uint64
	whole    bool // it was told everything
}

func newLedger(r *replica) *ledger {
	d := &ledger{replica: r, core: directory.New(directory.Config{Fleet: fleetName, Region: fleet.Region(r.realm.lane)}), tokens: map[uint64]time.Duration{}}
	d.core.PutGeneration(generation, "1")
	return d
}

func (d *ledger) now() directory.Instant {
	return directory.Instant{Mono: d.replica.fed().world.Now(), Wall: d.replica.proc.wall().UnixMilli()}
}

// put takes a row that the store shows.
func (d *ledger) put(at place, row store.Row, p record.Point) {
	if d == nil || row == nil {
		return
	}
	m := d.replica.realm
	region, rank := fleet.Region(m.lane), string(m.rankOf(at, p))
	switch at.table {
	case m.ids[presences]:
		d.core.Put(presence.Record{Region: region, App: fleet.App(row[0].Data), Class: presence.Class(row[1].Int), Since: row[2].Int, Rank: rankOf(row)}, rank)
	case m.ids[selves]:
		self := presence.Region{Name: region, SchemaHash: uint64(row[2].Int), Rank: rankOf(row)}
		for _, node := range strings.Fields(row[1].Data) {
			self.Gateways = append(self.Gateways, gateway(node))
		}
		d.core.PutRegion(self, rank)
	}
}

func gateway(node string) presence.Gateway {
	return presence.Gateway{Node: fleet.Worker(node), Address: node + ":1"}
}

// write stores what a verdict changes.
func (d *ledger) write(v directory.Verdict) {
	values := func(r presence.Rank) []record.Value {
		return []record.Value{record.Of(int64(r.Stamp)), record.Of(string(r.Reporter))}
	}
	for _, rec := range v.Write {
		d.replica.put(presences, append([]record.Value{record.Of(string(rec.App)), record.Of(int64(rec.Class)), record.Of(rec.Since)}, values(rec.Rank)...)...)
	}
	if v.Region == nil {
		return
	}
	var nodes []string
	for _, g := range v.Region.Gateways {
		nodes = append(nodes, string(g.Node))
	}
	d.replica.put(selves, append([]record.Value{
		record.Of(string(v.Region.Name)), record.Of(strings.Join(nodes, " ")), record.Of(int64(v.Region.SchemaHash)),
	}, values(v.Region.Rank)...)...)
}

// offered judges what a reporter sent, writes what it changes and answers.
func (d *ledger) offered(o *reporter, m report.Message, s *sim.Session) {
	answer := func(in report.Input) { s.Send(true, func() { o.hear(in) }) }
	switch {
	case m.Confirmation != nil:
		d.confirmed(*m.Confirmation)
		return
	case d.replica.full:
		return
	}
	var v directory.Verdict
	if m.Region != nil {
		v = d.core.JudgeRegion(d.now(), fleet.Worker(o.proc.name), *m.Region)
	} else {
		v = d.core.Judge(d.now(), fleet.Worker(o.proc.name), m.Presence)
	}
	d.write(v)
	for _, r := range v.Refused {
		answer(report.Refused{Global: m.Global, App: r.App, Code: report.Code(r.Code), Winning: r.Winning, Reason: r.Reason})
	}
	answer(report.Accepted{Global: m.Global, N: v.Taken()})
}

// confirmed takes a confirmation of a token of this node.
func (d *ledger) confirmed(c report.Confirmation) {
	sent, ok := d.tokens[c.Token]
	if !ok {
		return
	}
	now := d.now()
	err := d.core.Confirm(now, directory.Confirmation{
		Generation: c.Generation, Reporter: c.Reporter, Boot: c.Boot, Digest: c.Digest, Offered: uint32(c.Offered), Withheld: c.Withheld, Age: now.Mono - sent,
	})
	if err != nil {
		d.replica.fed().fail(fmt.Errorf("%s refuses a confirmation: %w", d.replica.id(), err))
	}
}

// welcome begins to tell a reporter what is held of its region.
func (d *ledger) welcome(o *reporter, place int, s *sim.Session) {
	d.watches = append(d.watches, &watch{session: s, reporter: o, place: place})
}

// tick tells who follows what changed, and asks reporters whether it holds.
func (d *ledger) tick() {
	d.core.Tick(d.now())
	d.turns++
	live := d.watches[:0]
	for _, w := range d.watches {
		if !w.session.Broken() {
			live = append(live, w)
			d.tell(w)
		}
	}
	d.watches = live
	w := d.replica.fed().world
	w.At(w.Now()+pathEvery, d.replica.proc.life, d.tick)
}

func (d *ledger) tell(w *watch) {
	entries, first := []directory.Entry(nil), !w.whole
	if first || w.seq != d.core.Seq() || w.told != d.core.Told() {
		entries = d.core.After(w.seq, 10_000)
		w.seq, w.told, w.whole = d.core.Seq(), d.core.Told(), true
		d.say(w, entries, first)
	}
	if d.turns%tokenEvery != 0 {
		return
	}
	if w.reporter == nil {
		return // a router asks by itself
	}
	now := d.now().Mono
	token := uint64(now)
	d.tokens[token] = now
	for t, sent := range d.tokens {
		if now-sent > time.Minute {
			delete(d.tokens, t)
		}
	}
	w.session.Send(true, func() { w.reporter.hear(report.Token{Global: w.place, Token: token}) })
}

func (d *ledger) say(w *watch, entries []directory.Entry, first bool) {
	if w.reporter == nil {
		d.replica.fed().router.send(d, w, entries, first)
		return
	}
	in := report.Own{Global: w.place, Full: first, Last: true, Confirmed: d.core.Confirmed(d.now())}
	for _, e := range entries {
		if e.Presence != nil {
			in.Presence = append(in.Presence, *e.Presence)
		}
		if e.Region != nil {
			in.Region = e.Region
		}
	}
	w.session.Send(true, func() { w.reporter.hear(in) })
}

// copied converts an entry to a router's.
func copied(region fleet.Region, e directory.Entry) copies.Entry {
	return copies.Entry{Region: region, Presence: e.Presence, Record: e.Region, Generation: e.Generation, Rank: e.Rank, Held: e.Held}
}
