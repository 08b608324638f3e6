package meshtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/mesh"
)

func framesArriveInOrder(t *testing.T, c Cluster) {
	flows := []mesh.Flow{{Class: mesh.Push}, {Class: mesh.Sync}, {Lane: "iad", Class: mesh.Push}}
	const each = 500
	got := make(map[mesh.Flow]chan uint64)
	for _, f := range flows {
		got[f] = make(chan uint64, each)
	}
	a, b := &Node{}, &Node{OnFrame: func(_ mesh.Peer, f mesh.Flow, frame []byte) { got[f] <- binary.BigEndian.Uint64(frame) }}
	pair(t, c, a, b)
	for i := range uint64(each) {
		for _, f := range flows {
			send(t, a, "b", f, binary.BigEndian.AppendUint64(nil, i))
		}
	}
	for _, f := range flows {
		for i := range uint64(each) {
			if n := recv(t, got[f]); n != i {
				t.Fatalf("flow %v: frame %d came as number %d", f, n, i)
			}
		}
	}
}

func framesCarrySender(t *testing.T, c Cluster) {
	from := make(chan mesh.Peer, 1)
	a, b := &Node{}, &Node{OnFrame: func(p mesh.Peer, _ mesh.Flow, _ []byte) { from <- p }}
	pair(t, c, a, b)
	send(t, a, "b", mesh.Flow{Class: mesh.Push}, []byte("x"))
	if p := recv(t, from); p.Node != "a" || p.Boot != 10 || p.Bits != 1 || p.State != mesh.Alive {
		t.Errorf("frame from %+v, want a, boot 10, bits 1, alive", p)
	}
}

func largeFramesArrive(t *testing.T, c Cluster) {
	got := make(chan []byte, 8)
	a, b := &Node{}, &Node{OnFrame: func(_ mesh.Peer, _ mesh.Flow, frame []byte) { got <- frame }}
	pair(t, c, a, b)
	for _, size := range []int{0, 1, mesh.MaxInline, mesh.MaxInline + 1, mesh.MaxFrame} {
		want := bytes.Repeat([]byte{byte(size % 251)}, size)
		send(t, a, "b", mesh.Flow{Class: mesh.Sync}, want)
		if frame := recv(t, got); !bytes.Equal(frame, want) {
			t.Errorf("a frame of %d bytes came as %d bytes", size, len(frame))
		}
	}
}

func refusedSends(t *testing.T, c Cluster) {
	a, b := &Node{}, &Node{}
	pair(t, c, a, b)
	if err := a.Send("nobody", mesh.Flow{Class: mesh.Push}, nil); !errors.Is(err, mesh.ErrNoPeer) {
		t.Errorf("send to an unknown node: %v, want ErrNoPeer", err)
	}
	if _, err := a.Ask(t.Context(), "nobody", nil); !errors.Is(err, mesh.ErrNoPeer) {
		t.Errorf("ask an unknown node: %v, want ErrNoPeer", err)
	}
	if err := a.Send("b", mesh.Flow{Class: mesh.Push}, make([]byte, mesh.MaxFrame+1)); err == nil {
		t.Error("a frame over MaxFrame was taken")
	}
	if err := a.Send("b", mesh.Flow{Class: 99}, nil); err == nil {
		t.Error("a frame of an unknown class was taken")
	}
	if _, err := a.Ask(t.Context(), "b", make([]byte, mesh.MaxFrame+1)); err == nil {
		t.Error("a question over MaxFrame was taken")
	}
}

func sendNeverWaits(t *testing.T, c Cluster) {
	release := make(chan struct{})
	var got atomic.Int64
	a, b := &Node{}, &Node{OnFrame: func(mesh.Peer, mesh.Flow, []byte) { <-release; got.Add(1) }}
	pair(t, c, a, b)
	frame := make([]byte, 32<<10)
	var taken int64
	for {
		err := a.Send("b", mesh.Flow{Class: mesh.Push}, frame)
		if errors.Is(err, mesh.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if taken++; taken > 1<<20 {
			t.Fatal("a queue without bound")
		}
	}
	close(release)
	Until(t, "every frame that was taken arrives", func() bool { return got.Load() == taken })
}

func slowFlowAlone(t *testing.T, c Cluster) {
	release := make(chan struct{})
	got := make(chan mesh.Flow, 4)
	slow := mesh.Flow{Lane: "iad", Class: mesh.Push}
	a := &Node{}
	b := &Node{OnFrame: func(_ mesh.Peer, f mesh.Flow, _ []byte) {
		if f == slow {
			<-release
		}
		got <- f
	}}
	pair(t, c, a, b)
	for _, f := range []mesh.Flow{slow, {Lane: "iad", Class: mesh.Sync}, {Lane: "ams", Class: mesh.Push}} {
		send(t, a, "b", f, []byte("x"))
	}
	for range 2 {
		if f := recv(t, got); f == slow {
			t.Error("the blocked flow came first")
		}
	}
	close(release)
	if f := recv(t, got); f != slow {
		t.Errorf("flow %v came twice", f)
	}
}

func answersComeBack(t *testing.T, c Cluster) {
	a := &Node{}
	b := &Node{OnAnswer: func(_ context.Context, from mesh.Peer, q []byte) ([]byte, error) {
		if string(q) == "fail" {
			return nil, errors.New("no such thing")
		}
		return append([]byte(from.Node+" asked "), q...), nil
	}}
	pair(t, c, a, b)
	if got, err := a.Ask(t.Context(), "b", []byte("why")); err != nil || string(got) != "a asked why" {
		t.Errorf("answer %q, %v", got, err)
	}
	if _, err := a.Ask(t.Context(), "b", []byte("fail")); err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("the peer's error came as %v", err)
	}
	long := bytes.Repeat([]byte("q"), mesh.MaxFrame-16)
	if got, err := a.Ask(t.Context(), "b", long); err != nil || len(got) != len("a asked ")+len(long) {
		t.Errorf("a long answer came as %d bytes, %v", len(got), err)
	}
	errs := make(chan error)
	for i := range 40 {
		go func() {
			q := fmt.Append(nil, i)
			got, err := a.Ask(t.Context(), "b", q)
			if err == nil && string(got) != "a asked "+string(q) {
				err = fmt.Errorf("answer %q to %q", got, q)
			}
			errs <- err
		}()
	}
	for range 40 {
		if err := recv(t, errs); err != nil && !strings.Contains(err.Error(), "busy") {
			t.Error(err)
		}
	}
}

