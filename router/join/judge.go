package join

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// upsert takes a claim as its region judged it, and judges it again beside the
// claims of other regions.
func (s *Session) upsert(j *joined, e Event, region fleet.Region) {
	refs := j.claims[e.Key.ID]
	i := slices.IndexFunc(refs, func(r *ref) bool { return r.region == region && r.worker == e.Key.Worker })
	if i < 0 {
		refs = append(refs, &ref{region: region, worker: e.Key.Worker})
		i = len(refs) - 1
		j.claims[e.Key.ID] = refs
		j.regions[region].machines++
	}
	r, first := refs[i], refs[i].machine == nil
	r.machine = e.Machine
	if e.Kind == Known && first { // the client has it as the region has: only what differs is told
		r.current, r.contested = e.Machine.GetCurrent(), e.Machine.GetContested()
		r = nil
	} else {
		j.regions[region].at = nil
	}
	s.judge(j, e.App, e.Key.ID, r)
}

func (s *Session) gone(j *joined, app fleet.App, region fleet.Region, k Key, ended bool) {
	sh, was := j.regions[region], false
	refs := slices.DeleteFunc(j.claims[k.ID], func(r *ref) bool {
		mine := r.region == region && r.worker == k.Worker
		if mine {
			sh.machines--
			was = r.adjusted
		}
		return mine
	})
	if len(refs) == 0 {
		delete(j.claims, k.ID)
	} else {
		j.claims[k.ID] = refs
	}
	s.send(app, region, &routerv1.WatchResponse{Event: &routerv1.WatchResponse_Gone{
		Gone: &regionv1.MachineGone{Worker: string(k.Worker), Id: string(k.ID), Ended: ended},
	}})
	sh.at = nil
	s.adjust(app, region, sh, was, false)
	s.judge(j, app, k.ID, nil)
}

// judge tells the client of the claim that changed, and of those of the same
// machine in whose standing that makes a difference.
func (s *Session) judge(j *joined, app fleet.App, id fleet.MachineID, changed *ref) {
	refs := j.claims[id]
	type standing struct{ current, contested bool }
	verdicts := make(map[*ref]standing, len(refs))
	var rows []claim.Row
	var judged []*ref
	for _, r := range refs {
		verdicts[r] = standing{r.machine.GetCurrent(), r.machine.GetContested()}
		if r.machine.GetCurrent() {
			rows, judged = append(rows, row(r)), append(judged, r)
		}
	}
	if len(rows) > 1 && spans(judged) {
		for _, v := range claim.Across(rows) {
			i := slices.IndexFunc(judged, func(r *ref) bool { return r.region == v.Row.Place.Region && r.worker == v.Row.Place.Worker })
			old := verdicts[judged[i]]
			verdicts[judged[i]] = standing{v.Current, v.Contested || old.contested}
		}
	}
	for _, r := range refs {
		v := verdicts[r]
		if r != changed && v.current == r.current && v.contested == r.contested {
			continue
		}
		r.current, r.contested = v.current, v.contested
		s.send(app, r.region, &routerv1.WatchResponse{Event: &routerv1.WatchResponse_Machine{Machine: shown(r)}})
		was := r.adjusted
		r.adjusted = v != standing{r.machine.GetCurrent(), r.machine.GetContested()}
		s.adjust(app, r.region, j.regions[r.region], was, r.adjusted)
	}
}

// spans reports whether the claims are of more than one region.
func spans(refs []*ref) bool {
	return slices.ContainsFunc(refs, func(r *ref) bool { return r.region != refs[0].region })
}

// shown returns the claim as the client is to see it.
func shown(r *ref) *regionv1.Machine {
	m := r.machine
	if m.GetCurrent() == r.current && m.GetContested() == r.contested {
		return m
	}
	m = proto.CloneOf(m)
	m.Contested = r.contested
	if m.Current && !r.current {
		m.Current, m.Routable = false, false
		m.WhyNot = append(m.WhyNot, "the worker in another region that it moved to runs it")
	}
	return m
}

func row(r *ref) claim.Row {
	m := r.machine
	state := claim.State(0)
	if s := m.GetState(); s >= regionv1.MachineState_MACHINE_STATE_STARTING && s <= regionv1.MachineState_MACHINE_STATE_ENDED {
		state = claim.State(s)
	}
	return claim.Row{
		Place: claim.Place{Region: r.region, Worker: r.worker}, ID: fleet.MachineID(m.GetId()), App: fleet.App(m.GetApp()),
		State: state, Epoch: m.GetEpoch(), Grant: m.GetGrant(), MovedTo: m.GetMovedTo(),
	}
}
