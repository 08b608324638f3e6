package quic

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/mesh/meshtest"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	"google.golang.org/protobuf/proto"
)

// lines is a log that can be searched while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// has reports whether one line holds all of words.
func (l *lines) has(words ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
line:
	for s := range strings.Lines(l.buf.String()) {
		for _, w := range words {
			if !strings.Contains(s, w) {
				continue line
			}
		}
		return true
	}
	return false
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func waitLine(t *testing.T, log *lines, words ...string) {
	t.Helper()
	meshtest.Until(t, fmt.Sprintf("a log line says %q", words), func() bool { return log.has(words...) })
}

// node opens and runs one node of the lab.
func (l *lab) node(t *testing.T, cfg Config) *meshtest.Node {
	t.Helper()
	return (&meshtest.Node{Name: cfg.Node}).Start(t, l.open(t, cfg))
}

func TestStrangersAreRefusedInTheHandshakeAndNamed(t *testing.T) {
	l := newLab(t)
	log := &lines{}
	l.log = log
	victim := l.node(t, l.config(t, "w0", 10, 1))
	addr := victim.Mesh.(*Mesh).self.Load().address
	other, err := identity.NewAuthority("acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, c := range []struct {
		name  string
		ca    *identity.Authority // nil: no certificate
		id    identity.ID
		until time.Duration
		want  string
	}{
		{"none", nil, identity.ID{}, 0, "reason=none"},
		{"other authority", other, identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w1"}, time.Hour, "spiffe://acme/region/iad/node/w1"},
		{"other region", l.ca, identity.ID{Fleet: "acme", Role: identity.Node, Region: "ams", Name: "w2"}, time.Hour, "spiffe://acme/region/ams/node/w2"},
		{"other level", l.ca, identity.ID{Fleet: "acme", Role: identity.Global, Name: "g1"}, time.Hour, "spiffe://acme/global/node/g1"},
		{"other role", l.ca, identity.ID{Fleet: "acme", Role: identity.Client, Name: "c1"}, time.Hour, "spiffe://acme/client/c1"},
		{"expired", l.ca, identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w3"}, -time.Hour, "reason=time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS13}
			if c.ca != nil {
				cert, key, err := c.ca.IssueBetween(c.id, nil, now.Add(-2*time.Hour), now.Add(c.until))
				if err != nil {
					t.Fatal(err)
				}
				pair, err := tls.X509KeyPair(cert, key)
				if err != nil {
					t.Fatal(err)
				}
				conf.Certificates = []tls.Certificate{pair}
			}
			if err := knock(t, addr.String(), conf, nil); !isCrypto(err) {
				t.Errorf("the stranger saw %v, want a refused handshake", err)
			}
			waitLine(t, log, "refused in the handshake", "peer=127.0.0.1:", c.want)
		})
	}
	if peers := victim.Peers(); len(peers) != 0 {
		t.Errorf("strangers became peers: %+v", peers)
	}
}

// knock dials, says first if it is not nil, and waits for the end.
func knock(t *testing.T, addr string, conf *tls.Config, first []byte) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := quicgo.DialAddr(ctx, addr, conf, &quicgo.Config{EnableDatagrams: true, InitialPacketSize: 1200})
	if err != nil {
		return err
	}
	defer conn.CloseWithError(0, "")
	if first != nil {
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		if _, err := s.Write(first); err != nil {
			return err
		}
	}
	select {
	case <-conn.Context().Done():
		return context.Cause(conn.Context())
	case <-ctx.Done():
		return ctx.Err()
	}
}

func isCrypto(err error) bool {
	e, ok := errors.AsType[*quicgo.TransportError](err)
	return ok && e.ErrorCode >= 0x100 && e.ErrorCode < 0x200
}

