package link

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// pair returns two UDP ports of nodes a and b.
func pair(t *testing.T, l *Links) (a, b net.PacketConn) {
	t.Helper()
	open := func(n Node) net.PacketConn {
		p := l.Open(n)
		c, err := p.ListenPacket("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		l.Name(c.LocalAddr().String(), n)
		return c
	}
	return open("a"), open("b")
}

func send(t *testing.T, from, to net.PacketConn, b ...byte) {
	t.Helper()
	if n, err := from.WriteTo(b, to.LocalAddr()); n != len(b) || err != nil {
		t.Fatalf("WriteTo = %d, %v", n, err)
	}
}

// arrivals reads until the packet 255 comes.
func arrivals(t *testing.T, c net.PacketConn) []byte {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var out []byte
	buf := make([]byte, 10)
	for {
		if _, _, err := c.ReadFrom(buf); err != nil {
			t.Fatal(err)
		}
		if buf[0] == 255 {
			return out
		}
		out = append(out, buf[0])
	}
}

// worse and mend change the links and wait until all go by it.
func worse(t *testing.T, l *Links, q Quality, nodes ...Node) {
	t.Helper()
	if err := l.Add(t.Context(), Rule{Nodes: nodes, Quality: q}); err != nil {
		t.Fatal(err)
	}
}

func mend(t *testing.T, l *Links) {
	t.Helper()
	if err := l.Mend(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestTheSameSeedLosesTheSamePackets(t *testing.T) {
	run := func(seed uint64) string {
		l := New(Config{Seed: seed})
		a, b := pair(t, l)
		worse(t, l, Quality{Loss: 0.3}, "a", "b")
		for i := range byte(100) {
			send(t, a, b, i)
		}
		dropped := int(a.(*packets).port.Dropped())
		mend(t, l)
		send(t, a, b, 255)
		got := arrivals(t, b)
		if dropped != 100-len(got) || dropped < 10 || dropped > 60 {
			t.Errorf("dropped %d of 100, %d arrived", dropped, len(got))
		}
		return string(got)
	}
	if first := run(7); first != run(7) {
		t.Error("two runs of one seed lost different packets")
	} else if first == run(8) {
		t.Error("another seed lost the same packets")
	}
}

func TestDelayedPacketsComeLateAndInOrder(t *testing.T) {
	const delay = 60 * time.Millisecond
	l := New(Config{Quality: func(from, to Node) Quality {
		if from == "a" {
			return Quality{Delay: delay}
		}
		return Quality{}
	}})
	a, b := pair(t, l)
	start := time.Now()
	for i := range byte(50) {
		send(t, a, b, i)
	}
	send(t, a, b, 255)
	got := arrivals(t, b)
	if took := time.Since(start); took < delay {
		t.Errorf("they took %v", took)
	}
	for i, x := range got {
		if int(x) != i {
			t.Fatalf("out of order: %v", got)
		}
	}
}

func TestACutLosesPacketsOneWayUntilItIsMended(t *testing.T) {
	cut := atomic.Bool{}
	cut.Store(true)
	l := New(Config{Quality: func(from, to Node) Quality { return Quality{Cut: cut.Load() && from == "a"} }})
	a, b := pair(t, l)
	send(t, a, b, 1)
	send(t, b, a, 2)
	send(t, b, a, 255)
	if got := arrivals(t, a); string(got) != "\x02" {
		t.Errorf("the other way brought %v", got)
	}
	cut.Store(false)
	mend(t, l)
	send(t, a, b, 3)
	send(t, a, b, 255)
	if got := arrivals(t, b); string(got) != "\x03" {
		t.Errorf("got %v", got)
	}
}

// connect returns the two ends of a connection from a to b.
func connect(t *testing.T, l *Links) (client, server net.Conn, b *Port) {
	t.Helper()
	b = l.Open("b")
	lis, err := b.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Name(lis.Addr().String(), "b")
	l.Name("a:1", "a")
	a := l.Open("a")
	t.Cleanup(func() { a.Close(); b.Close() })
	if client, err = a.Dial(t.Context(), lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server, b
}

func read(t *testing.T, c net.Conn, n int, within time.Duration) (string, error) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	n, err := io.ReadFull(c, b)
	return string(b[:n]), err
}

func TestBothEndsOfAConnectionAreDelayedAndKeepTheirOrder(t *testing.T) {
	const delay = 50 * time.Millisecond
	l := New(Config{Quality: func(Node, Node) Quality { return Quality{Delay: delay, Loss: 0.2} }})
	client, server, _ := connect(t, l)
	for _, ends := range [][2]net.Conn{{client, server}, {server, client}} {
		start := time.Now()
		for _, word := range []string{"in ", "the ", "order ", "given"} {
			if _, err := io.WriteString(ends[0], word); err != nil {
				t.Fatal(err)
			}
		}
		got, err := read(t, ends[1], 18, 10*time.Second)
		if got != "in the order given" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if took := time.Since(start); took < delay {
			t.Errorf("it took %v", took)
		}
	}
}

func TestACutHoldsTheBytesOfConnectionsUntilItIsMended(t *testing.T) {
	l := New(Config{})
	client, server, _ := connect(t, l)
	worse(t, l, Quality{Cut: true}, "a", "b")
	if _, err := io.WriteString(client, "held"); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, server, 4, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a cut let %q through: %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	c := l.Open("c")
	defer c.Close()
	if _, err := c.Dial(ctx, server.LocalAddr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial over a cut: %v", err)
	}
	mend(t, l)
	if got, err := read(t, server, 4, 10*time.Second); got != "held" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRulesTellWhatIsInsideFromWhatCrosses(t *testing.T) {
	for _, c := range []struct {
		across   bool
		from, to Node
		want     bool
	}{
		{false, "a", "b", true}, {false, "a", "x", true}, {false, "x", "a", true}, {false, "x", "y", false},
		{true, "a", "b", false}, {true, "a", "x", true}, {true, "x", "b", true}, {true, "x", "y", false},
	} {
		if got := (Rule{Nodes: []Node{"a", "b"}, Across: c.across}).Holds(c.from, c.to); got != c.want {
			t.Errorf("across %v, %s to %s: %v", c.across, c.from, c.to, got)
		}
	}
}

func TestAKilledNodeSendsNothingMore(t *testing.T) {
	l := New(Config{})
	client, server, b := connect(t, l)
	b.Kill()
	if _, err := server.Write([]byte("farewell")); err == nil {
		t.Error("a killed node wrote")
	}
	if got, err := read(t, client, 1, 10*time.Second); err == nil {
		t.Errorf("its peer read %q", got)
	}
	if _, err := b.Listen("127.0.0.1:0"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a killed node listens: %v", err)
	}
}

func TestMapsAreRead(t *testing.T) {
	m, err := ParseMap(strings.NewReader("# near\niad ams 40ms\n\niad * 70ms 5%\n"), []Site{"iad", "ams", "nrt"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, to Site
		want     Quality
	}{
		{"ams", "iad", Quality{Delay: 40 * time.Millisecond}},
		{"nrt", "iad", Quality{Delay: 70 * time.Millisecond, Loss: 0.05}},
		{"ams", "nrt", Quality{}},
	} {
		if got := m(c.from, c.to); got != c.want {
			t.Errorf("%s to %s: %+v, want %+v", c.from, c.to, got, c.want)
		}
	}
	_, err = ParseMap(strings.NewReader("iad ams\niad lhr 5s\n* * 1h 101%\n"), []Site{"iad", "ams"})
	for _, want := range []string{"line 1: want SITE", `line 2: there is no site "lhr"`, `line 3: delay "1h"`, `loss "101%"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestTheWideAreaIsSymmetricAndSlowerThanASite(t *testing.T) {
	sites := []Site{"a", "b", "c", "d", "e"}
	m := WAN(sites)
	for _, x := range sites {
		for _, y := range sites {
			q := m(x, y)
			if q != m(y, x) || (x == y) != (q.Delay == withinSite) || q.Delay > farthest {
				t.Errorf("%s to %s: %+v", x, y, q)
			}
		}
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add("iad ams 40ms 1%\n* * 1ms")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMap(strings.NewReader(text), []Site{"iad", "ams"})
		if err != nil {
			return
		}
		if q := m("iad", "ams"); q.Delay < 0 || q.Delay > MaxDelay || q.Loss < 0 || q.Loss > 1 {
			t.Errorf("%q: %+v", text, q)
		}
	})
}
