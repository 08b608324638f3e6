package quic

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/mesh/meshtest"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/simnet"
)

func TestRunLeavesNoGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	l := newLab(t)
	var nodes []*meshtest.Node
	for i := range 4 {
		nodes = append(nodes, l.node(t, l.config(t, record.Node(fmt.Sprintf("w%d", i)), 10, 1)))
	}
	meshtest.Meet(t, nodes...)
	if err := nodes[0].Send("w1", mesh.Flow{Class: mesh.Push}, []byte("x")); err != nil {
		t.Fatal(err)
	}
	l.Kill(nodes[3].Mesh)
	for _, n := range nodes[:3] {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}
	if err := nodes[3].Stop(); err == nil {
		t.Error("Run of a node without its socket returned nil")
	}
	// Ours are gone when Run returns; memberlist's follow within a probe.
	for _, stack := range stacks() {
		if strings.Contains(stack, "internal/mesh/quic.") && !strings.Contains(stack, "TestRunLeavesNoGoroutines") {
			t.Errorf("still running:\n%s", stack)
		}
	}
	meshtest.Until(t, "all goroutines are gone", func() bool { return runtime.NumGoroutine() <= before })
}

func stacks() []string {
	buf := make([]byte, 1<<20)
	return strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
}

func TestMembershipPacketsOfAnySizeArrive(t *testing.T) {
	l := newLab(t)
	a, b := l.node(t, l.config(t, "w0", 10, 1)), l.node(t, l.config(t, "w1", 10, 2))
	meshtest.Meet(t, a, b)
	const userMessage = 8 // of memberlist; nobody listens to it
	packet := append([]byte{userMessage}, make([]byte, 5000)...)
	if _, err := a.Mesh.(*Mesh).transport.WriteToAddress(packet, memberlist.Address{Name: "w1"}); err != nil {
		t.Fatal(err)
	}
	for _, via := range []string{"datagram", "stream"} {
		meshtest.Until(t, "packets come by "+via, func() bool {
			return testutil.ToFloat64(b.Mesh.(*Mesh).metrics.packetsIn.WithLabelValues(via)) > 0
		})
	}
}

// Benches count what is sent where it enters a stream.
func TestEveryFrameThatEntersAStreamIsTold(t *testing.T) {
	l := newLab(t)
	var told atomic.Int64
	cfg := l.config(t, "w0", 10, 1)
	cfg.Wrote = func(f mesh.Flow, frame []byte) {
		if f.Class == mesh.Push {
			told.Add(int64(len(frame)))
		}
	}
	a, b := l.node(t, cfg), l.node(t, l.config(t, "w1", 10, 2))
	meshtest.Meet(t, a, b)
	want := int64(0)
	for _, size := range []int{1, 1000, mesh.MaxInline + 1} {
		if err := a.Send("w1", mesh.Flow{Class: mesh.Push}, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		want += int64(size)
	}
	meshtest.Until(t, "all are told", func() bool { return told.Load() == want })
}

func TestTwoWhoDialEachOtherAtOnceKeepOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSky(t)
		s.net.SetAll(simnet.Link{Delay: 20 * time.Millisecond})
		var nodes []*meshtest.Node
		for i := range 4 {
			nodes = append(nodes, s.start(t, i, 10, func(c *Config) {
				c.Seeds = []string{s.addr(0), s.addr(1), s.addr(2), s.addr(3)}
			}))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, a := range nodes {
			var lost float64
			for _, b := range nodes {
				if a == b {
					continue
				}
				la, lb := a.Mesh.(*Mesh).linkOf(b.Name), b.Mesh.(*Mesh).linkOf(a.Name)
				if la == nil || lb == nil || la.dialed == lb.dialed {
					t.Errorf("%s and %s do not share a connection", a.Name, b.Name)
				}
			}
			for _, reason := range []string{"malformed", "transport", "idle", "dead"} {
				lost += testutil.ToFloat64(a.Mesh.(*Mesh).metrics.closed.WithLabelValues(reason))
			}
			if extra := testutil.ToFloat64(a.Mesh.(*Mesh).metrics.closed.WithLabelValues("extra")); lost > 0 || extra > 3 {
				t.Errorf("%s lost %v connections to faults and %v as extra", a.Name, lost, extra)
			}
		}
	})
}

func TestAReplacedCertificateIsUsedByAllConnectionsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSky(t)
		a := s.start(t, 0, 10, nil)
		dir := t.TempDir()
		f := identity.Files{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), CA: filepath.Join(dir, "ca")}
		renew := func(ttl time.Duration) {
			cert, key, err := s.ca.Issue(identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "n1"}, nil, ttl)
			if err != nil {
				t.Fatal(err)
			}
			for path, data := range map[string][]byte{f.Cert: cert, f.Key: key, f.CA: s.ca.CertPEM()} {
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		renew(time.Hour)
		source, err := identity.Open(identity.Config{Files: f, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); source.Run(t.Context()) }()
		t.Cleanup(func() { <-done })
		s.start(t, 1, 10, func(c *Config) { c.Identity = source })
		time.Sleep(5 * time.Second)
		until := func() time.Time {
			l := a.Mesh.(*Mesh).linkOf("n1")
			if l == nil {
				return time.Time{}
			}
			return l.conn.ConnectionState().TLS.PeerCertificates[0].NotAfter
		}
		first := until()
		renew(3 * time.Hour)
		time.Sleep(11 * time.Minute)
		expect(t, "after the rotation", a, "n1", mesh.Alive, true)
		if now := until(); !now.After(first) {
			t.Errorf("the connection still uses the certificate of %v", first)
		}
	})
}

func TestAnExpiredCertificateMakesNoHotLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSky(t)
		a := s.start(t, 0, 10, nil)
		now := time.Now()
		cert, key, err := s.ca.IssueBetween(identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "n1"}, nil, now.Add(-time.Hour), now.Add(-time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		log := &lines{}
		s.log = log
		expired := sourceOf(t, s.ca.CertPEM(), cert, key, nil)
		s.start(t, 1, 10, func(c *Config) { c.Identity = expired })
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if p := a.Peers(); len(p) != 0 {
			t.Errorf("peers %+v", p)
		}
		tries := strings.Count(log.String(), "no connection to peer") + strings.Count(log.String(), "connection to peer refused")
		if tries == 0 || tries > 200 {
			t.Errorf("%d logged attempts in five minutes, want some and few", tries)
		}
	})
}

func TestAFalseDeathCostsNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSky(t)
		a := s.start(t, 0, 10, nil)
		s.start(t, 1, 10, nil)
		time.Sleep(5 * time.Second)
		m := a.Mesh.(*Mesh)
		l := m.linkOf("n1")
		events{m}.NotifyLeave(&memberlist.Node{Name: "n1"}) // as memberlist would on a starved machine
		synctest.Wait()
		if got := a.Peer("n1"); got.Peer.State != mesh.Suspected || !got.Connected {
			t.Errorf("a called the peer %+v before asking it", got)
		}
		time.Sleep(5 * time.Second)
		expect(t, "after it objected", a, "n1", mesh.Alive, true)
		if m.linkOf("n1") != l {
			t.Error("the connection was replaced")
		}
		s.net.Cut(s.addr(1), s.addr(0)) // now it cannot object
		events{m}.NotifyLeave(&memberlist.Node{Name: "n1"})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := a.Peer("n1"); got.Connected {
			t.Errorf("a silent peer stays connected: %+v", got)
		}
	})
}