func TestHellosThatDoNotAgreeAreRefusedByCode(t *testing.T) {
	l := newLab(t)
	log := &lines{}
	l.log = log
	victim := l.node(t, l.config(t, "w0", 10, 1))
	addr := victim.Mesh.(*Mesh).Addr()
	w1 := l.source(t, identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w1"})
	hello := func(change func(h *clusterv1.Hello)) []byte {
		h := &clusterv1.Hello{
			Fleet: "acme", Cluster: "region/iad", Generation: &clusterv1.Generation{Number: 1, Bits: 7},
			Node: "w1", Boot: 5, Bits: 5, ProtocolMin: 1, ProtocolMax: 1, Address: "127.0.0.1:9",
		}
		change(h)
		b, err := proto.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		return append([]byte{kindControl}, appendFrame(nil, append([]byte{controlHello}, b...))...)
	}
	for _, c := range []struct {
		name  string
		first []byte
		code  quicgo.ApplicationErrorCode
		want  string
	}{
		{"fleet", hello(func(h *clusterv1.Hello) { h.Fleet = "emca" }), closeFleet, "emca"},
		{"cluster", hello(func(h *clusterv1.Hello) { h.Cluster = "region/ams" }), closeCluster, "region/ams"},
		{"generation", hello(func(h *clusterv1.Hello) { h.Generation.Number = 2 }), closeGeneration, "2-0000000000000007"},
		{"no generation", hello(func(h *clusterv1.Hello) { h.Generation = nil }), closeGeneration, "0-0000000000000000"},
		{"protocol", hello(func(h *clusterv1.Hello) { h.ProtocolMin, h.ProtocolMax = 2, 3 }), closeProtocol, "protocol 2 to 3"},
		{"name", hello(func(h *clusterv1.Hello) { h.Node = "w2" }), closeName, "w2"},
		{"boot", hello(func(h *clusterv1.Hello) { h.Boot = 0 }), closeMalformed, "boot is zero"},
		{"address", hello(func(h *clusterv1.Hello) { h.Address = "host:1" }), closeMalformed, "no IP literal"},
		{"first stream", []byte{kindAsk}, closeMalformed, "kind 0x2"},
		{"first frame", append([]byte{kindControl}, appendFrame(nil, []byte{controlLeaving, 4})...), closeMalformed, "no hello"},
		{"long hello", append([]byte{kindControl}, appendLength(nil, maxControl+1)...), closeMalformed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			anyone := func(identity.ID) error { return nil }
			err := knock(t, addr, w1.Client(anyone, alpn), c.first)
			app, ok := errors.AsType[*quicgo.ApplicationError](err)
			if !ok || !app.Remote || app.ErrorCode != c.code {
				t.Fatalf("the peer saw %v, want code %#x", err, c.code)
			}
			if !strings.Contains(app.ErrorMessage, c.want) {
				t.Errorf("the peer was told %q, want %q", app.ErrorMessage, c.want)
			}
			if c.want != "" {
				waitLine(t, log, "refused", c.want)
			}
		})
	}
	if peers := victim.Peers(); len(peers) != 0 {
		t.Errorf("the refused became peers: %+v", peers)
	}
}

