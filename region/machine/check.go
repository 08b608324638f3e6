// Package machine turns what a worker's daemon says into rows, and rows into
// what readers are told. On the way in everything is checked against a limit
// that the refusal names, and nothing is guessed or repaired; on the way out a
// row that this version cannot make sense of is shown as a claim without
// traffic.
package machine

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/table"
)

// NotOwnerError refuses a row in another worker's name.
type NotOwnerError struct {
	ID    fleet.MachineID
	Owner fleet.Worker // in whose name it is
	Self  fleet.Worker
}

func (e *NotOwnerError) Error() string {
	return fmt.Sprintf("machine %q is in the name of worker %q, its owner; this node is %q and writes only rows in its own name", e.ID, e.Owner, e.Self)
}

// Input is one machine as its daemon described it: checked, without what the
// node decides (epoch, grant, moved_to).
type Input struct {
	Machine table.Machine
	Health  claim.Health // unknown: leave the health row as it is
}

// Check reads what a daemon says of a machine on worker self. The error names
// the limit or rule, or is a *NotOwnerError.
func Check(self fleet.Worker, p *regionv1.Machine) (Input, error) {
	id := fleet.MachineID(p.GetId())
	if err := id.Check(); err != nil {
		return Input{}, err
	}
	if w := fleet.Worker(p.GetWorker()); w != "" && w != self {
		return Input{}, &NotOwnerError{ID: id, Owner: w, Self: self}
	}
	in := Input{Machine: table.Machine{
		Worker: self, ID: id, App: fleet.App(p.GetApp()),
		Image: p.GetImage(), Resources: p.GetResources(), Metadata: p.GetMetadata(),
	}}
	if err := in.fill(p); err != nil {
		return Input{}, fmt.Errorf("machine %q: %w", id, err)
	}
	return in, nil
}

func (in *Input) fill(p *regionv1.Machine) error {
	m := &in.Machine
	if err := m.App.Check(); err != nil {
		return err
	}
	if p.GetEpoch() != 0 || p.GetGrant() != 0 || p.GetMovedTo() != "" || p.GetWhy() != regionv1.EndWhy_END_WHY_UNSPECIFIED {
		return fmt.Errorf("epoch, grant, moved_to and why are set by the node: leave them out")
	}
	var err error
	if m.State, err = publishable(p.GetState()); err != nil {
		return err
	}
	if in.Health, err = healthOf(p.GetHealth()); err != nil {
		return err
	}
	if m.Services, err = services(p.GetServices()); err != nil {
		return err
	}
	if m.Addresses, err = Addresses(p.GetAddresses()); err != nil {
		return err
	}
	if n := len(m.Metadata); n > fleet.MaxMetadata {
		return fmt.Errorf("metadata of %d bytes is over the limit of %d", n, fleet.MaxMetadata)
	}
	if err := Object("metadata", m.Metadata); err != nil {
		return err
	}
	if err := Object("resources", m.Resources); err != nil {
		return err
	}
	return fits(*m)
}

// Size returns the bytes of the row as a record, with room for what the node
// adds.
func (in Input) Size() int { return size(in.Machine) }

// numbers is what the node may add to a row: epoch, grant, why, moved_to, each
// with its column's id and length.
const numbers = 4*(8+1+8) + fleet.MaxRegionName + 1 + fleet.MaxNodeName

func size(m table.Machine) int {
	r, err := machines.Record(m.Row(), "")
	if err != nil {
		return 0 // its key is text: it always is a record
	}
	return len(r.Key) + len(r.Cells) + numbers
}

// fits checks the row's cap.
func fits(m table.Machine) error {
	if n := size(m); n > record.MaxRow {
		return fmt.Errorf("row of %d bytes is over the limit of %d", n, record.MaxRow)
	}
	return nil
}

var machines = table.All()[0]

func publishable(s regionv1.MachineState) (claim.State, error) {
	switch s {
	case regionv1.MachineState_MACHINE_STATE_STARTING:
		return claim.Starting, nil
	case regionv1.MachineState_MACHINE_STATE_STARTED:
		return claim.Started, nil
	case regionv1.MachineState_MACHINE_STATE_STOPPING:
		return claim.Stopping, nil
	case regionv1.MachineState_MACHINE_STATE_UNSPECIFIED:
		return 0, fmt.Errorf("state is missing: want starting, started or stopping")
	case regionv1.MachineState_MACHINE_STATE_ENDED:
		return 0, fmt.Errorf("state ended is not published: withdraw the machine")
	}
	return 0, fmt.Errorf("state %v is not published: want starting, started or stopping", s)
}

func services(ps []*regionv1.Service) ([]table.Service, error) {
	var out []table.Service
	for _, p := range ps {
		if err := fleet.CheckPort(int64(p.GetPort())); err != nil {
			return nil, fmt.Errorf("service %q: %w", p.GetName(), err)
		}
		out = append(out, table.Service{Name: p.GetName(), Port: p.GetPort(), Protocol: p.GetProtocol()})
	}
	return out, nil
}

// Addresses checks addresses and returns them in the spelling that is stored.
func Addresses(in []string) ([]string, error) {
	var out []string
	for _, s := range in {
		a, err := fleet.CheckAddress(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// Object checks that text is a JSON object, or empty.
func Object(what, text string) error {
	if text == "" {
		return nil
	}
	if !json.Valid([]byte(text)) || !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") {
		return fmt.Errorf("%s is no JSON object", what)
	}
	return nil
}
