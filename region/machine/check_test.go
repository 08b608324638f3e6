package machine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/machine"
	"github.com/firebreak-dev/firebreak/region/table"
)

func good() *regionv1.Machine {
	return &regionv1.Machine{
		Id: "m-1", App: "web", State: regionv1.MachineState_MACHINE_STATE_STARTED,
		Services:  []*regionv1.Service{{Name: "http", Port: 65535, Protocol: "tcp"}},
		Addresses: []string{"10.0.0.1", "::ffff:10.0.0.2", "FD00::1"},
		Image:     "img", Resources: `{"cpu":1}`, Metadata: ` {"a":[1]}`,
		Health: regionv1.HealthStatus_HEALTH_STATUS_PASSING,
	}
}

func TestGoodMachineIsTakenAndItsAddressesSpeltOneWay(t *testing.T) {
	for _, worker := range []string{"", "w1"} {
		p := good()
		p.Worker = worker
		in, err := machine.Check("w1", p)
		if err != nil {
			t.Fatal(err)
		}
		want := machine.Input{Health: claim.Passing, Machine: table.Machine{
			Worker: "w1", ID: "m-1", App: "web", State: claim.Started,
			Services:  []table.Service{{Name: "http", Port: 65535, Protocol: "tcp"}},
			Addresses: []string{"10.0.0.1", "10.0.0.2", "fd00::1"},
			Image:     "img", Resources: `{"cpu":1}`, Metadata: ` {"a":[1]}`,
		}}
		if diff := cmp.Diff(want, in); diff != "" {
			t.Errorf("input (-want +got):\n%s", diff)
		}
	}
}

func TestBadMachinesAreRefusedWithTheLimitOrRule(t *testing.T) {
	for _, tt := range []struct {
		name string
		bad  func(*regionv1.Machine)
		want string // in the refusal
	}{
		{"no id", func(m *regionv1.Machine) { m.Id = "" }, "empty"},
		{"long id", func(m *regionv1.Machine) { m.Id = strings.Repeat("x", 129) }, "limit of 128"},
		{"control character", func(m *regionv1.Machine) { m.Id = "a\x00b" }, "control"},
		{"no app", func(m *regionv1.Machine) { m.App = "" }, "empty"},
		{"long app", func(m *regionv1.Machine) { m.App = strings.Repeat("x", 64) }, "limit of 63"},
		{"app with a dot", func(m *regionv1.Machine) { m.App = "a.b" }, "lower-case"},
		{"app in upper case", func(m *regionv1.Machine) { m.App = "Web" }, "lower-case"},
		{"app that ends in a dash", func(m *regionv1.Machine) { m.App = "web-" }, "lower-case"},
		{"no state", func(m *regionv1.Machine) { m.State = 0 }, "state is missing"},
		{"ended", func(m *regionv1.Machine) { m.State = regionv1.MachineState_MACHINE_STATE_ENDED }, "withdraw"},
		{"moved", func(m *regionv1.Machine) { m.State = regionv1.MachineState_MACHINE_STATE_MOVED }, "not published"},
		{"unknown state", func(m *regionv1.Machine) { m.State = 99 }, "not published"},
		{"unknown health", func(m *regionv1.Machine) { m.Health = 99 }, "health"},
		{"forged epoch", func(m *regionv1.Machine) { m.Epoch = 1<<64 - 1 }, "set by the node"},
		{"forged grant", func(m *regionv1.Machine) { m.Grant = 1 }, "set by the node"},
		{"forged moved_to", func(m *regionv1.Machine) { m.MovedTo = "ams/w1" }, "set by the node"},
		{"why without an end", func(m *regionv1.Machine) { m.Why = regionv1.EndWhy_END_WHY_DESTROYED }, "set by the node"},
		{"host name", func(m *regionv1.Machine) { m.Addresses = []string{"db.example.com"} }, "no IP literal"},
		{"address and port", func(m *regionv1.Machine) { m.Addresses = []string{"10.0.0.1:80"} }, "no IP literal"},
		{"half an address", func(m *regionv1.Machine) { m.Addresses = []string{"10.0.0"} }, "no IP literal"},
		{"zone", func(m *regionv1.Machine) { m.Addresses = []string{"fe80::1%eth0"} }, "zone"},
		{"unspecified", func(m *regionv1.Machine) { m.Addresses = []string{"0.0.0.0"} }, "cannot be served"},
		{"multicast", func(m *regionv1.Machine) { m.Addresses = []string{"224.0.0.1"} }, "cannot be served"},
		{"port 0", func(m *regionv1.Machine) { m.Services[0].Port = 0 }, "1..65535"},
		{"port 70000", func(m *regionv1.Machine) { m.Services[0].Port = 70000 }, "1..65535"},
		{"long metadata", func(m *regionv1.Machine) { m.Metadata = `{"a":"` + strings.Repeat("x", fleet.MaxMetadata) + `"}` }, "limit of 16384"},
		{"metadata that is a list", func(m *regionv1.Machine) { m.Metadata = `[1]` }, "no JSON object"},
		{"metadata that is a word", func(m *regionv1.Machine) { m.Metadata = `{} x` }, "no JSON object"},
		{"resources that are no JSON", func(m *regionv1.Machine) { m.Resources = `{` }, "no JSON object"},
		{"giant row", func(m *regionv1.Machine) { m.Image = strings.Repeat("x", 64<<10) }, "limit of 65536"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := good()
			tt.bad(m)
			if _, err := machine.Check("w1", m); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v, want a refusal that says %q", err, tt.want)
			}
		})
	}
}

