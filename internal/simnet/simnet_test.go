package simnet_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/simnet"
)

func TestEqualSeedsGiveEqualFatesWhateverOthersDo(t *testing.T) {
	a, b := simnet.New(7), simnet.New(7)
	link := simnet.Link{Delay: time.Millisecond, Jitter: time.Second, Loss: 0.3}
	a.SetAll(link)
	b.SetAll(link)
	lost := 0
	for i := range 1000 {
		b.Pass("x", "y") // traffic of another pair
		d1, ok1 := a.Pass("a", "b")
		d2, ok2 := b.Pass("a", "b")
		if d1 != d2 || ok1 != ok2 {
			t.Fatalf("packet %d: %v %v and %v %v", i, d1, ok1, d2, ok2)
		}
		if !ok1 {
			lost++
		}
	}
	if lost < 200 || lost > 400 {
		t.Errorf("%d of 1000 lost, want about 300", lost)
	}
}

func TestCutsAreOneWayAndPartitionsBoth(t *testing.T) {
	n := simnet.New(1)
	n.Cut("a", "b")
	if n.Open("a", "b") || !n.Open("b", "a") {
		t.Error("a cut from a to b must let b reach a and nothing else")
	}
	n.Heal()
	n.Partition([]string{"a"}, []string{"b", "c"})
	for _, p := range [][2]string{{"a", "b"}, {"b", "a"}, {"a", "z"}, {"z", "b"}} {
		if n.Open(p[0], p[1]) {
			t.Errorf("%s reaches %s over a partition", p[0], p[1])
		}
	}
	if !n.Open("b", "c") || !n.Open("z", "y") {
		t.Error("a partition cut within a group")
	}
	n.Heal()
	if !n.Open("a", "b") {
		t.Error("a healed partition still cuts")
	}
}

func TestPacketsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		n.SetAll(simnet.Link{Delay: 40 * time.Millisecond})
		a, b := listen(t, n, "10.0.0.1:1"), listen(t, n, "10.0.0.2:1")
		start := time.Now()
		if _, err := a.WriteTo([]byte("hi"), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		k, from, err := b.ReadFrom(buf)
		if err != nil || string(buf[:k]) != "hi" || from.String() != "10.0.0.1:1" {
			t.Errorf("read %q from %v, %v", buf[:k], from, err)
		}
		if d := time.Since(start); d != 40*time.Millisecond {
			t.Errorf("took %v", d)
		}
	})
}

func TestReadsEndByDeadlineAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		a := listen(t, n, "10.0.0.1:1")
		errs := make(chan error)
		read := func() { _, _, err := a.ReadFrom(make([]byte, 1)); errs <- err }
		go read()
		synctest.Wait()
		a.SetReadDeadline(time.Now().Add(time.Second))
		if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read under a deadline: %v", err)
		}
		a.SetReadDeadline(time.Time{})
		go read()
		synctest.Wait()
		a.Close()
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Errorf("read of a closed endpoint: %v", err)
		}
		listen(t, n, "10.0.0.1:1") // the address is free again
	})
}

func listen(t *testing.T, n *simnet.Network, addr string) *simnet.Conn {
	t.Helper()
	c, err := n.Listen(netip.MustParseAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
