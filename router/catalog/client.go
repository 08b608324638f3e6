package catalog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

const (
	pingAfter    = 10 * time.Second // of silence
	pingTimeout  = 5 * time.Second
	queueLength  = 256              // messages read ahead of the core; the stream waits beyond
	listEvery    = 30 * time.Second // regions and their localities
	listTime     = 5 * time.Second
	maxReceive   = 4 << 20
	maxPositions = 3 << 20          // that a router reads; apps beyond begin anew
	heldLongGood = 10 * time.Second // a session that held this long resets the backoff
)

// Run follows one router at a time until ctx ends, and writes the last-good
// file at the end. It returns nil when asked to stop.
func (c *Client) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	files := make(chan []byte, 1) // the latest one waits; older ones are replaced
	g.Go(func() error { return c.write(files) })
	g.Go(func() error {
		defer close(files)
		defer func() { c.offer(files) }()
		return c.follow(ctx, files)
	})
	return g.Wait()
}

// follow goes from router to router.
func (c *Client) follow(ctx context.Context, files chan []byte) error {
	wait := backoff.New(backoff.Config{Base: 100 * time.Millisecond, Max: 5 * time.Second}, rand.Uint64())
	routers := rand.Perm(len(c.cfg.Routers))
	for i := 0; ; i++ {
		addr := c.cfg.Routers[routers[i%len(routers)]]
		begun := time.Now()
		err := c.session(ctx, addr, files)
		if c.current.IsZero() {
			c.setStale(time.Now())
		}
		c.core.Lost(time.Now())
		if ctx.Err() != nil {
			return nil
		}
		c.metrics.failovers.Inc()
		c.cfg.Logger.Warn("router lost", "peer", addr, "err", err)
		if time.Since(begun) > heldLongGood {
			wait.Reset()
		}
		if backoff.Wait(ctx, wait.Next()) != nil {
			return nil
		}
	}
}

// session follows one router until its stream ends.
func (c *Client) session(ctx context.Context, addr string, files chan []byte) error {
	conn, err := grpc.NewClient("dns:///"+addr,
		grpc.WithTransportCredentials(credentials.NewTLS(c.cfg.TLS)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive)),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer func() { _ = conn.Close() }()
	g, ctx := errgroup.WithContext(ctx)
	router := routerv1.NewRouterServiceClient(conn)
	stream, err := router.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	messages := make(chan *routerv1.WatchResponse, queueLength)
	localities := make(chan map[string]string)
	g.Go(func() error { return receive(ctx, stream, messages) })
	g.Go(func() error { return listRegions(ctx, router, localities) })
	g.Go(func() error { return c.drive(ctx, stream, messages, localities, files) })
	return g.Wait()
}

func receive(ctx context.Context, stream watchStream, messages chan<- *routerv1.WatchResponse) error {
	for {
		msg, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		select {
		case messages <- msg:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listRegions learns which locality regions are of. Without it the order of
// endpoints is by region; nothing else depends on it.
func listRegions(ctx context.Context, router routerv1.RouterServiceClient, out chan<- map[string]string) error {
	t := time.NewTicker(listEvery)
	defer t.Stop()
	for {
		call, cancel := context.WithTimeout(ctx, listTime)
		resp, err := router.ListRegions(call, &routerv1.ListRegionsRequest{})
		cancel()
		if err == nil {
			m := map[string]string{}
			for _, r := range resp.GetRegions() {
				m[r.GetRegion()] = r.GetLocality()
			}
			select {
			case out <- m:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type watchStream = grpc.BidiStreamingClient[routerv1.WatchRequest, routerv1.WatchResponse]

// drive feeds the core and shows what comes of it.
func (c *Client) drive(ctx context.Context, stream watchStream, messages <-chan *routerv1.WatchResponse, localities <-chan map[string]string, files chan []byte) error {
	hello := &routerv1.WatchHello{Client: c.cfg.Client, Ring: c.cfg.Ring, Position: c.core.Position(c.wants(), maxPositions)}
	if err := stream.Send(&routerv1.WatchRequest{Part: &routerv1.WatchRequest_Hello{Hello: hello}}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	c.core.Connected()
	asked := map[string]struct{}{}
	if err := c.ask(stream, asked); err != nil {
		return err
	}
	save := time.NewTimer(saveEvery)
	defer save.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.kick:
			if err := c.ask(stream, asked); err != nil {
				return err
			}
		case m := <-localities:
			c.core.Localities(m)
		case msg := <-messages:
			if !c.current.IsZero() {
				c.setStale(time.Time{})
				c.heard = true
				c.cfg.Logger.Info("following a router", "client", c.cfg.Client)
			}
			c.step(msg, messages)
		case <-save.C:
			save.Reset(c.save(files))
		}
		c.install()
	}
}

// step takes a message and what is queued behind it, so that a burst is shown
// at once.
func (c *Client) step(msg *routerv1.WatchResponse, more <-chan *routerv1.WatchResponse) {
	for range queueLength {
		c.core.Step(msg, time.Now())
		c.metrics.messages.Inc()
		select {
		case msg = <-more:
		default:
			return
		}
	}
	c.core.Step(msg, time.Now())
}

// ask sends what is wanted and was not asked for on this stream, and the
// reverse.
func (c *Client) ask(stream watchStream, asked map[string]struct{}) error {
	wanted := map[string]struct{}{}
	for _, app := range c.wants() {
		wanted[app] = struct{}{}
		if _, ok := asked[app]; ok {
			continue
		}
		asked[app] = struct{}{}
		if err := stream.Send(&routerv1.WatchRequest{Part: &routerv1.WatchRequest_AddApp{AddApp: app}}); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	for app := range asked {
		if _, ok := wanted[app]; ok {
			continue
		}
		delete(asked, app)
		c.core.Forget(app)
		if err := stream.Send(&routerv1.WatchRequest{Part: &routerv1.WatchRequest_RemoveApp{RemoveApp: app}}); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// fleetOf returns the fleet in the certificate of a TLS configuration: the
// host of its URI. Empty if there is none to see.
func fleetOf(cfg *tls.Config) string {
	cert, err := clientCertificate(cfg)
	if err != nil || cert == nil {
		return ""
	}
	leaf := cert.Leaf
	if leaf == nil && len(cert.Certificate) > 0 {
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return ""
		}
	}
	if leaf == nil || len(leaf.URIs) != 1 {
		return ""
	}
	return leaf.URIs[0].Host
}

func clientCertificate(cfg *tls.Config) (*tls.Certificate, error) {
	if len(cfg.Certificates) > 0 {
		return &cfg.Certificates[0], nil
	}
	if cfg.GetClientCertificate == nil {
		return nil, errors.New("no certificate")
	}
	return cfg.GetClientCertificate(&tls.CertificateRequestInfo{})
}