func askEnds(t *testing.T, c Cluster) {
	ended := make(chan struct{})
	a := &Node{}
	b := &Node{OnAnswer: func(ctx context.Context, _ mesh.Peer, _ []byte) ([]byte, error) {
		<-ctx.Done() // the asker's patience reaches the answerer
		close(ended)
		return nil, ctx.Err()
	}}
	pair(t, c, a, b)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Ask(ctx, "b", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ask under a deadline: %v", err)
	}
	recv(t, ended)
}

func toldBeforeFrames(t *testing.T, c Cluster) {
	a, b := &Node{Name: "a"}, &Node{Name: "b"}
	b.OnFrame = func(mesh.Peer, mesh.Flow, []byte) {}
	ma, mb := c.Open(t, "a", 10, 1), c.Open(t, "b", 20, 2)
	a.Start(t, ma)
	b.Start(t, mb)
	Until(t, "a can send to b", func() bool { return ma.Send("b", mesh.Flow{Class: mesh.Push}, []byte("x")) == nil })
	Meet(t, a, b)
	if got := b.Complaints(); len(got) > 0 {
		t.Error(got)
	}
	peers := a.Peers()
	if len(peers) != 1 || peers[0].Node != "b" || peers[0].Boot != 20 || peers[0].State != mesh.Alive {
		t.Errorf("a's peers are %+v, want b alive with boot 20", peers)
	}
}

func farewells(t *testing.T, c Cluster) {
	a, b, d := &Node{Name: "a"}, &Node{Name: "b"}, &Node{Name: "d"}
	a.Start(t, c.Open(t, "a", 10, 1))
	b.Start(t, c.Open(t, "b", 20, 2))
	d.Start(t, c.Open(t, "d", 30, 3))
	Meet(t, a, b, d)
	d.Leave(mesh.Draining)
	for _, n := range []*Node{b, d} {
		start := time.Now()
		if err := n.Stop(); err != nil {
			t.Errorf("end of %s: %v", n.Name, err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%s took %v to leave", n.Name, took)
		}
	}
	for name, want := range map[*Node]mesh.State{b: mesh.Restarting, d: mesh.Draining} {
		Until(t, fmt.Sprintf("%s is seen as %d", name.Name, want), func() bool {
			s := a.Peer(name.Name)
			return s.Peer.State == want && !s.Connected
		})
	}
	again := (&Node{Name: "b"}).Start(t, c.Open(t, "b", 21, 4))
	Meet(t, a, again)
	if p := a.Peer("b").Peer; p.Boot != 21 {
		t.Errorf("b came back with boot %d, want 21", p.Boot)
	}
}

func killed(t *testing.T, c Cluster) {
	a, b, d := &Node{Name: "a"}, &Node{Name: "b"}, &Node{Name: "d"}
	a.Start(t, c.Open(t, "a", 10, 1))
	b.Start(t, c.Open(t, "b", 20, 2))
	d.Start(t, c.Open(t, "d", 30, 3))
	Meet(t, a, b, d)
	c.Kill(b.Mesh)
	for _, n := range []*Node{a, d} {
		Until(t, fmt.Sprintf("%s finds b dead", n.Name), func() bool {
			s := n.Peer("b")
			return s.Peer.State == mesh.Dead && !s.Connected
		})
	}
	if err := a.Send("b", mesh.Flow{Class: mesh.Push}, nil); !errors.Is(err, mesh.ErrNoPeer) {
		t.Errorf("send to a dead node: %v, want ErrNoPeer", err)
	}
	again := (&Node{Name: "b"}).Start(t, c.Open(t, "b", 21, 4))
	Meet(t, a, d, again)
	for _, n := range []*Node{a, d} {
		if p := n.Peer("b").Peer; p.Boot != 21 || p.Bits != 4 {
			t.Errorf("%s sees b as %+v, want boot 21", n.Name, p)
		}
	}
}

func runEnds(t *testing.T, c Cluster) {
	a, b := &Node{}, &Node{}
	pair(t, c, a, b)
	for _, n := range []*Node{a, b} {
		if err := n.Stop(); err != nil {
			t.Errorf("Run of %s: %v, want nil when asked to stop", n.Name, err)
		}
	}
	if err := a.Send("b", mesh.Flow{Class: mesh.Push}, nil); err == nil {
		t.Error("a frame was taken after Run")
	}
}

func recv[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatalf("nothing came within %v", patience)
		panic("unreachable")
	}
}
