package benchcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
)

// target is whom the load goes to: the addresses of the flags, else all of a
// dev federation.
type target struct {
	routers, nodes []string
	cert, key, ca  string
	dev            string
}

func (t *target) register(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&t.routers, "router", nil, "host:port of routers (default all of the dev federation)")
	f.StringSliceVar(&t.nodes, "node", nil, "host:port of region nodes to write on (default all of the dev federation)")
	f.StringVar(&t.cert, "cert", "", "certificate to call with")
	f.StringVar(&t.key, "key", "", "its key")
	f.StringVar(&t.ca, "ca", "", "authorities of the fleet")
	f.StringVar(&t.dev, "dev", "", "directory of a dev federation (default $FIREBREAK_DEV, else firebreak/dev in $XDG_STATE_HOME)")
}

// place is one process to call.
type place struct {
	name string
	conn *grpc.ClientConn
}

// places are the processes of one role.
type places []place

// turn is the place whose turn operation i is.
func (p places) turn(i uint64) place { return p[i%uint64(len(p))] }

func (p places) close() error {
	var errs []error
	for _, x := range p {
		errs = append(errs, x.conn.Close())
	}
	return errors.Join(errs...)
}

// dial connects to the processes of a role. Connecting happens with the first
// calls: who is down is found by them.
func (t *target) dial(role string) (places, error) {
	given := t.routers
	if role == "region" {
		given = t.nodes
	}
	dev, err := t.federation()
	if err != nil {
		return nil, err
	}
	source, err := t.identity(dev)
	if err != nil {
		return nil, err
	}
	roles := []identity.Role{identity.Router}
	if role == "region" {
		roles = []identity.Role{identity.Node, identity.Gateway}
	}
	names := map[string]string{}
	if len(given) == 0 && dev != nil {
		for _, n := range dev.Of(role) {
			given = append(given, n.GRPC)
			names[n.GRPC] = n.Region + "/" + n.Name
			if n.Region == "" {
				names[n.GRPC] = n.Name
			}
		}
	}
	if len(given) == 0 {
		return nil, exit.With(exit.Usage, fmt.Errorf("no %s to call: give its address, or start 'firebreak dev'", role))
	}
	var out places
	for _, addr := range given {
		conn, err := rpc.Dial(addr, source, identity.HasRole(source.ID().Fleet, roles...))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", addr, err), out.close())
		}
		name := addr
		if names[addr] != "" {
			name = names[addr] + " (" + addr + ")"
		}
		out = append(out, place{name, conn})
	}
	return out, nil
}

// federation is the dev federation, nil if there is none and none was named.
func (t *target) federation() (*devfile.Dev, error) {
	dir := t.dev
	if dir == "" {
		var err error
		if dir, err = devfile.DefaultDir(); err != nil {
			return nil, nil // without a home there is none
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

func (t *target) identity(dev *devfile.Dev) (*identity.Source, error) {
	f := identity.Files{Cert: t.cert, Key: t.key, CA: t.ca}
	switch {
	case t.cert == "" && t.key == "" && t.ca == "":
		if dev == nil || dev.Operator == nil {
			return nil, exit.With(exit.Usage, errors.New("no certificate to call with: give --cert, --key and --ca, or start 'firebreak dev'"))
		}
		f = identity.Files{Cert: dev.Operator.Cert, Key: dev.Operator.Key, CA: dev.Operator.CA}
	case t.cert == "" || t.key == "" || t.ca == "":
		return nil, exit.With(exit.Usage, errors.New("--cert, --key and --ca belong together"))
	}
	source, err := identity.Load(f)
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	return source, nil
}

// at says where an error came from.
func at(p place, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%s: %w", p.name, err)
}
