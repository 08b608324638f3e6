package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/network"
)

// reconnect spaces attempts to reach one address.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.5, MaxDelay: 5 * time.Second},
	MinConnectTimeout: 3 * time.Second,
}

// Dial returns a connection to host:port whose server must be accepted by
// expect. It does not connect yet.
func Dial(addr string, id *identity.Source, expect func(identity.ID) error) (*grpc.ClientConn, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return dial("dns:///"+addr, credentials.NewTLS(id.Client(expect)))
}

// DialVia is Dial over a network other than the host's plain one.
func DialVia(via network.Network, addr string, id *identity.Source, expect func(identity.ID) error) (*grpc.ClientConn, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return dial("dns:///"+addr, credentials.NewTLS(id.Client(expect)), grpc.WithContextDialer(via.Dial))
}

// DialSocket returns a connection to a unix socket of this host.
func DialSocket(path string) (*grpc.ClientConn, error) {
	return dial("unix:"+path, insecure.NewCredentials())
}

func dial(target string, creds credentials.TransportCredentials, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithConnectParams(reconnect),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithDisableServiceConfig(), // DNS must not configure our clients
	}, more...)
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	return conn, nil
}

// hostOnly is the credentials of a unix socket. It refuses connections that
// came over IP, so that a server without TLS is never one of a network.
type hostOnly struct{}

var errNotLocal = errors.New("a server without TLS takes no connection over IP")

type hostInfo struct{ credentials.CommonAuthInfo }

func (hostInfo) AuthType() string { return "host" }

func (hostOnly) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, isTCP := conn.LocalAddr().(*net.TCPAddr); isTCP {
		return nil, nil, errNotLocal
	}
	return conn, hostInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

func (hostOnly) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials of a server only")
}

func (hostOnly) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "host"}
}

func (c hostOnly) Clone() credentials.TransportCredentials { return c }

func (hostOnly) OverrideServerName(string) error { return nil }
