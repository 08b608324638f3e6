package rpc

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/access"
	"github.com/firebreak-dev/firebreak/internal/identity"
)

// LocalName is the name of the identity that calls by the unix socket have. It
// is told from a certificate's by IsLocal, never by its name.
const LocalName = "local"

// caller is who makes one call.
type caller struct {
	id    identity.ID
	local bool
}

type callerKey struct{}

// PeerID returns who calls. A call by the unix socket is from a client named
// "local".
func PeerID(ctx context.Context) (identity.ID, bool) {
	c, ok := ctx.Value(callerKey{}).(caller)
	return c.id, ok
}

// IsLocal reports whether a call came by the unix socket.
func IsLocal(ctx context.Context) bool {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c.local
}

var errStopping = errors.New("the server is stopping")

// admit finds the caller and asks the table. The error is a status.
func (g *gate) admit(ctx context.Context, method string) (context.Context, error) {
	c, err := g.caller(ctx)
	if err != nil {
		g.metrics.denied.Inc()
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	role := c.id.Role
	if c.local {
		role = access.Local
	}
	if !access.Allowed(role, method) {
		g.metrics.denied.Inc()
		g.log.Warn("call refused", "peer", c.id.String(), "role", access.RoleName(role), "method", method)
		return nil, status.Errorf(codes.PermissionDenied, "role %s may not call %s", access.RoleName(role), method)
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

func (g *gate) caller(ctx context.Context) (caller, error) {
	if g.local {
		return caller{identity.ID{Fleet: g.fleet, Role: identity.Client, Name: LocalName}, true}, nil
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}, errors.New("the call has no peer")
	}
	info, ok := p.AuthInfo.(namedInfo)
	if !ok {
		return caller{}, errors.New("the peer has no certificate")
	}
	return caller{id: info.id}, nil
}

func (g *gate) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	g.calls.Add(1)
	defer g.calls.Add(-1)
	defer g.account(info.FullMethod, time.Now(), &err)
	if ctx, err = g.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	defer g.recover(info.FullMethod, &err)
	return handle(ctx, req)
}

func (g *gate) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer g.account(info.FullMethod, time.Now(), &err)
	ctx, err := g.admit(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(g.stopping, func() { cancel(errStopping) })()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errStopping) {
			err = status.Error(codes.Unavailable, errStopping.Error())
		}
	}()
	defer g.recover(info.FullMethod, &err)
	return handle(srv, &boundStream{ss, ctx})
}

// boundStream is a stream under a context of ours.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context // the stream's own context, as grpc.ServerStream has it
}

func (s *boundStream) Context() context.Context { return s.ctx }

// recover turns a panic of a handler into an error of its call. The caller
// learns nothing of what is inside.
func (g *gate) recover(method string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	g.metrics.panics.Inc()
	g.log.Error("handler panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
	*err = status.Error(codes.Internal, "internal error, see the server's log")
}

func (g *gate) account(method string, since time.Time, err *error) {
	g.metrics.handled.WithLabelValues(method, status.Code(*err).String()).Inc()
	g.metrics.seconds.WithLabelValues(method).Observe(time.Since(since).Seconds())
}
