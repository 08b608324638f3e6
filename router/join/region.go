package join

import (
	"cmp"
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

	epoch     uint64 // of the stream; rises with each
	connected bool
	lost      string        // why there is no stream
	said      coverage.Part // what the gateway said of itself last
	saidAt    directory.Instant
	everSaid  bool

	requests []*regionv1.WatchRequest
	touched  map[Sub]struct{}
}

// interest is one app that somebody watches.
type interest struct {
	app      fleet.App
	id       uint64
	subs     []Sub // in the order in which they came
	machines map[Key]entry
	position []byte

	synced   bool // the snapshot or resume is complete, in this epoch
	snapshot bool // a snapshot began in this epoch
	fit      bool // it began while the gateway was fit
	settled  bool // what is held is exactly what a fit gateway has
	ever     bool // settled once
	liveAt   directory.Instant
	bad      string // why this app's part cannot be trusted
	shown    coverage.State
	detail   string
}

type entry struct {
	machine *regionv1.Machine
	epoch   uint64 // in which it was named last
}

// NewRegion returns a Region without stream, interests or subscribers.
func NewRegion(name fleet.Region) *Region {
	return &Region{
		name:      name,
		interests: map[fleet.App]*interest{}, byID: map[uint64]*interest{},
		cursors: map[Sub]*cursor{}, touched: map[Sub]struct{}{},
	}
}

// Apps returns how many apps are watched.
func (r *Region) Apps() int { return len(r.interests) }

// Add subscribes sub to an app. All that is known of it is owed.
func (r *Region) Add(sub Sub, app fleet.App, now directory.Instant) {
	it := r.interests[app]
	if it == nil {
		r.nextID++
		it = &interest{app: app, id: r.nextID, machines: map[Key]entry{}}
		r.interests[app], r.byID[it.id] = it, it
		if r.connected {
			r.request(it)
		}
	}
	if !slices.Contains(it.subs, sub) {
		it.subs = append(it.subs, sub)
	}
	if r.cursors[sub] == nil {
		r.cursors[sub] = &cursor{owed: map[fleet.App]*debt{}}
	}
	d := r.cursors[sub].owe(app)
	d.reset, d.status, d.synced = true, true, it.settled && r.Live()
	for _, k := range slices.SortedFunc(maps.Keys(it.machines), compareKeys) {
		d.key(k, false)
	}
	r.show(it, now)
	r.touched[sub] = struct{}{}
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
	if len(it.subs) > 0 {
		return
	}
	delete(r.interests, app)
	delete(r.byID, it.id)
	if r.connected {
		r.requests = append(r.requests, &regionv1.WatchRequest{Part: &regionv1.WatchRequest_Remove{Remove: it.id}})
	}
}

// Leave ends all subscriptions of sub.
func (r *Region) Leave(sub Sub) {
	for _, app := range slices.Sorted(maps.Keys(r.interests)) {
		if slices.Contains(r.interests[app].subs, sub) {
			r.Remove(sub, app)
		}
	}
	delete(r.cursors, sub)
	delete(r.touched, sub)
}

// Connected says that a stream begins: every interest is asked for again, from
// where it stood.
func (r *Region) Connected() {
	r.epoch++
	r.connected, r.everSaid, r.lost = true, false, ""
	r.requests = nil
	for _, app := range slices.Sorted(maps.Keys(r.interests)) {
		it := r.interests[app]
		it.synced, it.snapshot, it.settled, it.bad = false, false, false, ""
		r.request(it)
	}
}

// Lost says that the stream ended. What is known stays.
func (r *Region) Lost(why string, now directory.Instant) {
	r.connected, r.lost, r.requests = false, why, nil
	r.Tick(now)
}

func (r *Region) request(it *interest) {
	r.requests = append(r.requests, &regionv1.WatchRequest{Part: &regionv1.WatchRequest_Add{Add: &regionv1.WatchInterest{
		Id: it.id, What: &regionv1.WatchInterest_App{App: string(it.app)}, Position: it.position,
	}}})
}

