package federation

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// clients keeps one connection to each address.
type clients struct {
	id *identity.Source

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func newClients(id *identity.Source) *clients {
	return &clients{id: id, conns: map[string]*grpc.ClientConn{}}
}

// to returns the connection to key, made by dial at first. Dialing does no I/O.
func (c *clients) to(key string, dial func() (*grpc.ClientConn, error)) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.conns[key]; conn != nil {
		return conn, nil
	}
	conn, err := dial()
	if err == nil {
		c.conns[key] = conn
	}
	return conn, err
}

func (c *clients) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	c.conns = map[string]*grpc.ClientConn{}
	return errors.Join(errs...)
}

// dial speaks to a node as the operator.
func (f *Federation) dial(n Node) (*grpc.ClientConn, error) {
	want := n.ID()
	return f.clients.to(n.GRPC, func() (*grpc.ClientConn, error) {
		return rpc.Dial(n.GRPC, f.operator, func(id identity.ID) error {
			if id != want {
				return fmt.Errorf("it is %v, want %v", id, want)
			}
			return nil
		})
	})
}

// RegionClient speaks to a region node as an operator.
func (f *Federation) RegionClient(n Node) (regionv1.RegionServiceClient, error) {
	conn, err := f.dial(n)
	if err != nil {
		return nil, err
	}
	return regionv1.NewRegionServiceClient(conn), nil
}

// DaemonClient speaks to a region node as its host's daemon does: over the
// unix socket.
func (f *Federation) DaemonClient(n Node) (regionv1.RegionServiceClient, error) {
	path := f.paths.socketOf(n)
	conn, err := f.clients.to(path, func() (*grpc.ClientConn, error) { return rpc.DialSocket(path) })
	if err != nil {
		return nil, err
	}
	return regionv1.NewRegionServiceClient(conn), nil
}

// DirectoryClient speaks to a global node as an operator.
func (f *Federation) DirectoryClient(n Node) (globalv1.DirectoryServiceClient, error) {
	conn, err := f.dial(n)
	if err != nil {
		return nil, err
	}
	return globalv1.NewDirectoryServiceClient(conn), nil
}

// RouterClient speaks to a router as an operator.
func (f *Federation) RouterClient(n Node) (routerv1.RouterServiceClient, error) {
	conn, err := f.dial(n)
	if err != nil {
		return nil, err
	}
	return routerv1.NewRouterServiceClient(conn), nil
}

// EdgeTLS is the configuration with which a proxy at the edge dials routers.
func (f *Federation) EdgeTLS() *tls.Config {
	return f.client.Client(identity.HasRole(Fleet, identity.Router))
}
