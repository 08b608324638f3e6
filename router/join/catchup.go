package join

import (
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/router/directory"
	"github.com/firebreak-dev/firebreak/router/position"
)

const (
	maxCatchups = 256              // asked of a region at once; more wait in line
	catchupTime = 15 * time.Second // of a stream, the wait in line included
	maxChanged  = 64 << 10         // machines; a snapshot is shorter
)

// catchup learns which machines of an app changed since a position, for the
// subscribers that come back with it. It is a second interest of the same app,
// asked for once what is held here is what the gateway has: every change is then
// either in its answer or came after it was asked. What it says of a machine
// counts for nothing else: subscribers are told what is held here.
type catchup struct {
	it    *interest
	from  position.Position
	subs  []Sub
	begun directory.Instant // of the wait, on this stream

	id      uint64       // of the interest; 0 while it is not asked for
	done    bool         // all was said
	changed map[Key]what // while it is asked for
	waits   bool         // in line
	over    bool
}

// Resumes counts what became of positions.
type Resumes struct{ Held, Lost uint64 }

// Resumes returns the counts so far.
func (r *Region) Resumes() Resumes { return r.resumes }

// Resume subscribes sub to an app of which it holds what there was at a
// position. If that cannot be gone on from it is as if it had nothing.
func (r *Region) Resume(sub Sub, from position.Position, now directory.Instant) {
	if !from.Usable() || r.connected && from.Gateway != r.gateway {
		r.resumes.Lost++
		r.Add(sub, from.App, now)
		return
	}
	it := r.interest(from.App)
	i := slices.IndexFunc(it.catchups, func(c *catchup) bool { return c.from == from })
	if i < 0 {
		i = len(it.catchups)
		it.catchups = append(it.catchups, &catchup{it: it, from: from, begun: now})
	}
	it.catchups[i].subs = append(it.catchups[i].subs, sub)
	r.cursor(sub).owe(it.app).status = true
	r.touched[sub] = struct{}{}
	r.show(it, now)
	r.advance(it, now)
}

// all lists the subscribers, those included that are catching up.
func (it *interest) all() []Sub {
	out := it.subs
	for _, c := range it.catchups {
		out = slices.Concat(out, c.subs)
	}
	return out
}

// advance does what can be done for those who are catching up. While there is
// no stream they hold what they have, and are told how it stands.
func (r *Region) advance(it *interest, now directory.Instant) {
	for _, c := range slices.Clone(it.catchups) {
		switch {
		case !r.connected:
		case c.from.Gateway != r.gateway || it.bad != "" || now.Since(c.begun) > catchupTime:
			r.fail(c, now)
		case !it.settled || !r.Live():
			r.withdraw(c)
		case c.done || c.id == 0 && it.clean && string(it.position) == c.from.At:
			r.resolve(c)
		case c.id == 0:
			r.askSince(c)
		}
	}
}

// askSince asks for what changed, or waits in line.
func (r *Region) askSince(c *catchup) {
	if len(r.asked) >= maxCatchups {
		if !c.waits {
			c.waits = true
			r.line = append(r.line, c)
		}
		return
	}
	r.nextID++
	c.id, c.changed = r.nextID, map[Key]what{}
	r.asked[c.id] = c
	r.requests = append(r.requests, add(c.id, c.it.app, []byte(c.from.At)))
}

// heardSince takes what the gateway says of it.
func (r *Region) heardSince(c *catchup, msg *regionv1.WatchResponse, now directory.Instant) {
	switch e := msg.GetEvent().(type) {
	case *regionv1.WatchResponse_Machine:
		r.note(c, e.Machine.GetWorker(), e.Machine.GetId(), changed, now)
	case *regionv1.WatchResponse_Gone:
		r.note(c, e.Gone.GetWorker(), e.Gone.GetId(), goneAs(e.Gone.GetEnded()), now)
	case *regionv1.WatchResponse_Synced:
		c.done = true
		r.advance(c.it, now)
	case *regionv1.WatchResponse_Resync, *regionv1.WatchResponse_Snapshot, *regionv1.WatchResponse_Refused:
		r.fail(c, now)
	}
	r.pump(now)
}

func (r *Region) note(c *catchup, worker, id string, w what, now directory.Instant) {
	k := Key{fleet.Worker(worker), fleet.MachineID(id)}
	if k.Worker.Check() != nil || k.ID.Check() != nil || len(c.changed) >= maxChanged {
		r.fail(c, now)
		return
	}
	c.changed[k] = w
}

// pump asks for those in line while there is room.
func (r *Region) pump(now directory.Instant) {
	for len(r.line) > 0 && len(r.asked) < maxCatchups {
		c := r.line[0]
		r.line = r.line[1:]
		if c.waits = false; !c.over {
			r.advance(c.it, now)
		}
	}
}

// resolve tells the subscribers what changed; they follow from now on.
func (r *Region) resolve(c *catchup) {
	it, since, subs := c.it, c.changed, c.subs
	r.end(c)
	machines := slices.SortedFunc(maps.Keys(it.machines), compareKeys)
	others := slices.SortedFunc(maps.Keys(since), compareKeys)
	for _, sub := range subs {
		r.resumes.Held++
		it.subs, it.open = append(it.subs, sub), append(it.open, sub)
		d := r.cursors[sub].owe(it.app)
		for _, k := range machines {
			d.key(k, since[k]) // the zero value is known
		}
		for _, k := range others {
			d.key(k, since[k])
		}
		d.status, d.synced = true, true
		r.touched[sub] = struct{}{}
	}
}

// fail lets the subscribers begin anew.
func (r *Region) fail(c *catchup, now directory.Instant) {
	r.end(c)
	for _, sub := range c.subs {
		r.resumes.Lost++
		r.Add(sub, c.it.app, now)
	}
}

// withdraw takes back what was asked.
func (r *Region) withdraw(c *catchup) {
	if c.id == 0 {
		return
	}
	delete(r.asked, c.id)
	r.requests = append(r.requests, remove(c.id))
	c.id, c.done, c.changed = 0, false, nil
}

func (r *Region) end(c *catchup) {
	r.withdraw(c)
	c.over = true
	c.it.catchups = slices.DeleteFunc(c.it.catchups, func(o *catchup) bool { return o == c })
}

// forgetAsked is for a stream that is not there any more.
func (r *Region) forgetAsked(now directory.Instant) {
	clear(r.asked)
	r.line = nil
	for _, app := range slices.Sorted(maps.Keys(r.interests)) {
		for _, c := range r.interests[app].catchups {
			c.id, c.done, c.changed, c.waits, c.begun = 0, false, nil, false, now
		}
	}
}
