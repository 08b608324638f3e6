package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// RefusedError says why a peer's certificate was not accepted.
type RefusedError struct {
	URI    string // of the peer's certificate, empty if it gave none
	Reason string // one of the metric's reasons
	Err    error
}

func (e *RefusedError) Error() string {
	if e.URI == "" {
		return fmt.Sprintf("peer refused: %v", e.Err)
	}
	return fmt.Sprintf("peer %s refused: %v", e.URI, e.Err)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// Server returns the configuration of a listener whose clients must be
// accepted by accept; protos are its ALPN protocols, none means "h2". Accept
// runs inside the handshake, before the client has proved that it owns its
// key: it may judge, but must not act.
func (s *Source) Server(accept func(ID) error, protos ...string) *tls.Config {
	if len(protos) == 0 {
		protos = []string{"h2"}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protos,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			m := s.now.Load()
			peer := ""
			if hello.Conn != nil {
				peer = hello.Conn.RemoteAddr().String()
			}
			return &tls.Config{
				MinVersion:   tls.VersionTLS13,
				NextProtos:   protos,
				Certificates: []tls.Certificate{m.cert},
				// The certificate is asked for here and judged below, so that
				// a missing or foreign one is logged by name like any other.
				ClientAuth:             tls.RequestClientCert,
				SessionTicketsDisabled: true,
				VerifyConnection: func(cs tls.ConnectionState) error {
					_, err := m.judge(cs.PeerCertificates, x509.ExtKeyUsageClientAuth, accept)
					s.note(peer, err)
					return err
				},
			}, nil
		},
	}
}

// Client returns the configuration of a dialer whose server must be accepted
// by expect; protos as in Server. Who the server is follows from its
// certificate's URI alone, not from the name that was dialed.
func (s *Source) Client(expect func(ID) error, protos ...string) *tls.Config {
	if len(protos) == 0 {
		protos = []string{"h2"}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protos,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &s.now.Load().cert, nil
		},
		InsecureSkipVerify:     true, // VerifyConnection does it: by authority and URI, not by host name
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := s.now.Load().judge(cs.PeerCertificates, x509.ExtKeyUsageServerAuth, expect)
			return err
		},
	}
}

// judge checks a peer's chain and returns who it is.
func (m *material) judge(certs []*x509.Certificate, usage x509.ExtKeyUsage, accept func(ID) error) (ID, error) {
	if len(certs) == 0 {
		return ID{}, &RefusedError{Reason: refusedNone, Err: errors.New("no certificate")}
	}
	leaf := certs[0]
	refuse := func(reason string, err error) (ID, error) {
		return ID{}, &RefusedError{URI: uriOf(leaf), Reason: reason, Err: err}
	}
	if err := m.verify(certs, usage); isTime(err) {
		return refuse(refusedTime, fmt.Errorf("the certificate is not valid now (it is from %v to %v): %w",
			leaf.NotBefore.UTC(), leaf.NotAfter.UTC(), err))
	} else if err != nil {
		return refuse(refusedChain, fmt.Errorf("not of our authority: %w", err))
	}
	id, err := FromCertificate(leaf)
	if err != nil {
		return refuse(refusedName, err)
	}
	if id.Fleet != m.id.Fleet {
		return refuse(refusedFleet, fmt.Errorf("fleet %q, want %q", id.Fleet, m.id.Fleet))
	}
	if err := accept(id); err != nil {
		return refuse(refusedAccept, err)
	}
	return id, nil
}

// note logs and counts a refusal of the server side.
func (s *Source) note(peer string, err error) {
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok {
		return
	}
	s.metrics.refused.WithLabelValues(refused.Reason).Inc()
	if !s.limit.Allow() {
		s.metrics.unlogged.Inc()
		return
	}
	s.log.Warn("connection refused in the handshake", "peer", peer, "identity", refused.URI, "reason", refused.Reason, "err", refused.Err)
}
