package identity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newAuthority(t *testing.T, fleet string) *Authority {
	t.Helper()
	a, err := NewAuthority(fleet, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// write puts an identity's files into a new directory.
func write(t *testing.T, ca *Authority, cert, key []byte) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")}
	rewrite(t, f, ca, cert, key)
	return f
}

func rewrite(t *testing.T, f Files, ca *Authority, cert, key []byte) {
	t.Helper()
	for path, data := range map[string][]byte{f.Cert: cert, f.Key: key, f.CA: ca.CertPEM()} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func source(t *testing.T, a *Authority, id ID, log io.Writer) *Source {
	t.Helper()
	cert, key, err := a.Issue(id, []string{"127.0.0.1", "localhost"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Files: write(t, a, cert, key), Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shake runs one handshake and one byte after it over loopback.
func shake(client, server *tls.Config) (read int, clientErr, serverErr error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err, err
	}
	defer lis.Close()
	cc, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		return 0, err, err
	}
	sc, err := lis.Accept()
	if err != nil {
		return 0, err, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cc.Close()
		conn := tls.Client(cc, client)
		if clientErr = conn.Handshake(); clientErr == nil {
			_, clientErr = conn.Write([]byte("x"))
		}
		if clientErr == nil {
			_, clientErr = conn.Read(make([]byte, 1))
		}
	}()
	conn := tls.Server(sc, server)
	if serverErr = conn.Handshake(); serverErr == nil {
		read, serverErr = conn.Read(make([]byte, 1))
		conn.Write([]byte("y"))
	}
	sc.Close()
	<-done
	return read, clientErr, serverErr
}

var (
	nodeID   = ID{"acme", Node, "iad", "w1"}
	serverID = ID{"acme", Node, "iad", "w0"}
)

func TestAcceptedPeersTalkBothWays(t *testing.T) {
	a := newAuthority(t, "acme")
	accept := SameCluster("acme", "region/iad")
	server, client := source(t, a, serverID, io.Discard), source(t, a, nodeID, io.Discard)
	n, cerr, serr := shake(client.Client(accept), server.Server(accept))
	if cerr != nil || serr != nil || n != 1 {
		t.Errorf("client: %v, server: %v, read %d", cerr, serr, n)
	}
}

func TestServerRefusesBeforeReadingAndLogsByName(t *testing.T) {
	a, other := newAuthority(t, "acme"), newAuthority(t, "acme")
	var log bytes.Buffer
	server := source(t, a, serverID, &log)
	ca := x509.NewCertPool()
	ca.AppendCertsFromPEM(a.CertPEM())

	uris := func(list ...string) (out []*url.URL) {
		for _, s := range list {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, u)
		}
		return out
	}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	now := time.Now()
	for _, c := range []struct {
		name     string
		signer   *Authority // nil: no certificate at all
		uris     []string
		usages   []x509.ExtKeyUsage
		from, to time.Duration
		reason   string
		want     string // what the log says besides
	}{
		{"none", nil, nil, nil, 0, 0, refusedNone, "no certificate"},
		{"other authority", other, []string{nodeID.String()}, both, -1, 1, refusedChain, nodeID.String()},
		{"expired", a, []string{nodeID.String()}, both, -2, -1, refusedTime, "not valid now"},
		{"not yet valid", a, []string{nodeID.String()}, both, 1, 2, refusedTime, "not valid now"},
		{"two uris", a, []string{nodeID.String(), "spiffe://acme/client/c"}, both, -1, 1, refusedName, "2 URIs"},
		{"no uri", a, nil, both, -1, 1, refusedName, "0 URIs"},
		{"odd path", a, []string{"spiffe://acme/region/iad/node/w1/x"}, both, -1, 1, refusedName, "no known form"},
		{"escaped path", a, []string{"spiffe://acme/region/%69ad/node/w1"}, both, -1, 1, refusedName, "%69ad"},
		{"other fleet", a, []string{"spiffe://emca/region/iad/node/w1"}, both, -1, 1, refusedFleet, "emca"},
		{"other region", a, []string{"spiffe://acme/region/ams/node/w1"}, both, -1, 1, refusedAccept, "region/ams"},
		{"other role", a, []string{"spiffe://acme/router/r1"}, both, -1, 1, refusedAccept, "role router"},
		{"server usage only", a, []string{nodeID.String()}, both[1:], -1, 1, refusedChain, nodeID.String()},
		{"client usage only", a, []string{nodeID.String()}, both[:1], -1, 1, refusedName, "as a server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log.Reset()
			client := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{"h2"}}
			if c.signer != nil {
				cert, key, err := c.signer.sign(&x509.Certificate{
					Subject: pkix.Name{CommonName: "x"}, URIs: uris(c.uris...), ExtKeyUsage: c.usages,
					NotBefore: now.Add(c.from * time.Hour), NotAfter: now.Add(c.to * time.Hour),
				})
				if err != nil {
					t.Fatal(err)
				}
				pair, err := tls.X509KeyPair(cert, key)
				if err != nil {
					t.Fatal(err)
				}
				client.Certificates = []tls.Certificate{pair}
			}
			n, cerr, serr := shake(client, server.Server(SameCluster("acme", "region/iad")))
			refused, ok := errors.AsType[*RefusedError](serr)
			if !ok || refused.Reason != c.reason {
				t.Errorf("server: %v, want refusal %q", serr, c.reason)
			}
			if cerr == nil || n != 0 {
				t.Errorf("client: %v; the server read %d bytes of it", cerr, n)
			}
			if got := log.String(); !strings.Contains(got, c.want) || !strings.Contains(got, "peer=127.0.0.1:") || !strings.Contains(got, "reason="+c.reason) {
				t.Errorf("log %q, want peer, reason and %q", got, c.want)
			}
		})
	}
}