// Handle takes one message of the stream. An error says that it was malformed;
// its app's part is then marked until the next snapshot.
func (r *Region) Handle(msg *regionv1.WatchResponse, now directory.Instant) error {
	if st := msg.GetStatus(); st != nil {
		r.said, r.saidAt, r.everSaid = coverage.FromProto(st.GetCoverage()), now, true
		r.Tick(now)
		return nil
	}
	it := r.byID[msg.GetInterest()]
	if it == nil {
		return nil // removed a moment ago
	}
	var err error
	switch e := msg.GetEvent().(type) {
	case *regionv1.WatchResponse_Snapshot:
		it.snapshot, it.fit, it.synced, it.settled, it.bad = true, r.Live(), false, false, ""
	case *regionv1.WatchResponse_Synced:
		it.synced = true
		r.requests = append(r.requests, &regionv1.WatchRequest{Part: &regionv1.WatchRequest_Ack{Ack: &regionv1.WatchAck{
			Interest: it.id, Position: msg.GetPosition(),
		}}})
		if !it.snapshot {
			r.keepAll(it) // resumed: what was known is still so
		}
	case *regionv1.WatchResponse_Machine:
		err = r.upsert(it, e.Machine)
	case *regionv1.WatchResponse_Gone:
		r.gone(it, e.Gone)
	case *regionv1.WatchResponse_Resync:
		it.synced, it.settled, it.position = false, false, nil
	case *regionv1.WatchResponse_Refused:
		it.bad = "the region refuses to be watched: " + e.Refused.GetReason()
	}
	if err != nil {
		it.bad = err.Error()
	} else if len(msg.GetPosition()) > 0 {
		it.position = msg.GetPosition()
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
	it.machines[k] = entry{m, r.epoch}
	if !ok || !proto.Equal(old.machine, m) {
		r.owe(it, k, false)
	}
	return nil
}

// gone takes a machine away if that is the region's word: its owner ended it,
// or a fit gateway says that it is no claim of the app any more.
func (r *Region) gone(it *interest, g *regionv1.MachineGone) {
	k := Key{fleet.Worker(g.GetWorker()), fleet.MachineID(g.GetId())}
	e, ok := it.machines[k]
	switch {
	case !ok:
	case g.GetEnded() || r.Live():
		delete(it.machines, k)
		r.owe(it, k, g.GetEnded())
	default:
		e.epoch = 0 // stays, until a fit gateway's snapshot lacks it: asked for once there is one
		it.machines[k] = e
		it.settled, it.fit = false, false
	}
}

func (r *Region) keepAll(it *interest) {
	for _, k := range slices.SortedFunc(maps.Keys(it.machines), compareKeys) {
		if e := it.machines[k]; e.epoch > 0 { // else an unfit gateway said that it is gone
			e.epoch = r.epoch
			it.machines[k] = e
		}
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
			return
		}
		for _, k := range left {
			delete(it.machines, k)
			r.owe(it, k, true)
		}
		it.settled, it.ever = true, true
		for _, sub := range it.subs {
			r.cursors[sub].owe(it.app).synced = true
			r.touched[sub] = struct{}{}
		}
	}
	if it.settled && r.Live() {
		it.liveAt = r.saidAt
	}
	r.show(it, now)
}

// leftovers lists the machines that were not named in this epoch.
func (r *Region) leftovers(it *interest) []Key {
	var out []Key
	for k := range maps.Keys(it.machines) {
		if it.machines[k].epoch != r.epoch {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, compareKeys)
	return out
}

// again asks for an app from its beginning.
func (r *Region) again(it *interest) {
	delete(r.byID, it.id)
	r.requests = append(r.requests, &regionv1.WatchRequest{Part: &regionv1.WatchRequest_Remove{Remove: it.id}})
	r.nextID++
	it.id, it.position, it.synced, it.snapshot = r.nextID, nil, false, false
	r.byID[it.id] = it
	r.request(it)
}

// Tick judges by the time. Call it about every second.
func (r *Region) Tick(now directory.Instant) {
	for _, app := range slices.Sorted(maps.Keys(r.interests)) {
		r.settle(r.interests[app], now)
	}
}

// show owes every subscriber the app's status if it is another one now.
func (r *Region) show(it *interest, now directory.Instant) {
	p := r.part(it, now)
	if p.State == it.shown && p.Detail == it.detail {
		return
	}
	it.shown, it.detail = p.State, p.Detail
	for _, sub := range it.subs {
		r.cursors[sub].owe(it.app).status = true
		r.touched[sub] = struct{}{}
	}
}

// part returns how an app's part of this region stands.
func (r *Region) part(it *interest, now directory.Instant) coverage.Part {
	p := coverage.Part{Region: r.name, State: coverage.Stale, Age: -1}
	if it.ever {
		p.Age = now.Since(it.liveAt)
	}
	switch {
	case it.bad != "":
		p.State, p.Detail = coverage.Refused, it.bad
	case !r.connected:
		p.Detail = cmp.Or(r.lost, "no stream yet")
		if !it.ever {
			p.State = coverage.Unreachable
		}
	case !r.everSaid || now.Since(r.saidAt) > coverage.Fresh:
		p.Detail = "the gateway does not say how it stands"
	case r.said.State == coverage.Stale:
		p.Age, p.Withheld, p.Detail = max(p.Age, r.said.Age), r.said.Withheld, "the gateway is not fit"
	case r.said.State != coverage.Live:
		p.State, p.Detail = coverage.Refused, fmt.Sprintf("the gateway stands as %v", r.said.State)
	case !it.settled:
		p.Detail = "the snapshot is not complete yet"
	default:
		p = coverage.Part{Region: r.name, State: coverage.Live, AsOf: r.saidAt.Time(), Withheld: r.said.Withheld}
	}
	return p
}

// pending reports whether an app's part is on its way: there was no attempt
// yet, or a stream that has not said what there is.
func (r *Region) pending(it *interest) bool {
	if !r.connected {
		return r.lost == ""
	}
	return it.bad == "" && !it.settled && (!r.everSaid || r.Live())
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
