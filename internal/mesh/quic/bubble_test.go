package quic

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/mesh/meshtest"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/simnet"
)

// sky is a lab on a simulated network, in virtual time, with the product's own
// timing.
type sky struct {
	*lab
	net     *simnet.Network
	onFrame func(mesh.Peer, mesh.Flow, []byte) // of every node started after it is set
}

func newSky(t *testing.T) *sky {
	s := &sky{lab: newLab(t), net: simnet.New(1)}
	s.tuning = tuningOf("region/iad")
	s.net.SetAll(simnet.Link{Delay: time.Millisecond})
	// After all nodes have stopped: memberlist does not wait for a probe that
	// is under way, and a bubble must end empty.
	t.Cleanup(func() { time.Sleep(30 * time.Second) })
	return s
}

// addr is the address of the i-th node.
func (s *sky) addr(i int) string { return fmt.Sprintf("10.0.0.%d:7946", i+1) }

// start runs the i-th node, which is called n0, n1, …
func (s *sky) start(t *testing.T, i int, boot uint64, change func(*Config)) *meshtest.Node {
	t.Helper()
	name := record.Node(fmt.Sprintf("n%d", i))
	conn, err := s.net.Listen(netip.MustParseAddrPort(s.addr(i)))
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.config(t, name, boot, boot)
	cfg.Conn = conn
	if change != nil {
		change(&cfg)
	}
	return (&meshtest.Node{Name: name, OnFrame: s.onFrame}).Start(t, s.open(t, cfg))
}

// expect checks what a node was last told of another.
func expect(t *testing.T, when string, n *meshtest.Node, of record.Node, want mesh.State, connected bool) {
	t.Helper()
	synctest.Wait()
	if got := n.Peer(of); got.Peer.State != want || got.Connected != connected {
		t.Errorf("%s: %s sees %s in state %d, connected %v; want %d, %v", when, n.Name, of, got.Peer.State, got.Connected, want, connected)
	}
}

func TestAPartitionLongerThanMembershipsMemoryHeals(t *testing.T) {
	for _, length := range []time.Duration{40 * time.Second, 10 * time.Minute} {
		t.Run(length.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSky(t)
				var nodes []*meshtest.Node
				for i := range 4 {
					nodes = append(nodes, s.start(t, i, 10, nil))
				}
				time.Sleep(5 * time.Second)
				for _, a := range nodes {
					for _, b := range nodes {
						if a != b {
							expect(t, "at first", a, b.Name, mesh.Alive, true)
						}
					}
				}
				s.net.Partition([]string{s.addr(0), s.addr(1)}, []string{s.addr(2), s.addr(3)})
				time.Sleep(length)
				expect(t, "cut", nodes[0], "n1", mesh.Alive, true)
				expect(t, "cut", nodes[0], "n2", mesh.Dead, false)
				expect(t, "cut", nodes[3], "n1", mesh.Dead, false)
				s.net.Heal()
				time.Sleep(30 * time.Second) // the bound for any partition
				for _, a := range nodes {
					for _, b := range nodes {
						if a != b {
							expect(t, "healed", a, b.Name, mesh.Alive, true)
						}
					}
				}
			})
		})
	}
}

func TestACrashIsFoundWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSky(t)
		var nodes []*meshtest.Node
		for i := range 5 {
			nodes = append(nodes, s.start(t, i, 10, nil))
		}
		time.Sleep(5 * time.Second)
		s.Kill(nodes[2].Mesh)
		time.Sleep(6 * time.Second)
		for _, n := range nodes[:2] {
			expect(t, "6s after the crash", n, "n2", mesh.Dead, false)
		}
	})
}

func TestASuccessorElsewhereIsTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSky(t)
		a, b := s.start(t, 0, 10, nil), s.start(t, 1, 10, nil)
		time.Sleep(5 * time.Second)
		expect(t, "at first", a, "n1", mesh.Alive, true)
		s.Kill(b.Mesh)
		conn, err := s.net.Listen(netip.MustParseAddrPort("10.9.9.9:7946"))
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.config(t, "n1", 11, 11)
		cfg.Conn = conn
		again := (&meshtest.Node{Name: "n1"}).Start(t, s.open(t, cfg))
		time.Sleep(3 * time.Second) // one ping of the dead holder, and a hello
		expect(t, "after 3s", a, "n1", mesh.Alive, true)
		expect(t, "after 3s", again, "n0", mesh.Alive, true)
		if p := a.Peer("n1").Peer; p.Boot != 11 || p.Address != "10.9.9.9:7946" {
			t.Errorf("n0 sees n1 as %+v, want boot 11 at 10.9.9.9:7946", p)
		}
		time.Sleep(time.Minute)
		expect(t, "a minute later", a, "n1", mesh.Alive, true)
		if p := a.Peer("n1").Peer; p.Boot != 11 {
			t.Errorf("n0 sees n1 with boot %d again", p.Boot)
		}
	})
}

