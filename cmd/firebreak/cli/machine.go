package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	rules "github.com/firebreak-dev/firebreak/region/machine"
)

// machine is a machine as the commands print and read it. State, why and
// health are the words of the API in lower case; resources and metadata are
// JSON objects.
type machine struct {
	Worker    string          `json:"worker,omitempty"`
	ID        string          `json:"id"`
	App       string          `json:"app"`
	State     string          `json:"state"`
	Why       string          `json:"why,omitempty"`
	Services  []service       `json:"services"`
	Addresses []string        `json:"addresses"`
	Image     string          `json:"image,omitempty"`
	Resources json.RawMessage `json:"resources,omitempty"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
	Health    string          `json:"health,omitempty"`

	*Derived // in answers only
}

type service struct {
	Name     string `json:"name,omitempty"`
	Port     uint32 `json:"port"`
	Protocol string `json:"protocol,omitempty"`
}

// Derived is what a node says of a machine beside its row.
type Derived struct {
	Epoch       uint64   `json:"epoch"`
	Grant       uint64   `json:"grant,omitempty"`
	MovedTo     string   `json:"moved_to,omitempty"`
	HealthSince int64    `json:"health_since_unix_ms,omitempty"`
	Current     bool     `json:"current"`
	Routable    bool     `json:"routable"`
	Suspect     bool     `json:"suspect"`
	Contested   bool     `json:"contested"`
	Unconfirmed bool     `json:"unconfirmed"`
	WhyNot      []string `json:"why_not,omitempty"`
}

func fromMachine(m *regionpb.Machine) machine {
	out := machine{
		Worker: m.GetWorker(), ID: m.GetId(), App: m.GetApp(), Image: m.GetImage(),
		State: word(m.GetState().String(), "MACHINE_STATE_"), Why: word(m.GetWhy().String(), "END_WHY_"),
		Health: word(m.GetHealth().String(), "HEALTH_STATUS_"), Services: []service{}, Addresses: append([]string{}, m.GetAddresses()...),
		Derived: &Derived{
			Epoch: m.GetEpoch(), Grant: m.GetGrant(), MovedTo: m.GetMovedTo(), HealthSince: m.GetHealthSinceUnixMs(),
			Current: m.GetCurrent(), Routable: m.GetRoutable(), Suspect: m.GetSuspect(), Contested: m.GetContested(),
			Unconfirmed: m.GetUnconfirmed(), WhyNot: m.GetWhyNot(),
		},
	}
	for _, s := range m.GetServices() {
		out.Services = append(out.Services, service{s.GetName(), s.GetPort(), s.GetProtocol()})
	}
	out.Resources, out.Metadata = object(m.GetResources()), object(m.GetMetadata())
	return out
}

// object keeps a row's JSON from breaking ours: what does not parse is shown
// as a string.
func object(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	if json.Valid([]byte(s)) {
		return json.RawMessage(s)
	}
	b, _ := json.Marshal(s)
	return b
}

// word is an enum's value without its prefix, empty for "unspecified".
func word(s, prefix string) string {
	s = strings.ToLower(strings.TrimPrefix(s, prefix))
	if s == "unspecified" {
		return ""
	}
	return s
}

// parseMachine reads one line of machine publish and reconcile: the keys above,
// and no other. State is started if it is not given.
func parseMachine(line []byte) (*regionpb.Machine, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("not valid UTF-8") // which encoding/json would repair
	}
	var m machine
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	if m.Derived != nil {
		return nil, errors.New("epoch, grant, moved_to and what is derived are set by the node")
	}
	return m.proto()
}

// proto checks a machine by the rules that its node will apply.
func (m machine) proto() (*regionpb.Machine, error) {
	out := &regionpb.Machine{
		Worker: m.Worker, Id: m.ID, App: m.App, Image: m.Image, Addresses: m.Addresses,
		Resources: string(m.Resources), Metadata: string(m.Metadata),
	}
	if m.State == "" {
		m.State = "started"
	}
	if m.Why != "" {
		return nil, errors.New("why: an end is written by withdraw")
	}
	state, err := enum("state", m.State, "MACHINE_STATE_", regionpb.MachineState_value)
	health, herr := enum("health", m.Health, "HEALTH_STATUS_", regionpb.HealthStatus_value)
	if err := errors.Join(err, herr); err != nil {
		return nil, err
	}
	out.State, out.Health = regionpb.MachineState(state), regionpb.HealthStatus(health)
	for _, s := range m.Services {
		out.Services = append(out.Services, &regionpb.Service{Name: s.Name, Port: s.Port, Protocol: s.Protocol})
	}
	in, err := rules.Check(fleet.Worker(m.Worker), out)
	if err != nil {
		return nil, err
	}
	out.Addresses = in.Machine.Addresses // as they are stored
	return out, nil
}

// enum reads a word of the API in lower case; empty is unspecified.
func enum(what, word, prefix string, values map[string]int32) (int32, error) {
	if word == "" {
		return 0, nil
	}
	if v, ok := values[prefix+strings.ToUpper(word)]; ok && v != 0 && word == strings.ToLower(word) {
		return v, nil
	}
	return 0, fmt.Errorf("%s %q is not known", what, word)
}
