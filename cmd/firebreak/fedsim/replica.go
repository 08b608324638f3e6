package fedsim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	core "github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/sim"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// replica is one lane of a process: its disk, and while the process runs its
// store and core.
type replica struct {
	proc  *process
	realm *realm

	// The disk, and what goes with it.
	disk    disk
	mine    []record.Point // acknowledged on this disk
	putBack bool           // the disk is an image of an earlier time
	back    bool           // it has come back since the last start
	steady  bool           // it was there when days passed
	few     bool           // started with an older schema, which lacks a table
	cursor  store.Position // how far a client of this node has read
	full    bool           // the disk takes nothing
	forges  bool           // writes rows in the names of others
	refused bool           // a shared write was, for the clock
	trace   sim.Trace      // of all its starts

	// Of this start; the last one's while it is down.
	store      opened
	answers    *runner.Answers
	core       *core.Core
	feed       store.Feed
	began      []record.Writer
	server     *sim.Server
	wakeAt     time.Duration
	collecting bool          // what the feed tells of is a collection
	doubts     int           // looks of its daemon at its rows that are not done
	known      record.Writer // last announced
	seen       seen

	directory *ledger // of a lane, if the report path is played; else nil
}

// How long a disk takes.
const (
	applyBase = 500 * time.Microsecond
	applyEach = 50 * time.Microsecond
	serveTime = time.Millisecond
)

// queueCap is how many bytes of deliveries may wait for a store.
const queueCap = 1 << 20

// ended is a context that has ended: a feed asked with it does not wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func newReplica(p *process, m *realm) *replica {
	return &replica{proc: p, realm: m, disk: p.fed.newDisk()}
}

func (r *replica) id() string { return string(r.proc.name) + "/" + r.realm.lane }

// note adds to the world's trace and to the replica's own.
func (r *replica) note(what string, b []byte) {
	w := r.fed().world
	w.Note(what, r.id(), b)
	r.trace.Note(w.Now(), what, "", b)
}

func (r *replica) fed() *federation { return r.proc.fed }

// open starts store and core on the disk.
func (r *replica) open() {
	w := r.fed().world
	bits := w.Stream("bits " + r.id())
	st, err := r.disk.open(r, bits.Uint64)
	if err != nil {
		panic(fmt.Sprintf("open %s: %v", r.id(), err)) // only for a mistake in this package
	}
	snap, err := st.Snapshot(context.Background())
	if err != nil {
		panic(err)
	}
	all, err := runner.Read(snap)
	if err != nil {
		panic(err)
	}
	r.store, r.server, r.wakeAt = st, sim.NewServer(w), 0
	r.doubts, r.collecting = 0, false
	r.answers = runner.NewAnswers(st.Snapshot)
	r.known, r.began = st.Writer(), []record.Writer{st.Writer()}
	r.fed().happen(happened{replica: r, start: st.Writer(), states: all.States, boots: all.Boots})
	if n := r.proc.name; r.back || r.realm.evicted[n] || r.realm.unknown[n] {
		r.back = false
		r.realm.strays(all.States)
		r.realm.cameBack(all.States, r.fed().of(r.realm))
	}
	r.core = core.New(core.Config{Seed: bits.Uint64(), Packing: r.fed().packing, Close: r.fed().opts.Closing, Queue: queueCap, Share: queueCap / 4, Want: queueCap / 4}, st.Writer(), nil, w.Now(), r.proc.wall())
	r.core.Step(w.Now(), all)
	r.core.Step(w.Now(), core.Confirmed{Yes: true})
	r.core.Step(w.Now(), r.proc.members())
	if r.feed, err = st.Feed(snap.Position()); err != nil {
		panic(err)
	}
	r.readAll(snap)
	r.resume(snap.Position())
	if err := r.openLedger(snap); err != nil {
		panic(err)
	}
	_ = snap.Close()
	r.pump()
	if r.fed().opts.Closing {
		w.At(w.Now()+collectEvery, r.proc.life, r.collect)
	}
}

// completeOf returns the boot up to which all of a node counts as received.
func completeOf(boots []core.Boots, n record.Node) uint64 {
	for _, b := range boots {
		if b.Node == n {
			return b.Complete
		}
	}
	return 0
}

// check is a constraint that one node of each cluster has and others lack.
func (r *replica) check(_ string, row store.Row) error {
	if last := row[len(row)-1]; last.Type == record.Integer && last.Int >= poison && r.realm.picky(r.proc.name) {
		return errors.New("CHECK constraint of this node")
	}
	return nil
}

// resume has the client of this node read on from where it was.
func (r *replica) resume(end store.Position) {
	if r.cursor.Node != "" {
		if _, err := r.store.Feed(r.cursor); errors.Is(err, store.ErrResync) {
			r.fed().hit(HitOffLine)
		}
	}
	r.cursor = end
}

func (r *replica) close(how func(*replica)) {
	r.realm.ended(r)
	r.tally()
	how(r)
	r.core, r.store, r.feed = nil, nil, nil
}

func (r *replica) connected(n record.Node) { r.step(core.Connected{Peer: n}) }

