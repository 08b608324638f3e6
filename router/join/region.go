package join

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// Region is what one region's stream said. Not safe for concurrent use.
type Region struct {
	name fleet.Region

	interests map[fleet.App]*interest
	byID      map[uint64]*interest
	nextID    uint64
	cursors   map[Sub]*cursor

	connected bool
	gateway   uint64        // Tag of the one at the other end, or that was last
	lost      string        // why there is no stream
	said      coverage.Part // what the gateway said of itself last
	saidAt    directory.Instant
	everSaid  bool

	requests []*regionv1.WatchRequest
	touched  map[Sub]struct{}

	asked   map[uint64]*catchup // in hand, by the id of their interest
	line    []*catchup          // that wait for one of them to end
	resumes Resumes
}

// interest is one app that somebody watches.
type interest struct {
	app      fleet.App
	id       uint64
	subs     []Sub // in the order in which they came
	open     []Sub // of them, those whose list, or resume, has no end yet
	machines map[Key]entry
	round    uint64 // of naming what there is: rises with each snapshot
	catchups []*catchup

	position []byte // of the region's stream
	gateway  uint64 // that gave it
	encoded  []byte // the same for subscribers
	clean    bool   // nothing came after it
	moved    directory.Instant

	synced  bool // the snapshot or resume is complete, in this stream
	fit     bool // it began while the gateway was fit
	settled bool // what is held is exactly what a fit gateway has
	ever    bool // settled once
	liveAt  directory.Instant
	bad     string // why this app's part cannot be trusted
	shown   coverage.State
	detail  string
}

type entry struct {
	machine *regionv1.Machine
	round   uint64 // in which it was named last; 0 if an unfit gateway said that it is gone
}

// NewRegion returns a Region without stream, interests or subscribers.
func NewRegion(name fleet.Region) *Region {
	return &Region{
		name:      name,
		interests: map[fleet.App]*interest{}, byID: map[uint64]*interest{},
		cursors: map[Sub]*cursor{}, touched: map[Sub]struct{}{}, asked: map[uint64]*catchup{},
	}
}

// Apps returns how many apps are watched.
func (r *Region) Apps() int { return len(r.interests) }

// Watches reports whether an app is watched.
func (r *Region) Watches(app fleet.App) bool { return r.interests[app] != nil }

// Add subscribes sub to an app. All that is known of it is owed, and takes the
// place of what sub had.
func (r *Region) Add(sub Sub, app fleet.App, now directory.Instant) {
	it := r.interest(app)
	if !slices.Contains(it.subs, sub) {
		it.subs = append(it.subs, sub)
	}
	if !slices.Contains(it.open, sub) {
		it.open = append(it.open, sub)
	}
	d := r.cursor(sub).owe(app)
	d.reset, d.status, d.synced = true, true, it.settled && r.Live()
	for _, k := range slices.SortedFunc(maps.Keys(it.machines), compareKeys) {
		d.key(k, changed)
	}
	r.show(it, now)
	r.touched[sub] = struct{}{}
}

// interest returns the interest in an app, a new one if there is none.
func (r *Region) interest(app fleet.App) *interest {
	it := r.interests[app]
	if it == nil {
		r.nextID++
		it = &interest{app: app, id: r.nextID, machines: map[Key]entry{}, round: 1}
		r.interests[app], r.byID[it.id] = it, it
		if r.connected {
			r.request(it)
		}
	}
	return it
}

func (r *Region) cursor(sub Sub) *cursor {
	c := r.cursors[sub]
	if c == nil {
		c = &cursor{owed: map[fleet.App]*debt{}}
		r.cursors[sub] = c
	}
	return c
}