func TestClientRefusesAServerOfAnotherClusterOrTime(t *testing.T) {
	a := newAuthority(t, "acme")
	client := source(t, a, nodeID, io.Discard)
	anyone := func(ID) error { return nil }
	server := source(t, a, ID{"acme", Node, "ams", "w0"}, io.Discard)
	n, cerr, _ := shake(client.Client(SameCluster("acme", "region/iad")), server.Server(anyone))
	if refused, ok := errors.AsType[*RefusedError](cerr); !ok || refused.URI != "spiffe://acme/region/ams/node/w0" || n != 0 {
		t.Errorf("client: %v, want a refusal naming the server", cerr)
	}

	now := time.Now()
	cert, key, err := a.IssueBetween(serverID, nil, now.Add(-2*time.Hour), now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	expired, err := Load(write(t, a, cert, key))
	if err != nil {
		t.Fatalf("an expired certificate must load, so that the host is served: %v", err)
	}
	_, cerr, _ = shake(client.Client(anyone), expired.Server(anyone))
	if refused, ok := errors.AsType[*RefusedError](cerr); !ok || refused.Reason != refusedTime {
		t.Errorf("client: %v, want a refusal for the time", cerr)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	a := newAuthority(t, "acme")
	anyone := func(ID) error { return nil }
	server := source(t, a, serverID, io.Discard)
	old := source(t, a, nodeID, io.Discard).Client(anyone)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, cerr, serr := shake(old, server.Server(anyone)); cerr == nil || serr == nil {
		t.Errorf("TLS 1.2 was taken: client %v, server %v", cerr, serr)
	}
}

func TestRefusalLogIsLimitedAndCounted(t *testing.T) {
	a := newAuthority(t, "acme")
	var log bytes.Buffer
	s := source(t, a, serverID, &log)
	for range 2 * refusalsBurst {
		s.note("peer", &RefusedError{Reason: refusedNone, Err: errors.New("no certificate")})
	}
	if n := strings.Count(log.String(), "\n"); n < refusalsBurst || n >= 2*refusalsBurst {
		t.Errorf("%d lines for %d refusals, want about %d", n, 2*refusalsBurst, refusalsBurst)
	}
}
