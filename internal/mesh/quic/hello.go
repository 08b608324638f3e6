package quic

import (
	"errors"
	"fmt"
	"net/netip"

	quicgo "github.com/quic-go/quic-go"
	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
)

// protocol is the only version of the mesh's protocol so far.
const protocol = 1

// alpn is the protocol's name in the TLS handshake.
const alpn = "firebreak/1"

// The codes that a connection is closed with. The text beside one is for the
// other side's log.
const (
	closeBye        quicgo.ApplicationErrorCode = 0x00 // this process ends
	closeLeaving    quicgo.ApplicationErrorCode = 0x01 // after a leaving frame
	closeExtra      quicgo.ApplicationErrorCode = 0x02 // there is another connection of this pair
	closeDead       quicgo.ApplicationErrorCode = 0x03 // membership says that the peer is dead
	closeRotate     quicgo.ApplicationErrorCode = 0x04 // the certificate was replaced: dial again
	closeDenied     quicgo.ApplicationErrorCode = 0x05 // an operator's switch
	closeMalformed  quicgo.ApplicationErrorCode = 0x10 // broke the protocol
	closeFleet      quicgo.ApplicationErrorCode = 0x11 // another fleet
	closeCluster    quicgo.ApplicationErrorCode = 0x12 // another cluster
	closeGeneration quicgo.ApplicationErrorCode = 0x13 // another generation
	closeName       quicgo.ApplicationErrorCode = 0x14 // not the certificate's name
	closeProtocol   quicgo.ApplicationErrorCode = 0x15 // no common protocol version
	closeDuplicate  quicgo.ApplicationErrorCode = 0x16 // the name is in use by a live node
	closeSelf       quicgo.ApplicationErrorCode = 0x17 // this node dialed itself
)

// codeName is the metric label of a code.
func codeName(c quicgo.ApplicationErrorCode) string {
	switch c {
	case closeBye, closeLeaving:
		return "leaving"
	case closeExtra:
		return "extra"
	case closeDead:
		return "dead"
	case closeRotate:
		return "rotate"
	case closeDenied:
		return "denied"
	case closeMalformed:
		return "malformed"
	case closeFleet:
		return "fleet"
	case closeCluster:
		return "cluster"
	case closeGeneration:
		return "generation"
	case closeName:
		return "name"
	case closeProtocol:
		return "protocol"
	case closeDuplicate:
		return "duplicate"
	case closeSelf:
		return "self"
	}
	return "unknown"
}

// RefusedError says that a connection between two nodes was refused and by
// which side.
type RefusedError struct {
	Address string // of the peer
	Code    quicgo.ApplicationErrorCode
	Reason  string
	Remote  bool // the peer refused this node
}

func (e *RefusedError) Error() string {
	if e.Remote {
		return fmt.Sprintf("refused by %s: %s", e.Address, e.Reason)
	}
	return fmt.Sprintf("refused %s: %s", e.Address, e.Reason)
}

// DuplicateNameError ends the Run of a node whose name is in use.
type DuplicateNameError struct {
	Node   record.Node
	Reason string // what the peer said, with the holder's address
}

func (e *DuplicateNameError) Error() string {
	return fmt.Sprintf("join as %s: %s", e.Node, e.Reason)
}

// writer is a start of a node.
type writer struct {
	boot, bits uint64
}

// info is what a node says of itself.
type info struct {
	node              record.Node
	writer            writer
	locality, gateway string
	address           netip.AddrPort
}

func (i info) peer(s mesh.State) mesh.Peer {
	return mesh.Peer{
		Node: i.node, Boot: i.writer.boot, Bits: i.writer.bits,
		Locality: i.locality, Address: i.address.String(), Gateway: i.gateway, State: s,
	}
}

// cluster is what both sides of a connection must agree on.
type cluster struct {
	fleet, name string
	generation  Generation
}

// encodeHello gives the first frame of a connection.
func encodeHello(c cluster, i info) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&clusterv1.Hello{
		Fleet: c.fleet, Cluster: c.name,
		Generation: &clusterv1.Generation{Number: c.generation.Number, Bits: c.generation.Bits},
		Node:       string(i.node), Boot: i.writer.boot, Bits: i.writer.bits, Locality: i.locality,
		ProtocolMin: protocol, ProtocolMax: protocol,
		Address: i.address.String(), Gateway: i.gateway,
	})
	if err != nil {
		panic(fmt.Sprintf("encode hello: %v", err)) // only for strings that are no UTF-8, which validate refuses
	}
	return b
}