func TestSmallPacketsOnlyAndDelayMakeNoFalseDeath(t *testing.T) {
	// The simulated network loses every packet that an IPv6 path of 1,280
	// bytes would, and here it is slow and unsteady too.
	for _, c := range []struct {
		cluster string
		link    simnet.Link
	}{
		{"region/iad", simnet.Link{Delay: 20 * time.Millisecond, Jitter: 30 * time.Millisecond, Loss: 0.05}},
		{"global", simnet.Link{Delay: 150 * time.Millisecond, Jitter: 50 * time.Millisecond, Loss: 0.02}},
	} {
		t.Run(c.cluster, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSky(t)
				s.tuning = tuningOf(c.cluster)
				s.net.SetAll(c.link)
				got := make(chan int, 1)
				s.onFrame = func(_ mesh.Peer, _ mesh.Flow, f []byte) { got <- len(f) }
				var nodes []*meshtest.Node
				for i := range 3 {
					nodes = append(nodes, s.start(t, i, 10, nil))
				}
				time.Sleep(15 * time.Second)
				if err := nodes[0].Send("n1", mesh.Flow{Class: mesh.Sync}, make([]byte, 1<<20)); err != nil {
					t.Fatal(err)
				}
				for range 120 {
					time.Sleep(time.Second)
					for _, a := range nodes {
						for _, b := range nodes {
							if s := a.Peer(b.Name); a != b && s.Peer.State == mesh.Dead {
								t.Fatalf("%s took %s for dead", a.Name, b.Name)
							}
						}
					}
				}
				select {
				case n := <-got:
					if n != 1<<20 {
						t.Errorf("%d bytes arrived", n)
					}
				default:
					t.Error("a large frame did not arrive within two minutes")
				}
			})
		})
	}
}

func TestKnownPeersAreFoundWithoutSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSky(t)
		file := filepath.Join(t.TempDir(), "peers")
		keep := func(c *Config) { c.PeersFile = file }
		a, b := s.start(t, 0, 10, nil), s.start(t, 1, 10, keep)
		time.Sleep(5 * time.Second)
		expect(t, "at first", a, "n1", mesh.Alive, true)
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // its last packets are on their way
		expect(t, "stopped", a, "n1", mesh.Restarting, false)
		again := s.start(t, 1, 11, func(c *Config) { c.PeersFile, c.Seeds = file, []string{} })
		time.Sleep(3 * time.Second)
		expect(t, "restarted", again, "n0", mesh.Alive, true)
	})
}

func TestAnotherWriterIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSky(t)
		a, b := s.start(t, 0, 10, nil), s.start(t, 1, 10, nil)
		time.Sleep(5 * time.Second)
		b.Mesh.(*Mesh).SetWriter(12, 99)
		time.Sleep(time.Second)
		expect(t, "renewed", a, "n1", mesh.Alive, true)
		if p := a.Peer("n1").Peer; p.Boot != 12 || p.Bits != 99 {
			t.Errorf("n0 sees n1 as %+v, want writer 12, 99", p)
		}
	})
}

func TestADeniedNodeIsCutOffAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSky(t)
		deny := make(chan bool, 1)
		deny <- false
		a := s.start(t, 0, 10, func(c *Config) {
			c.Denied = func(n record.Node) bool { d := <-deny; deny <- d; return d && n == "n1" }
		})
		b, c := s.start(t, 1, 10, nil), s.start(t, 2, 10, nil)
		time.Sleep(5 * time.Second)
		expect(t, "at first", a, "n1", mesh.Alive, true)
		<-deny
		deny <- true
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if a.Peer("n1").Connected || b.Peer("n0").Connected {
			t.Error("a denied node is connected")
		}
		expect(t, "denied", a, "n2", mesh.Alive, true)
		expect(t, "denied by another", c, "n1", mesh.Alive, true)
		<-deny
		deny <- false
		time.Sleep(30 * time.Second)
		expect(t, "allowed again", a, "n1", mesh.Alive, true)
	})
}
