package meshbench

import (
	"fmt"
	"net"
	"sync/atomic"

	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// join opens the node's mesh, with up to three others to join through.
func (r *region) join(x *node, name record.Node) error {
	source, err := r.Identity(identity.ID{Role: identity.Node, Region: "bench", Name: string(name)})
	if err != nil {
		return err
	}
	var seeds []string
	for _, o := range r.nodes {
		if o.db.Writer().Node != name && len(seeds) < 3 {
			seeds = append(seeds, o.mesh.Addr())
		}
	}
	at := x.db.Writer()
	cfg := quic.Config{
		Identity: source, Fleet: world.Fleet, Cluster: "region/bench", Generation: quic.Generation{Number: 1, Bits: 7},
		Node: name, Boot: at.Boot, Bits: at.Bits, Bind: "127.0.0.1:0", Seeds: seeds,
		Wrote:   func(f mesh.Flow, frame []byte) { r.sent.add(f, frame, r.packing) },
		Metrics: x.metrics,
	}
	if r.cuttable {
		if x.wire.PacketConn, err = net.ListenPacket("udp", cfg.Bind); err != nil {
			return fmt.Errorf("socket of %s: %w", name, err)
		}
		cfg.Conn = x.wire
	}
	x.mesh, err = quic.Listen(cfg)
	return err
}

// wire is a socket that can be cut: then nothing comes out of it or into it,
// as if the process had been killed.
type wire struct {
	net.PacketConn
	dead atomic.Bool
}

// ReadFrom drops what comes while the wire is cut.
func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := w.PacketConn.ReadFrom(b)
		if err != nil || !w.dead.Load() {
			return n, from, err
		}
	}
}

// WriteTo drops what leaves while the wire is cut.
func (w *wire) WriteTo(b []byte, to net.Addr) (int, error) {
	if w.dead.Load() {
		return len(b), nil
	}
	return w.PacketConn.WriteTo(b, to)
}
