package join

import (
	"maps"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/directory"
)

// patience is how long an app waits for its regions before it is announced
// with what is there.
const patience = 2 * time.Second

// Session is one client's watch. Not safe for concurrent use.
type Session struct {
	apps    map[fleet.App]*joined
	waiting []fleet.App // added and not announced yet
	left    *Doubts
	current bool        // the list of regions, as was told
	again   []fleet.App // to be announced again once it is
	out     []*routerv1.WatchResponse
}

// joined is one app over all its regions.
type joined struct {
	regions map[fleet.Region]*share // that are subscribed
	claims  map[fleet.MachineID][]*ref
	since   directory.Instant
}

// share is one region's part of an app.
type share struct {
	part     coverage.Part
	pending  bool // more is on its way
	synced   bool
	machines int    // claims that the client knows
	at       []byte // where the region's word that was sent ends; nil if that is nowhere
	adjusted int    // claims that the client was told otherwise than the region has them
}

// ref is one claim as the client knows it.
type ref struct {
	region             fleet.Region
	worker             fleet.Worker
	machine            *regionv1.Machine // as its region sent it
	current, contested bool              // as the client was told
	adjusted           bool              // that is otherwise than the region has it
}

// NewSession returns a Session that watches nothing.
func NewSession() *Session {
	return &Session{apps: map[fleet.App]*joined{}, left: newDoubts(), current: true}
}

// Apps lists what is watched, in order.
func (s *Session) Apps() []fleet.App { return slices.Sorted(maps.Keys(s.apps)) }

// Len returns how many apps are watched.
func (s *Session) Len() int { return len(s.apps) }

// AddApp begins to watch an app. Tell it of every region with Stand then.
func (s *Session) AddApp(app fleet.App, now directory.Instant) {
	if s.apps[app] == nil {
		s.apps[app] = &joined{
			regions: map[fleet.Region]*share{}, claims: map[fleet.MachineID][]*ref{}, since: now,
		}
		s.waiting = append(s.waiting, app)
	}
}

// RemoveApp ends it and returns the regions to unsubscribe in.
func (s *Session) RemoveApp(app fleet.App) []fleet.Region {
	j := s.apps[app]
	if j == nil {
		return nil
	}
	delete(s.apps, app)
	s.waiting = slices.DeleteFunc(s.waiting, func(a fleet.App) bool { return a == app })
	s.again = slices.DeleteFunc(s.again, func(a fleet.App) bool { return a == app })
	for _, region := range s.left.Regions() {
		s.left.drop(app, region)
	}
	return slices.Sorted(maps.Keys(j.regions))
}

// Change is what to do about an app in a region.
type Change uint8

// The changes.
const (
	Nothing Change = iota
	Subscribe
	Unsubscribe
)

// Stand says how a region stands to a watched app now. It is subscribed while
// the directory has the app there, and, if may allows it, while the directory
// does not but cannot prove it: a directory that lags hides no machine. After a
// withdrawal the region's own watch has the last word while it is live; else the
// proven withdrawal has.
func (s *Session) Stand(app fleet.App, st directory.Standing, may func() bool) Change {
	j := s.apps[app]
	if j == nil {
		return Nothing
	}
	sh := j.regions[st.Region]
	switch {
	case st.Class > 0:
		s.left.drop(app, st.Region)
		if sh == nil {
			return s.subscribe(j, st.Region)
		}
	case st.Part.State == coverage.Unreachable && sh != nil && sh.machines == 0:
		s.release(j, app, st) // the directory has no such region any more
		return Unsubscribe
	case !st.MayPrune():
		s.left.put(app, st.Region)
		if sh == nil && st.Part.State == coverage.PrunedStale {
			if may() {
				return s.subscribe(j, st.Region)
			}
			s.left.wait(app, st.Region)
		}
	case sh != nil && (sh.machines == 0 || sh.part.State != coverage.Live):
		s.left.drop(app, st.Region)
		s.release(j, app, st)
		return Unsubscribe
	case s.left.drop(app, st.Region) && sh == nil:
		s.status(app, st.Part)
	}
	return Nothing
}

func (s *Session) subscribe(j *joined, region fleet.Region) Change {
	j.regions[region] = &share{pending: true, part: coverage.Part{Region: region, State: coverage.Unreachable, Age: -1}}
	return Subscribe
}

// release ends an app's share of a region that withdrew it.
func (s *Session) release(j *joined, app fleet.App, st directory.Standing) {
	for _, id := range slices.Sorted(maps.Keys(j.claims)) {
		for _, r := range slices.Clone(j.claims[id]) {
			if r.region == st.Region {
				s.gone(j, app, st.Region, Key{r.worker, id}, true)
			}
		}
	}
	delete(j.regions, st.Region)
	s.status(app, st.Part)
}