func TestClustersNeverMergeThroughASeedOfAnother(t *testing.T) {
	l := newLab(t)
	log := &lines{}
	l.log = log
	a := l.node(t, l.config(t, "w0", 10, 1))
	ams := l.config(t, "x0", 10, 1)
	ams.Identity = l.source(t, identity.ID{Fleet: "acme", Role: identity.Node, Region: "ams", Name: "x0"})
	ams.Cluster = "region/ams"
	ams.Seeds = []string{a.Mesh.(*Mesh).Addr()}
	x := l.node(t, ams)
	waitLine(t, log, "node=x0", "refused", "spiffe://acme/region/iad/node/w0", "region/ams")
	waitLine(t, log, "node=w0", "refused", "spiffe://acme/region/ams/node/x0") // the seed names it too

	reseeded := l.config(t, "w1", 10, 2)
	reseeded.Generation = Generation{2, 8}
	reseeded.Seeds = ams.Seeds
	g := l.node(t, reseeded)
	waitLine(t, log, "node=w1", "refused", "by_peer=true", "generation 2-0000000000000008, not 1-0000000000000007")
	waitLine(t, log, "node=w0", "refused", "by_peer=false", "generation 2-0000000000000008")
	ca, err := identity.NewAuthority("emca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign := l.config(t, "w2", 10, 1)
	foreign.Fleet, foreign.Seeds = "emca", ams.Seeds
	l.ca = ca
	foreign.Identity = l.source(t, identity.ID{Fleet: "emca", Role: identity.Node, Region: "iad", Name: "w2"})
	o := l.node(t, foreign)
	waitLine(t, log, "level=WARN", "node=w2", "refused", "spiffe://acme/region/iad/node/w0", "not of our authority")
	for _, n := range []*meshtest.Node{a, x, g, o} {
		if peers := n.Peers(); len(peers) != 0 {
			t.Errorf("%s has peers %+v", n.Name, peers)
		}
	}
}

func TestASecondProcessOfANameEndsByName(t *testing.T) {
	l := newLab(t)
	a, b := l.node(t, l.config(t, "w0", 10, 1)), l.node(t, l.config(t, "w1", 10, 2))
	meshtest.Meet(t, a, b)
	holder := b.Mesh.(*Mesh).Addr()
	for _, seeds := range [][]string{{a.Mesh.(*Mesh).Addr()}, {holder}} {
		cfg := l.config(t, "w1", 11, 3)
		cfg.Seeds = seeds
		second := l.node(t, cfg)
		select {
		case <-second.Done():
		case <-time.After(15 * time.Second):
			t.Fatal("the second process goes on")
		}
		err := second.Stop()
		if dup, ok := errors.AsType[*DuplicateNameError](err); !ok || dup.Node != "w1" || !strings.Contains(err.Error(), "node name w1 is in use by "+holder) {
			t.Errorf("it ended with %v, want the name and %s", err, holder)
		}
	}
	if p := a.Peer("w1"); p.Peer.Boot != 10 || !p.Connected {
		t.Errorf("the holder is seen as %+v, want it undisturbed", p)
	}
}

func TestASeedThatIsTheNodeItselfIsSkipped(t *testing.T) {
	l := newLab(t)
	log := &lines{}
	l.log = log
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4zero})
	if err != nil {
		t.Fatal(err)
	}
	cfg := l.config(t, "w0", 10, 1)
	cfg.Conn, cfg.Advertise = socket, fmt.Sprintf("127.0.0.1:%d", socket.LocalAddr().(*net.UDPAddr).Port)
	cfg.Seeds = []string{cfg.Advertise, strings.Replace(cfg.Advertise, "127.0.0.1", "127.0.0.2", 1)} // an alias of itself
	n := l.node(t, cfg)
	waitLine(t, log, "this node itself", cfg.Advertise)
	waitLine(t, log, "this node itself", "127.0.0.2")
	waitLine(t, log, "no seed or known peer could be joined yet")
	if err := n.Stop(); err != nil || len(n.Peers()) != 0 {
		t.Errorf("peers %+v, end %v", n.Peers(), err)
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	l := newLab(t)
	m := l.open(t, l.config(t, "w0", 10, 1))
	cfg := l.config(t, "w1", 10, 2)
	cfg.Bind = m.Addr()
	if _, err := Listen(cfg); err == nil || !strings.Contains(err.Error(), m.Addr()) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Listen on a taken port: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Listen(cfg)
	if err != nil {
		t.Fatalf("the port is not free after Close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestConfigThatDoesNotFitItsCertificateIsRefused(t *testing.T) {
	l := newLab(t)
	for name, change := range map[string]func(*Config){
		"fleet":     func(c *Config) { c.Fleet = "emca" },
		"cluster":   func(c *Config) { c.Cluster = "region/ams" },
		"node":      func(c *Config) { c.Node = "w9" },
		"boot":      func(c *Config) { c.Boot = 0 },
		"locality":  func(c *Config) { c.Locality = "US EAST" },
		"gateway":   func(c *Config) { c.Gateway = strings.Repeat("g", maxHostPort+1) },
		"advertise": func(c *Config) { c.Bind = "0.0.0.0:0" },
	} {
		cfg := l.config(t, "w0", 10, 1)
		cfg.Bind = "127.0.0.1:0"
		change(&cfg)
		if m, err := Listen(cfg); err == nil {
			t.Errorf("%s: taken", name)
			m.Close()
		}
	}
}

func TestUnknownThingsAreSkippedAndCounted(t *testing.T) {
	l := newLab(t)
	got := make(chan string, 1)
	cfg := l.config(t, "w0", 10, 1)
	m := l.open(t, cfg)
	(&meshtest.Node{Name: "w0", OnFrame: func(_ mesh.Peer, _ mesh.Flow, f []byte) { got <- string(f) }}).Start(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w1 := l.source(t, identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w1"})
	anyone := func(identity.ID) error { return nil }
	conn, err := quicgo.DialAddr(ctx, m.Addr(), w1.Client(anyone, alpn), &quicgo.Config{EnableDatagrams: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseWithError(0, "")
	say := func(b []byte) {
		t.Helper()
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	hello := encodeHello(m.cluster, info{node: "w1", writer: writer{5, 5}, address: m.self.Load().address})
	hello = append(hello, 0xfa, 0x01, 0x01, 'x') // field 31, of a later version
	first := append([]byte{kindControl}, appendFrame(nil, append([]byte{controlHello}, hello...))...)
	say(append(first, appendFrame(nil, []byte{77, 1, 2, 3})...)) // and a control frame of a later version
	say([]byte{0x7f, 1, 2, 3})                                   // a stream of a later version
	u, err := conn.OpenUniStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write([]byte{0x6f}); err != nil {
		t.Fatal(err)
	}
	u, err = conn.OpenUniStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(appendFrame(appendPreface(nil, kindFlow, mesh.Flow{Class: mesh.Push}), []byte("still here"))); err != nil {
		t.Fatal(err)
	}
	select {
	case f := <-got:
		if f != "still here" {
			t.Errorf("frame %q", f)
		}
	case <-ctx.Done():
		t.Fatal("no frame came after the unknown things")
	}
	if u, err = conn.OpenUniStreamSync(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write([]byte{kindFlow, 99, 0}); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]float64{"field": 1, "control": 1, "stream": 2, "class": 1} {
		meshtest.Until(t, what+" is counted", func() bool {
			return testutil.ToFloat64(m.metrics.unknown.WithLabelValues(what)) == want
		})
	}
	// What is known and wrong is another matter.
	if u, err = conn.OpenUniStreamSync(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(appendLength(appendPreface(nil, kindFlow, mesh.Flow{Class: mesh.Push}), mesh.MaxFrame+1)); err != nil {
		t.Fatal(err)
	}
	<-conn.Context().Done()
	if app, ok := errors.AsType[*quicgo.ApplicationError](context.Cause(conn.Context())); !ok || app.ErrorCode != closeMalformed {
		t.Errorf("a frame over the limit ended the connection with %v", context.Cause(conn.Context()))
	}
}

func TestADialerThatRefusesTheServerIsLogged(t *testing.T) {
	l := newLab(t)
	log := &lines{}
	l.log = log
	victim := l.node(t, l.config(t, "w0", 10, 1))
	foreign := newLab(t) // another authority of the same fleet
	stranger := foreign.source(t, identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w1"})
	err := knock(t, victim.Mesh.(*Mesh).Addr(), stranger.Client(func(identity.ID) error { return nil }, alpn), nil)
	if _, ok := errors.AsType[*identity.RefusedError](err); !ok {
		t.Errorf("the dialer saw %v, want its own refusal", err)
	}
	waitLine(t, log, "refused this node's certificate", "peer=")
}
