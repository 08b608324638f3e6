package quic

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/mesh/meshtest"
	"github.com/firebreak-dev/firebreak/internal/record"
)

func fastTuning() tuning {
	t := tuningOf("region/iad")
	t.probeInterval, t.probeTimeout = 100*time.Millisecond, 60*time.Millisecond
	t.gossipInterval = 20 * time.Millisecond
	t.suspicionMult = 4
	t.rejoin = 500 * time.Millisecond
	t.tend = 20 * time.Millisecond
	return t
}

// lab makes real nodes on loopback under one authority.
type lab struct {
	ca     *identity.Authority
	tuning tuning
	log    io.Writer // nil discards

	mu      sync.Mutex
	sockets map[mesh.Mesh]net.PacketConn
	seeds   []string
}

func newLab(t testing.TB) *lab {
	ca, err := identity.NewAuthority("acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &lab{ca: ca, tuning: fastTuning(), sockets: make(map[mesh.Mesh]net.PacketConn)}
}

func (l *lab) source(t testing.TB, id identity.ID) *identity.Source {
	t.Helper()
	cert, key, err := l.ca.Issue(id, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return sourceOf(t, l.ca.CertPEM(), cert, key, l.logger(id.Name))
}

func sourceOf(t testing.TB, ca, cert, key []byte, log *slog.Logger) *identity.Source {
	t.Helper()
	dir := t.TempDir()
	f := identity.Files{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), CA: filepath.Join(dir, "ca")}
	for path, data := range map[string][]byte{f.Cert: cert, f.Key: key, f.CA: ca} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := identity.Open(identity.Config{Files: f, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (l *lab) logger(node string) *slog.Logger {
	if l.log == nil {
		return nil
	}
	return slog.New(slog.NewTextHandler(l.log, nil)).With("node", node)
}

func (l *lab) config(t testing.TB, node record.Node, boot, bits uint64) Config {
	cfg := Config{
		Identity: l.source(t, identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: string(node)}),
		Fleet:    "acme", Cluster: "region/iad", Generation: Generation{1, 7}, Node: node, Boot: boot, Bits: bits,
		Locality: "us-east", Logger: l.logger(string(node)),
	}
	return cfg
}

// open opens a node on a new port with all earlier nodes as seeds.
func (l *lab) open(t testing.TB, cfg Config) *Mesh {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if cfg.Conn == nil && cfg.Bind == "" {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Conn = socket
	}
	if cfg.Seeds == nil {
		cfg.Seeds = append([]string{}, l.seeds...)
	}
	m, err := listen(cfg, l.tuning)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	l.sockets[m] = m.socket
	l.seeds = append(l.seeds, m.Addr())
	return m
}

func (l *lab) Open(t *testing.T, node record.Node, boot, bits uint64) mesh.Mesh {
	return l.open(t, l.config(t, node, boot, bits))
}

// Kill closes the socket under the node.
func (l *lab) Kill(m mesh.Mesh) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.sockets[m].Close()
}

func TestConformance(t *testing.T) {
	meshtest.Run(t, func(t *testing.T) meshtest.Cluster { return newLab(t) })
}