// Handle takes what a region paid.
func (s *Session) Handle(region fleet.Region, events []Event) {
	for _, e := range events {
		j := s.apps[e.App]
		if j == nil || j.regions[region] == nil {
			continue // removed a moment ago
		}
		switch e.Kind {
		case Reset:
			s.send(e.App, region, &routerv1.WatchResponse{Event: &routerv1.WatchResponse_Reset_{Reset_: &routerv1.RegionReset{}}})
		case Upsert, Known:
			s.upsert(j, e, region)
		case Moved:
			s.moved(e.App, region, j.regions[region], e.At)
		case Gone:
			s.gone(j, e.App, region, e.Key, e.Ended)
		case Synced:
			j.regions[region].synced = true
			s.send(e.App, region, &routerv1.WatchResponse{Event: &routerv1.WatchResponse_Synced{Synced: &routerv1.RegionSynced{}}})
		case Status:
			j.regions[region].part, j.regions[region].pending = e.Part, e.Pending
			s.status(e.App, e.Part)
		}
	}
}

// moved takes where the client goes on that has all that was sent. While it was
// told of a claim what follows from another region's, no gateway alone can say
// what it lacks.
func (s *Session) moved(app fleet.App, region fleet.Region, sh *share, at []byte) {
	sh.at = at
	if sh.adjusted == 0 && at != nil {
		s.attach(app, region, at)
	}
}

// adjust counts the claims that the client was told otherwise than their region
// has them. Once there are none more it may go on from where it is.
func (s *Session) adjust(app fleet.App, region fleet.Region, sh *share, before, after bool) {
	n := sh.adjusted
	if before {
		sh.adjusted--
	}
	if after {
		sh.adjusted++
	}
	if n > 0 && sh.adjusted == 0 && sh.at != nil {
		s.attach(app, region, sh.at)
	}
}

// attach puts a position on the last message, or sends it alone.
func (s *Session) attach(app fleet.App, region fleet.Region, at []byte) {
	if n := len(s.out); n > 0 {
		if last := s.out[n-1]; last.GetApp() == string(app) && last.GetRegion() == string(region) {
			last.Position = at
			return
		}
	}
	s.send(app, region, &routerv1.WatchResponse{Position: at, Event: &routerv1.WatchResponse_Bookmark{Bookmark: &routerv1.Bookmark{}}})
}

// Announce says of the apps that were added how they are covered, once every
// region that runs them is synced or marked, or patience is at an end. Known
// are all regions, stand how the others stand to an app. It returns the apps.
func (s *Session) Announce(known []fleet.Region, listAge time.Duration, stand func(fleet.Region, fleet.App) directory.Standing, now directory.Instant) (announced []fleet.App) {
	if len(known) == 0 {
		return nil // without the list of regions nothing can be said
	}
	waiting := s.waiting
	s.waiting = nil
	for _, app := range waiting {
		j := s.apps[app]
		if !j.ready() && now.Since(j.since) < patience {
			s.waiting = append(s.waiting, app)
			continue
		}
		parts := make([]coverage.Part, 0, len(known))
		for _, region := range known {
			if sh := j.regions[region]; sh != nil {
				parts = append(parts, sh.part)
				continue
			}
			st := stand(region, app)
			if !st.MayPrune() {
				s.left.put(app, region).told = true
			}
			parts = append(parts, st.Part)
		}
		s.send(app, "", &routerv1.WatchResponse{Event: &routerv1.WatchResponse_AppSynced{AppSynced: &routerv1.AppSynced{
			Complete: coverage.Complete(parts, listAge), Coverage: coverage.Protos(parts),
		}}})
		announced = append(announced, app)
	}
	if !coverage.Complete(nil, listAge) {
		s.again = append(s.again, announced...)
	}
	return announced
}

func (j *joined) ready() bool {
	for _, region := range slices.Collect(maps.Keys(j.regions)) {
		if sh := j.regions[region]; !sh.synced && sh.pending {
			return false
		}
	}
	return true
}

// Left returns where apps are not proven to be absent.
func (s *Session) Left() *Doubts { return s.left }

// Region says how a region stands to every app that is not known to run in it.
func (s *Session) Region(p coverage.Part) { s.status("", p) }

func (s *Session) status(app fleet.App, p coverage.Part) {
	s.send(app, p.Region, &routerv1.WatchResponse{Event: &routerv1.WatchResponse_Status{Status: &routerv1.RegionStatus{Coverage: p.Proto()}}})
}

func (s *Session) send(app fleet.App, region fleet.Region, resp *routerv1.WatchResponse) {
	resp.App, resp.Region = string(app), string(region)
	s.out = append(s.out, resp)
}

// List says how long ago a global node confirmed the list of regions, negative
// for never. The client is told when that makes a difference.
func (s *Session) List(age time.Duration) {
	if current := coverage.Complete(nil, age); current != s.current {
		s.current = current
		if current {
			s.waiting = append(s.waiting, s.again...)
			s.again = nil
		}
		ms := age.Milliseconds()
		if age < 0 {
			ms = -1
		}
		s.send("", "", &routerv1.WatchResponse{Event: &routerv1.WatchResponse_List{List: &routerv1.ListStatus{
			Current: current, AgeMs: ms,
		}}})
	}
}

// Take returns what is to be sent to the client now.
func (s *Session) Take() []*routerv1.WatchResponse {
	out := s.out
	s.out = nil
	return out
}
