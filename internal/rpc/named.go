package rpc

import (
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/firebreak-dev/firebreak/internal/identity"
)

// named is the TLS of a server that reads who its peer is from the certificate
// once for each connection, not for each call.
type named struct {
	credentials.TransportCredentials
}

// namedInfo is what a call finds of its connection.
type namedInfo struct {
	credentials.TLSInfo
	id identity.ID
}

func (c named) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	n := namedInfo{}
	if n.TLSInfo, n.id, err = nameOf(info); err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("peer of a connection: %w", err)
	}
	return conn, n, nil
}

// nameOf returns who a verified peer is.
func nameOf(info credentials.AuthInfo) (credentials.TLSInfo, identity.ID, error) {
	t, ok := info.(credentials.TLSInfo)
	if !ok || len(t.State.PeerCertificates) == 0 {
		return t, identity.ID{}, errors.New("it has no certificate")
	}
	id, err := identity.FromCertificate(t.State.PeerCertificates[0])
	return t, id, err
}

func (c named) Clone() credentials.TransportCredentials {
	return named{c.TransportCredentials.Clone()}
}