func (r *replica) lost(n record.Node) { r.step(core.Lost{Peer: n}) }

func (r *replica) step(e core.Event) {
	r.core.Step(r.fed().world.Now(), e)
	r.pump()
}

// pump does what the core wants done until it wants nothing more.
func (r *replica) pump() {
	r.follow()
	out := r.core.Ready()
	for _, s := range out.Sends {
		r.send(s)
	}
	if out.Apply != nil {
		r.server.Do(r.proc.life, cost(out.Apply), func() { r.apply(out.Apply) })
	}
	for _, s := range out.Serves {
		r.server.Do(r.proc.life, serveTime, func() { r.serve(s) })
	}
	if out.Take != nil {
		r.server.Do(r.proc.life, applyBase, func() { r.take(*out.Take) })
	}
	if out.Check {
		r.server.Do(r.proc.life, serveTime, r.sum)
	}
	if out.Restamp || !out.Close.IsZero() {
		r.server.Do(r.proc.life, applyBase, func() { r.closeEarlier(out.Close) })
	}
	for _, d := range out.Drops {
		r.fed().fail(&sim.Violation{ID: "S0", Says: "nobody here breaks the protocol", Err: fmt.Errorf("%s drops %s: %w", r.id(), d.Peer, d.Err)})
	}
	if out.Renew > 0 {
		r.server.Do(r.proc.life, applyBase, func() { r.renew(out.Renew) })
	}
	for _, p := range out.Reports {
		r.fed().happen(happened{replica: r, report: &p})
	}
	r.wake()
}

func cost(batch []record.Delivery) time.Duration {
	d := applyBase
	for _, one := range batch {
		for _, c := range one.Changesets {
			d += applyEach * time.Duration(len(c.Records))
		}
	}
	return d
}

// follow hands the store's feed to the core, and to the properties.
func (r *replica) follow() {
	for {
		entries, err := r.feed.Next(ended)
		if err != nil {
			return // nothing new
		}
		r.announce()
		r.core.Step(r.fed().world.Now(), core.Committed{Entries: runner.Entries(entries)})
		for _, e := range entries {
			if runner.IsOwnTail(r.proc.name, e, func(table string) bool { return table == owned }) {
				r.fed().hit(HitOwnTail)
				r.doubt()
			}
			r.took(e)
		}
	}
}

// announce tells the core of a writer that the store took.
func (r *replica) announce() {
	if w := r.store.Writer(); w != r.known {
		r.known, r.began = w, append(r.began, w)
		r.fed().hit(HitRenewed)
		r.fed().happen(happened{replica: r, start: w})
		r.core.Step(r.fed().world.Now(), core.Renewed{Writer: w})
	}
}

func (r *replica) renew(boot uint64) {
	if r.full {
		r.step(core.Renewed{})
		return
	}
	if _, err := r.store.Renew(context.Background(), boot); err != nil {
		r.step(core.Renewed{})
		return
	}
	r.announce()
	r.pump()
}

func (r *replica) apply(batch []record.Delivery) {
	if r.full {
		r.fed().hit(HitDisk)
		r.step(core.ApplyFailed{})
		return
	}
	out, err := r.store.Apply(context.Background(), batch)
	if err != nil {
		panic(err) // the store is open, and the memory takes everything
	}
	r.follow()
	r.answered(batch, out)
	r.step(core.Applied{Outcomes: runner.Outcomes(out)})
}

func (r *replica) serve(s core.Serve) {
	frames, err := r.answers.Serve(context.Background(), s, r.proc.wall())
	if err != nil {
		r.fed().fail(fmt.Errorf("%s serves %s: %w", r.id(), s.To, err))
	}
	for i, f := range frames {
		frames[i] = r.fed().packing.Answer(f)
	}
	r.step(core.Served{To: s.To, ID: s.ID, Frames: frames})
}

// wake has the core's next Tick happen.
func (r *replica) wake() {
	w := r.fed().world
	at := max(r.core.Wake(), w.Now()+time.Millisecond)
	if r.wakeAt > w.Now() && r.wakeAt <= at {
		return
	}
	r.wakeAt = at
	w.At(at, r.proc.life, func() {
		if r.wakeAt == w.Now() {
			r.wakeAt = 0
		}
		if at < r.core.Wake() {
			r.wake()
			return
		}
		r.core.Tick(w.Now(), r.proc.wall())
		r.pump()
	})
}

// send puts a frame on its way, or tells the core that it was refused.
func (r *replica) send(s core.Send) {
	f := r.fed()
	class := syncing
	if s.Push {
		class = push
	}
	c := r.proc.conns[s.To]
	r.note(class+" to "+string(s.To), s.Frame)
	if c != nil {
		to := c.peer.lane(r.realm.lane)
		f.sent++
		if f.net.Send(string(r.proc.name), string(s.To), c.life, sim.Flow{Subject: r.realm.lane, Class: class}, len(s.Frame), func() {
			to.step(core.Arrived{From: r.proc.name, Frame: s.Frame})
		}) {
			return
		}
	}
	r.core.Step(f.world.Now(), core.Refused{To: s.To, Push: s.Push})
}