// Remove ends the subscription of sub to an app.
func (r *Region) Remove(sub Sub, app fleet.App) {
	if c := r.cursors[sub]; c != nil {
		delete(c.owed, app)
		c.line = slices.DeleteFunc(c.line, func(a fleet.App) bool { return a == app })
	}
	it := r.interests[app]
	if it == nil {
		return
	}
	it.subs = slices.DeleteFunc(it.subs, func(s Sub) bool { return s == sub })
	it.close(sub)
	for _, c := range slices.Clone(it.catchups) {
		c.subs = slices.DeleteFunc(c.subs, func(s Sub) bool { return s == sub })
		if len(c.subs) == 0 {
			r.end(c)
		}
	}
	if len(it.subs)+len(it.catchups) > 0 {
		return
	}
	delete(r.interests, app)
	delete(r.byID, it.id)
	if r.connected {
		r.requests = append(r.requests, remove(it.id))
	}
}

func (it *interest) close(sub Sub) {
	it.open = slices.DeleteFunc(it.open, func(s Sub) bool { return s == sub })
}

func remove(id uint64) *regionv1.WatchRequest {
	return &regionv1.WatchRequest{Part: &regionv1.WatchRequest_Remove{Remove: id}}
}

// Leave ends all subscriptions of sub.
func (r *Region) Leave(sub Sub) {
	for _, app := range slices.Sorted(maps.Keys(r.interests)) {
		if slices.Contains(r.interests[app].all(), sub) {
			r.Remove(sub, app)
		}
	}
	delete(r.cursors, sub)
	delete(r.touched, sub)
}

// Connected says that a stream to a gateway begins: every interest is asked for
// again, from where it stood if that is exactly what is held, and was the same
// gateway.
func (r *Region) Connected(gateway uint64, now directory.Instant) {
	r.connected, r.everSaid, r.lost, r.gateway = true, false, "", gateway
	r.requests = nil
	r.forgetAsked(now)
	for _, app := range slices.Sorted(maps.Keys(r.interests)) {
		it := r.interests[app]
		it.synced, it.settled, it.bad = false, false, ""
		if it.gateway != gateway || !it.clean {
			it.unplace()
		}
		r.request(it)
		r.advance(it, now)
	}
}

// Lost says that the stream ended. What is known stays.
func (r *Region) Lost(why string, now directory.Instant) {
	r.connected, r.lost, r.requests = false, why, nil
	r.forgetAsked(now)
	r.Tick(now)
}

func (r *Region) request(it *interest) {
	r.requests = append(r.requests, add(it.id, it.app, it.position))
}

func add(id uint64, app fleet.App, from []byte) *regionv1.WatchRequest {
	return &regionv1.WatchRequest{Part: &regionv1.WatchRequest_Add{Add: &regionv1.WatchInterest{
		Id: id, What: &regionv1.WatchInterest_App{App: string(app)}, Position: from,
	}}}
}

// Handle takes one message of the stream. An error says that it was malformed;
// its app's part is then marked until the next snapshot.
func (r *Region) Handle(msg *regionv1.WatchResponse, now directory.Instant) error {
	if st := msg.GetStatus(); st != nil {
		r.said, r.saidAt, r.everSaid = coverage.FromProto(st.GetCoverage()), now, true
		r.Tick(now)
		return nil
	}
	if c := r.asked[msg.GetInterest()]; c != nil {
		r.heardSince(c, msg, now)
		return nil
	}
	it := r.byID[msg.GetInterest()]
	if it == nil {
		return nil // removed a moment ago
	}
	quiet := false
	var err error
	switch e := msg.GetEvent().(type) {
	case *regionv1.WatchResponse_Snapshot:
		it.round++
		it.unplace()
		it.fit, it.synced, it.settled, it.bad = r.Live(), false, false, ""
	case *regionv1.WatchResponse_Synced:
		it.synced = true
		r.requests = append(r.requests, &regionv1.WatchRequest{Part: &regionv1.WatchRequest_Ack{Ack: &regionv1.WatchAck{
			Interest: it.id, Position: msg.GetPosition(),
		}}})
	case *regionv1.WatchResponse_Machine:
		err = r.upsert(it, e.Machine)
	case *regionv1.WatchResponse_Gone:
		r.gone(it, e.Gone)
	case *regionv1.WatchResponse_Resync:
		it.synced, it.settled = false, false
		it.unplace()
	case *regionv1.WatchResponse_Bookmark:
		quiet = true
	case *regionv1.WatchResponse_Refused:
		it.bad = "the region refuses to be watched: " + e.Refused.GetReason()
	}
	if err != nil {
		it.bad = err.Error()
		it.unplace() // no later stream passes over what could not be read
	} else if len(msg.GetPosition()) > 0 && it.bad == "" {
		r.place(it, msg.GetPosition(), quiet, now)
	}
	r.settle(it, now)
	return err
}