// decodeHello reads a peer's hello and checks it against this node's cluster.
// A refusal carries the code to close with.
func decodeHello(c cluster, b []byte) (info, bool, *RefusedError) {
	refuse := func(code quicgo.ApplicationErrorCode, format string, args ...any) (info, bool, *RefusedError) {
		return info{}, false, &RefusedError{Code: code, Reason: fmt.Sprintf(format, args...)}
	}
	var h clusterv1.Hello
	if err := proto.Unmarshal(b, &h); err != nil {
		return refuse(closeMalformed, "hello cannot be read: %v", err)
	}
	g := Generation{h.GetGeneration().GetNumber(), h.GetGeneration().GetBits()}
	switch {
	case h.Fleet != c.fleet:
		return refuse(closeFleet, "it is of fleet %q, not %q", short(h.Fleet), c.fleet)
	case h.Cluster != c.name:
		return refuse(closeCluster, "it is of cluster %q, not %q", short(h.Cluster), c.name)
	case g != c.generation:
		return refuse(closeGeneration, "it is of generation %v, not %v", g, c.generation)
	case h.ProtocolMin > protocol || h.ProtocolMax < protocol:
		return refuse(closeProtocol, "it speaks protocol %d to %d, not %d", h.ProtocolMin, h.ProtocolMax, protocol)
	}
	i, err := decodeInfo(&h)
	if err != nil {
		return refuse(closeMalformed, "hello: %v", err)
	}
	return i, len(h.ProtoReflect().GetUnknown()) > 0, nil
}

// decodeInfo checks what a node says of itself.
func decodeInfo(h *clusterv1.Hello) (info, error) {
	i := info{
		node: record.Node(h.Node), writer: writer{h.Boot, h.Bits},
		locality: h.Locality, gateway: h.Gateway,
	}
	var errs []error
	errs = append(errs, fleet.Worker(h.Node).Check())
	if h.Boot == 0 {
		errs = append(errs, errors.New("boot is zero"))
	}
	if h.Locality != "" {
		errs = append(errs, fleet.CheckLocality(h.Locality))
	}
	if len(h.Gateway) > maxHostPort {
		errs = append(errs, fmt.Errorf("gateway of %d bytes", len(h.Gateway)))
	}
	var err error
	i.address, err = parseAddress(h.Address)
	return i, errors.Join(append(errs, err)...)
}

// short bounds a stranger's word in our log.
func short(s string) string { return s[:min(len(s), 64)] }

// maxMeta is memberlist's limit.
const maxMeta = 512

// encodeMeta gives a member's metadata: the state that it announces and its
// info, as a hello without what the connection has proved.
func encodeMeta(s mesh.State, i info) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{byte(s)}, &clusterv1.Hello{
		Node: string(i.node), Boot: i.writer.boot, Bits: i.writer.bits,
		Locality: i.locality, Address: i.address.String(), Gateway: i.gateway,
	})
	if err != nil {
		panic(fmt.Sprintf("encode metadata: %v", err)) // as in encodeHello
	}
	return b
}

func decodeMeta(name string, b []byte) (mesh.State, info, error) {
	if len(b) == 0 {
		return 0, info{}, errors.New("metadata is empty")
	}
	s := mesh.State(b[0])
	if s != mesh.Alive && s != mesh.Restarting && s != mesh.Draining {
		return 0, info{}, fmt.Errorf("metadata: state %d is unknown", b[0])
	}
	var h clusterv1.Hello
	if err := proto.Unmarshal(b[1:], &h); err != nil {
		return 0, info{}, fmt.Errorf("metadata: %w", err)
	}
	i, err := decodeInfo(&h)
	if err != nil {
		return 0, info{}, fmt.Errorf("metadata: %w", err)
	}
	if string(i.node) != name {
		return 0, info{}, fmt.Errorf("metadata of %q in the name of %q", i.node, short(name))
	}
	return s, i, nil
}
