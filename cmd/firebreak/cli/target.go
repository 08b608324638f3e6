package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/config"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/identity"
)

// target is whom a command asks, as its flags say.
type target struct {
	routers       []string
	node          string
	socket        string
	cert, key, ca string
	dev           string
}

func (t *target) register(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&t.routers, "router", nil, "host:port of a router; several are tried in turn")
	f.StringVar(&t.node, "node", "", "host:port of one region or global node, or region/name in a dev federation")
	f.StringVar(&t.socket, "socket", "", "unix socket of the region node on this host")
	f.StringVar(&t.cert, "cert", "", "certificate to call with")
	f.StringVar(&t.key, "key", "", "its key")
	f.StringVar(&t.ca, "ca", "", "authorities of the fleet")
	f.StringVar(&t.dev, "dev", "", "directory of a dev federation (default $FIREBREAK_DEV, else firebreak/dev in $XDG_STATE_HOME)")
}

// place is one process to ask.
type place struct {
	role    string // as in dev.json; empty if it is not known yet
	region  string
	name    string
	address string // host:port, or the path of a socket
	local   bool   // address is a socket
	pid     int
}

func (p place) String() string {
	switch {
	case p.name == "":
		return p.address
	case p.region != "":
		return p.region + "/" + p.name + " (" + p.address + ")"
	}
	return p.name + " (" + p.address + ")"
}

// dialer is how places are called: with a certificate, or none for sockets.
type dialer struct {
	identity *identity.Source
}

// federation is the dev federation, nil if there is none and none was asked for.
func (t *target) federation() (*devfile.Dev, error) {
	dir := t.dev
	if dir == "" {
		var err error
		if dir, err = devfile.DefaultDir(); err != nil {
			return nil, nil
		}
	}
	d, err := devfile.Read(dir)
	if errors.Is(err, fs.ErrNotExist) && t.dev == "" {
		return nil, nil
	}
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("dev federation: %w", err))
	}
	return &d, nil
}

var errNobody = errors.New("nobody to ask: give --router, --node or --socket with --cert, --key and --ca, or start 'firebreak dev'")

// routersToAsk returns the routers of the flags, else of the dev federation.
func (t *target) routersToAsk() ([]place, *dialer, error) {
	if t.node != "" || t.socket != "" {
		return nil, nil, exit.With(exit.Usage, errors.New("this command asks a router: give --router"))
	}
	dev, err := t.devUnless(len(t.routers) > 0)
	if err != nil {
		return nil, nil, err
	}
	d, err := t.dialer(dev)
	if err != nil {
		return nil, nil, err
	}
	if len(t.routers) > 0 {
		places := make([]place, len(t.routers))
		for i, a := range t.routers {
			if err := config.CheckDialable(a); err != nil {
				return nil, nil, exit.With(exit.Usage, fmt.Errorf("--router %w", err))
			}
			places[i] = place{role: "router", address: a}
		}
		return places, d, nil
	}
	return places(dev.Of("router")), d, nil
}

// nodesToAsk returns the node of the flags, or the dev federation's nodes of a
// role that keep accepts.
func (t *target) nodesToAsk(role string, keep func(devfile.Node) bool) ([]place, *dialer, error) {
	if t.socket != "" {
		return []place{{role: "region", address: t.socket, local: true}}, &dialer{}, nil
	}
	addressed := strings.Contains(t.node, ":")
	if addressed {
		if err := config.CheckDialable(t.node); err != nil {
			return nil, nil, exit.With(exit.Usage, fmt.Errorf("--node %w", err))
		}
	}
	dev, err := t.devUnless(addressed)
	if err != nil {
		return nil, nil, err
	}
	d, err := t.dialer(dev)
	if err != nil {
		return nil, nil, err
	}
	if addressed {
		return []place{{role: role, address: t.node}}, d, nil
	}
	if t.node != "" {
		p, err := named(dev, t.node)
		return []place{p}, d, err
	}
	var out []place
	for _, n := range dev.Nodes {
		if n.Role == role && keep(n) {
			out = append(out, places([]devfile.Node{n})...)
		}
	}
	return out, d, nil
}

// named finds a node of a federation by region/name, or by its name if no
// other has it.
func named(dev *devfile.Dev, name string) (place, error) {
	var found []place
	for _, p := range places(dev.Nodes) {
		if p.region+"/"+p.name == name || p.name == name {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return place{}, exit.With(exit.Usage, fmt.Errorf("the dev federation has no node %q: 'firebreak status' lists them", name))
	case 1:
		return found[0], nil
	}
	return place{}, exit.With(exit.Usage, fmt.Errorf("several nodes are named %q: give region/name", name))
}

// devUnless returns the dev federation, which must be there unless the flags
// say where to go.
func (t *target) devUnless(addressed bool) (*devfile.Dev, error) {
	if addressed && t.dev == "" && t.cert != "" {
		return nil, nil
	}
	dev, err := t.federation()
	if err != nil {
		return nil, err
	}
	if dev == nil && !addressed {
		return nil, exit.With(exit.Usage, errNobody)
	}
	return dev, nil
}

// dialer loads the certificate of the flags, else the dev operator's.
func (t *target) dialer(dev *devfile.Dev) (*dialer, error) {
	f := identity.Files{Cert: t.cert, Key: t.key, CA: t.ca}
	switch {
	case t.cert == "" && t.key == "" && t.ca == "":
		if dev == nil || dev.Operator == nil {
			return nil, exit.With(exit.Usage, errors.New("no certificate to call with: give --cert, --key and --ca"))
		}
		f = identity.Files{Cert: dev.Operator.Cert, Key: dev.Operator.Key, CA: dev.Operator.CA}
	case t.cert == "" || t.key == "" || t.ca == "":
		return nil, exit.With(exit.Usage, errors.New("--cert, --key and --ca belong together"))
	}
	source, err := identity.Load(f)
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	return &dialer{source}, nil
}

func places(nodes []devfile.Node) []place {
	out := make([]place, len(nodes))
	for i, n := range nodes {
		out[i] = place{role: n.Role, region: n.Region, name: n.Name, address: n.GRPC, pid: n.PID}
	}
	return out
}