func TestRowInAnotherWorkersNameNamesItsOwner(t *testing.T) {
	m := good()
	m.Worker = "w2"
	_, err := machine.Check("w1", m)
	var foreign *machine.NotOwnerError
	if !errors.As(err, &foreign) || foreign.Owner != "w2" || !strings.Contains(err.Error(), `"w2"`) {
		t.Errorf("Check = %v, want a NotOwnerError that names w2", err)
	}
}

func TestNothingOfADaemonMakesCheckPanic(t *testing.T) {
	if _, err := machine.Check("w1", nil); err == nil {
		t.Error("no machine is taken")
	}
	m := good()
	m.Services = []*regionv1.Service{nil}
	if _, err := machine.Check("w1", m); err == nil {
		t.Error("no service is taken")
	}
}

func TestWithdrawalsReasons(t *testing.T) {
	for why := range regionv1.EndWhy_name {
		got, err := machine.CheckWhy(regionv1.EndWhy(why))
		switch regionv1.EndWhy(why) {
		case regionv1.EndWhy_END_WHY_MOVED, regionv1.EndWhy_END_WHY_YIELDED:
			if err == nil {
				t.Errorf("why %v is taken from a daemon", regionv1.EndWhy(why))
			}
		default:
			if err != nil || got == 0 {
				t.Errorf("why %v = %v, %v", regionv1.EndWhy(why), got, err)
			}
		}
	}
}

// Every word of a row has its place in an answer.
func TestAnswersTellEveryState(t *testing.T) {
	for s := range claim.Ended + 1 {
		m := table.Machine{Worker: "w1", ID: "m", App: "web", State: s, Why: claim.Why(s), Epoch: 1, Addresses: []string{"10.0.0.1"}}
		v := claim.Judge([]claim.Row{m.Claim("iad")}, nil)[0]
		a := machine.Answer(m, v, machine.Facts{Suspect: true, Health: table.HealthRow{Status: claim.Health(min(s, 3))}})
		if want := "MACHINE_STATE_" + strings.ToUpper(s.String()); s != 0 && a.GetState().String() != want {
			t.Errorf("state %v is told as %v", s, a.GetState())
		}
		if a.GetRoutable() != (len(a.GetWhyNot()) == 0) || a.GetCurrent() != (s != claim.Ended) || a.GetSuspect() != (s != claim.Ended) {
			t.Errorf("state %v: %v", s, a)
		}
	}
}
