package memory_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/mesh/memory"
	"github.com/firebreak-dev/firebreak/internal/mesh/meshtest"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/simnet"
)

type cluster struct{ net *memory.Network }

func (c cluster) Open(_ *testing.T, node record.Node, boot, bits uint64) mesh.Mesh {
	return c.net.Join(mesh.Peer{Node: node, Boot: boot, Bits: bits, Address: string(node) + ":1"})
}

func (c cluster) Kill(m mesh.Mesh) { m.(*memory.Mesh).Kill() }

func TestConformance(t *testing.T) {
	meshtest.Run(t, func(*testing.T) meshtest.Cluster { return cluster{memory.NewNetwork(1)} })
}

// start runs a node inside the current bubble.
func start(t *testing.T, net *memory.Network, n *meshtest.Node, boot uint64) *meshtest.Node {
	t.Helper()
	return n.Start(t, net.Join(mesh.Peer{Node: n.Name, Boot: boot, Bits: 1}))
}

func TestAPartitionIsSuspectedThenDeadThenHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memory.NewNetwork(1)
		a := start(t, net, &meshtest.Node{Name: "a"}, 10)
		b := start(t, net, &meshtest.Node{Name: "b"}, 20)
		time.Sleep(time.Second)
		check := func(when string, want mesh.State, connected bool) {
			t.Helper()
			synctest.Wait()
			if got := a.Peer("b"); got.Peer.State != want || got.Connected != connected {
				t.Errorf("%s: a sees b in state %d, connected %v; want %d, %v", when, got.Peer.State, got.Connected, want, connected)
			}
		}
		check("before", mesh.Alive, true)
		net.Partition([]string{"a"}, []string{"b"})
		time.Sleep(time.Second)
		check("after 1s", mesh.Suspected, true)
		time.Sleep(2 * time.Second)
		check("after 3s", mesh.Dead, false)
		net.Heal()
		time.Sleep(time.Second)
		check("healed", mesh.Alive, true)
		_ = b
	})
}

func TestLossLosesFramesAndKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memory.NewNetwork(3)
		var got []byte
		a := start(t, net, &meshtest.Node{Name: "a"}, 10)
		start(t, net, &meshtest.Node{Name: "b", OnFrame: func(_ mesh.Peer, _ mesh.Flow, f []byte) { got = append(got, f...) }}, 20)
		time.Sleep(time.Second)
		net.SetAll(simnet.Link{Delay: 10 * time.Millisecond, Jitter: 50 * time.Millisecond, Loss: 0.2})
		for i := range byte(200) {
			if err := a.Send("b", mesh.Flow{Class: mesh.Push}, []byte{i}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(got) < 120 || len(got) > 190 {
			t.Errorf("%d of 200 frames arrived, want about 160", len(got))
		}
		if !bytes.Equal(got, sorted(got)) {
			t.Errorf("out of order: %v", got)
		}
		if p := a.Peer("b").Peer; p.State != mesh.Alive {
			t.Errorf("20%% loss made b %d", p.State)
		}
	})
}

func sorted(b []byte) []byte {
	out := bytes.Clone(b)
	for i := 1; i < len(out); i++ {
		for j := i; j > 0 && out[j] < out[j-1]; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

func TestAnotherWriterIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memory.NewNetwork(1)
		a := start(t, net, &meshtest.Node{Name: "a"}, 10)
		b := start(t, net, &meshtest.Node{Name: "b"}, 20)
		time.Sleep(time.Second)
		b.Mesh.(*memory.Mesh).SetWriter(21, 9)
		time.Sleep(time.Second)
		synctest.Wait()
		if p := a.Peer("b"); p.Peer.Boot != 21 || p.Peer.Bits != 9 || !p.Connected {
			t.Errorf("a sees b as %+v", p)
		}
	})
}

func TestOneProcessPerName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memory.NewNetwork(1)
		start(t, net, &meshtest.Node{Name: "a"}, 10)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := net.Join(mesh.Peer{Node: "a", Boot: 11}).Run(ctx, &meshtest.Node{}); err == nil {
			t.Error("a second process took the name")
		}
	})
}
