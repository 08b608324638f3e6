package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
)

// probeTimeout is how long one of several places has to shake hands before
// the next is tried.
const probeTimeout = 2 * time.Second

// preface is what an HTTP/2 client says first: a server that lets us in
// answers it, one that does not ends the connection with a TLS alert.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// probe shakes hands with a place and returns who it is. A server that refuses
// this certificate says so only after its own part of the handshake, and gRPC
// would retry it as if it were down: so it is asked here, once.
func (d *dialer) probe(ctx context.Context, p place) (identity.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var server identity.ID
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return server, exit.With(exit.Unanswered, err)
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := tls.Client(raw, d.identity.Client(func(id identity.ID) error { server = id; return nil }))
	if err := conn.HandshakeContext(ctx); err != nil {
		return server, refusal(err)
	}
	if _, err := conn.Write([]byte(preface)); err != nil {
		return server, refusal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return server, refusal(err)
	}
	return server, nil
}

// refusal tells a handshake that was refused, by either side, from one that
// never ended.
func refusal(err error) error {
	var alert *net.OpError
	var refused *identity.RefusedError
	switch {
	case errors.As(err, &refused):
		return exit.With(exit.Denied, err)
	case errors.As(err, &alert) && alert.Op == "remote error": // how crypto/tls marks the peer's alert
		return exit.With(exit.Denied, fmt.Errorf("it refused our certificate; its log says why (%w)", err))
	}
	return exit.With(exit.Unanswered, err)
}

// dial connects to a place. It returns the place with what its certificate
// says of it.
func (d *dialer) dial(ctx context.Context, p place) (*grpc.ClientConn, place, error) {
	if p.local {
		conn, err := rpc.DialSocket(p.address)
		return conn, p, err
	}
	id, err := d.probe(ctx, p)
	if err != nil {
		return nil, p, fmt.Errorf("%v: %w", p, err)
	}
	if p.role, p.region, p.name, err = known(id); err != nil {
		return nil, p, fmt.Errorf("%v: %w", p, err)
	}
	conn, err := rpc.Dial(p.address, d.identity, func(got identity.ID) error {
		if got != id {
			return fmt.Errorf("identity %v, want %v", got, id)
		}
		return nil
	})
	return conn, p, err
}

// known gives an identity in the words of dev.json.
func known(id identity.ID) (role, region, name string, err error) {
	switch id.Role {
	case identity.Node, identity.Gateway:
		return "region", id.Region, id.Name, nil
	case identity.Global:
		return "global", "", id.Name, nil
	case identity.Router:
		return "router", "", id.Name, nil
	}
	return "", "", "", exit.With(exit.Usage, fmt.Errorf("%v serves nothing", id))
}

// askFirst calls ask on one place after the other until one answers. A place
// that is down, or refuses the certificate, is passed over; any other answer,
// an error included, is the answer. ask must print nothing before it returns
// an error that means "down".
func (e *env) askFirst(ctx context.Context, want string, places []place, d *dialer, ask func(context.Context, *grpc.ClientConn, place) error) error {
	var errs []error
	worst := exit.Unanswered
	for _, p := range places {
		err := e.askOne(ctx, want, p, d, ask)
		if err == nil || !passOver(err) {
			return err
		}
		if exit.Code(err) == exit.Denied {
			worst = exit.Denied
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("there is no %s to ask", want))
	}
	return exit.With(worst, errors.Join(errs...))
}

func (e *env) askOne(ctx context.Context, want string, p place, d *dialer, ask func(context.Context, *grpc.ClientConn, place) error) error {
	conn, p, err := d.dial(ctx, p)
	if err != nil {
		return err
	}
	defer conn.Close()
	if want != "" && p.role != want {
		return exit.With(exit.Usage, fmt.Errorf("%v is a %s, this command asks a %s", p, p.role, want))
	}
	return said(p, ask(ctx, conn, p))
}

// said puts an error of a server in its own words, with the code that its
// status means. What a command concluded from an answer stays as it is.
func said(p place, err error) error {
	if _, concluded := errors.AsType[*exit.Error](err); err == nil || concluded {
		return err
	}
	if s, ok := status.FromError(err); ok {
		return exit.With(exit.Code(err), fmt.Errorf("%v: %s", p, s.Message()))
	}
	return err
}

// passOver reports whether an error means that this place did not answer.
func passOver(err error) bool {
	code := exit.Code(err)
	return code == exit.Unanswered || code == exit.Denied
}