func (r *Region) upsert(it *interest, m *regionv1.Machine) error {
	k := Key{fleet.Worker(m.GetWorker()), fleet.MachineID(m.GetId())}
	switch {
	case k.Worker.Check() != nil || k.ID.Check() != nil:
		return fmt.Errorf("it sent a machine without a proper name: %q of worker %q", m.GetId(), m.GetWorker())
	case m.GetApp() != string(it.app):
		return fmt.Errorf("it sent a machine of app %q to the watch of %q", m.GetApp(), it.app)
	}
	old, ok := it.machines[k]
	it.machines[k], it.clean = entry{m, it.round}, false
	if !ok || !proto.Equal(old.machine, m) {
		r.owe(it, k, changed)
	}
	return nil
}

// gone takes a machine away if that is the region's word: its owner ended it,
// or a fit gateway says that it is no claim of the app any more.
func (r *Region) gone(it *interest, g *regionv1.MachineGone) {
	k := Key{fleet.Worker(g.GetWorker()), fleet.MachineID(g.GetId())}
	e, ok := it.machines[k]
	it.clean = false
	switch {
	case !ok:
	case g.GetEnded() || r.Live():
		delete(it.machines, k)
		r.owe(it, k, goneAs(g.GetEnded()))
	default:
		e.round = 0 // stays, until a fit gateway's snapshot lacks it: asked for once there is one
		it.machines[k] = e
		it.settled, it.fit = false, false
	}
}

// Live reports whether the gateway at the other end says that it is fit.
func (r *Region) Live() bool { return r.connected && r.everSaid && r.said.State == coverage.Live }

// settle drops what a complete snapshot of a fit gateway lacks, and shows how
// the app's part stands. A snapshot that began while the gateway was not fit
// takes nothing away: it is asked for again.
func (r *Region) settle(it *interest, now directory.Instant) {
	if it.synced && !it.settled && r.Live() && it.bad == "" {
		left := r.leftovers(it)
		if len(left) > 0 && !it.fit {
			r.again(it)
			r.show(it, now)
			r.advance(it, now)
			return
		}
		for _, k := range left {
			delete(it.machines, k)
			r.owe(it, k, ended)
		}
		it.settled, it.ever = true, true
		for _, sub := range it.subs {
			r.cursors[sub].owe(it.app).synced = true
			r.touched[sub] = struct{}{}
		}
	}
	if it.settled && r.Live() {
		it.liveAt = r.saidAt
		for _, sub := range it.open {
			r.cursors[sub].owe(it.app).synced = true
			r.touched[sub] = struct{}{}
		}
	}
	r.show(it, now)
	r.advance(it, now)
}

// leftovers lists the machines that were not named in this round.
func (r *Region) leftovers(it *interest) []Key {
	var out []Key
	for k := range maps.Keys(it.machines) {
		if it.machines[k].round != it.round {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, compareKeys)
	return out
}

// again asks for an app from its beginning.
func (r *Region) again(it *interest) {
	delete(r.byID, it.id)
	r.requests = append(r.requests, remove(it.id))
	r.nextID++
	it.id, it.synced = r.nextID, false
	it.unplace()
	r.byID[it.id] = it
	r.request(it)
}

// Requests returns what is to be sent to the region now.
func (r *Region) Requests() []*regionv1.WatchRequest {
	out := r.requests
	r.requests = nil
	return out
}

// Silent returns how long ago the gateway spoke of itself, on this stream.
func (r *Region) Silent(now directory.Instant) (time.Duration, bool) {
	return now.Since(r.saidAt), r.everSaid
}
