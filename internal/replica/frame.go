package replica

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Sizes of frames, equal to those of the mesh.
const (
	MaxFrame  = 2 << 20
	MaxInline = 64 << 10 // a frame above it holds one changeset
)

// maxUnpacked bounds the frame in a packed one; a larger frame is not packed. A
// changeset of the greatest size fits.
const maxUnpacked = MaxFrame/2 + 128<<10

// A frame is a kind byte and a payload. Numbers are unsigned varints unless
// they say otherwise; digests are 16 bytes big endian; writers, received sets
// and deliveries are as package record writes them. What follows the fields
// that this version knows is skipped.
const (
	kindPush   = 0x01 // to the end of the frame: deliveries, each with its length before it
	kindRoot   = 0x02 // root
	kindLeaves = 0x03 // a byte that is 1 in a reply to leaves; count; each: node (length and bytes), leaf
	kindAsk    = 0x04 // count; each: node
	kindSets   = 0x05 // digest of all leaves not asked for; count; each: writer, received set, a fingerprint per kind
	kindWant   = 0x06 // id (8 bytes), limit in bytes, count of writers; each: writer, count of ranges; each: from, to less from
	kindPacked = 0x10 // a Zstandard frame without its magic number, see Packing
	kindAnswer = 0x07 // id (8 bytes), a byte with the number of the frame from 0, a byte that is 1 in the last one; then as a push
)

// KindOf names the kind of a frame, for those who count them, or is empty for
// one that is unknown here. A packed frame is packed, whatever is in it.
func KindOf(frame []byte) string {
	if len(frame) == 0 {
		return ""
	}
	switch frame[0] {
	case kindPush:
		return "push"
	case kindRoot:
		return "root"
	case kindLeaves:
		return "leaves"
	case kindAsk:
		return "ask"
	case kindSets:
		return "sets"
	case kindWant:
		return "want"
	case kindAnswer:
		return "answer"
	case kindListing:
		return "listing"
	case kindMore:
		return "more"
	case kindSurvey:
		return "survey"
	case kindSurveyed:
		return "surveyed"
	case kindPacked:
		return "packed"
	}
	return ""
}

var (
	errTruncated = errors.New("truncated")
	errCount     = errors.New("count beyond its cap")
	errVersion   = errors.New("version beyond what any writer comes to")
	errMemory    = errors.New("takes more memory than two of the largest frames")
)

// maxVersion is beyond what any writer comes to: at a million versions a second
// it takes nine years. To believe in a higher one would be to take nothing of
// that writer any more.
const maxVersion = 1 << 48

// maxMemory bounds what reading a frame takes: much that is small needs several
// times its bytes.
const maxMemory = 2*MaxFrame - 64<<10

// What decoded things take, beside what varies.
const (
	leafMemory   = 32
	gapMemory    = 16
	stateMemory  = 112
	wantMemory   = 56
	parcelMemory = 72
	csMemory     = 72
	floorsMemory = 88
	closedMemory = 64
	bootsMemory  = 40
)

// reader reads a payload. The first error sticks.
type reader struct {
	b    []byte
	used int // of maxMemory
	err  error
}

// charge counts memory that is about to be taken.
func (r *reader) charge(n int) {
	if r.used += n; r.used > maxMemory {
		r.fail(errMemory)
	}
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err, r.b = err, nil
	}
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail(errTruncated)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) fixed() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || size > 1 && r.b[size-1] == 0 {
		r.fail(errTruncated)
		return 0
	}
	r.b = r.b[size:]
	return n
}

// nameMemory is what a name of n bytes takes.
func nameMemory(n int) int { return (n + 15) &^ 15 }

// count reads a number of items of at least size bytes each, which take so
// much memory each.
func (r *reader) count(limit, size, memory int) int {
	n := r.number()
	if n > uint64(limit) || n > uint64(len(r.b)/size) {
		r.fail(errCount)
		return 0
	}
	if r.charge(int(n) * memory); r.err != nil {
		return 0
	}
	return int(n)
}

func (r *reader) digest() Digest {
	return Digest{Hi: r.fixed(), Lo: r.fixed()}
}

func (r *reader) node() record.Node {
	n := r.number()
	if n == 0 || n > 63 {
		r.fail(errors.New("node name of bad length"))
		return ""
	}
	r.charge(nameMemory(int(n)))
	return record.Node(r.take(n))
}

func (r *reader) writer() (w record.Writer) {
	if r.err == nil {
		var err error
		if w, r.b, err = record.ReadWriter(r.b); err != nil {
			r.fail(err)
		} else if w.Node == "" {
			r.fail(errors.New("writer without a node"))
		}
		r.charge(nameMemory(len(w.Node)))
	}
	return w
}

func (r *reader) received() (s record.Received) {
	if r.err == nil {
		var err error
		if s, r.b, err = record.ReadReceived(r.b); err != nil {
			r.fail(err)
		} else if s.Head > maxVersion {
			r.fail(errVersion)
		}
		r.charge(len(s.Gaps) * gapMemory)
	}
	return s
}

func appendNode(b []byte, n record.Node) []byte {
	return append(binary.AppendUvarint(b, uint64(len(n))), n...)
}

func rootFrame(d Digest) []byte { return d.Append([]byte{kindRoot}) }

// nodeLeaf is a line of a list of leaves.
type nodeLeaf struct {
	node   record.Node
	digest Digest
}

func leavesFrame(reply bool, leaves []nodeLeaf) []byte {
	b := []byte{kindLeaves, 0}
	if reply {
		b[1] = 1
	}
	b = binary.AppendUvarint(b, uint64(len(leaves)))
	for _, l := range leaves {
		b = l.digest.Append(appendNode(b, l.node))
	}
	return b
}

func (r *reader) leaves() (reply bool, leaves []nodeLeaf) {
	reply = r.byte()&1 != 0
	n := r.count(maxNodes, 18, leafMemory)
	leaves = make([]nodeLeaf, 0, n)
	for range n {
		leaves = append(leaves, nodeLeaf{r.node(), r.digest()})
	}
	return reply, leaves
}

func askFrame(nodes []record.Node) []byte {
	b := binary.AppendUvarint([]byte{kindAsk}, uint64(len(nodes)))
	for _, n := range nodes {
		b = appendNode(b, n)
	}
	return b
}

func (r *reader) ask() []record.Node {
	n := r.count(maxNodes, 2, 16)
	nodes := make([]record.Node, 0, n)
	for range n {
		nodes = append(nodes, r.node())
	}
	return nodes
}

func setsFrame(rest Digest, states []State) []byte {
	return appendStates(rest.Append([]byte{kindSets}), states)
}

// appendStates appends the number of states and each one.
func appendStates(b []byte, states []State) []byte {
	b = binary.AppendUvarint(b, uint64(len(states)))
	for _, s := range states {
		b = record.AppendReceived(record.AppendWriter(b, s.Writer), s.Received)
		for _, f := range s.Fingerprints {
			b = f.Append(b)
		}
	}
	return b
}

// states reads what appendStates wrote. All gaps together are bounded.
func (r *reader) states() []State {
	n := r.count(MaxWriters, 17+2+48, stateMemory)
	states := make([]State, 0, n)
	gaps := 0
	for range n {
		s := State{Writer: r.writer(), Received: r.received()}
		for i := range s.Fingerprints {
			s.Fingerprints[i] = r.digest()
		}
		if gaps += len(s.Received.Gaps); gaps > record.MaxGaps {
			r.fail(errCount)
		}
		if r.err != nil {
			return nil
		}
		states = append(states, s)
	}
	return states
}

func wantFrame(id uint64, limit int, wants []Want) []byte {
	b := binary.BigEndian.AppendUint64([]byte{kindWant}, id)
	b = binary.AppendUvarint(b, uint64(limit))
	b = binary.AppendUvarint(b, uint64(len(wants)))
	for _, w := range wants {
		b = record.AppendWriter(b, w.Writer)
		b = binary.AppendUvarint(b, uint64(len(w.Ranges)))
		for _, g := range w.Ranges {
			b = binary.AppendUvarint(b, uint64(g.From))
			b = binary.AppendUvarint(b, uint64(g.To-g.From))
		}
	}
	return b
}

func (r *reader) want() (id uint64, limit int, wants []Want) {
	id, limit = r.fixed(), int(min(r.number(), maxServe))
	ranges := 0
	n := r.count(maxWants, 18, wantMemory)
	wants = make([]Want, 0, n)
	for range n {
		w := Want{Writer: r.writer()}
		m := r.count(maxWants-ranges, 2, gapMemory)
		ranges += m
		w.Ranges = make([]record.Range, 0, m)
		for range m {
			from, span := r.number(), r.number()
			if from == 0 || from+span < from {
				r.fail(errors.New("bad version range"))
			}
			w.Ranges = append(w.Ranges, record.Range{From: record.Version(from), To: record.Version(from + span)})
		}
		if r.err != nil {
			return 0, 0, nil
		}
		wants = append(wants, w)
	}
	return id, limit, wants
}

// parcel is one delivery of a frame, not decoded yet.
type parcel struct {
	writer record.Writer
	rang   record.Range
	bytes  []byte
}

// decode reads p, a part of what r reads.
func (p parcel) decode(r *reader) (record.Delivery, error) {
	room := maxMemory - r.used
	d, rest, err := record.ReadDeliveryWithin(p.bytes, &room)
	r.used = maxMemory - room
	switch {
	case err != nil:
	case len(rest) > 0:
		err = errors.New("bytes after a delivery")
	case d.Range.To > maxVersion:
		err = errVersion
	}
	return d, err
}

func appendParcel(b []byte, d record.Delivery) []byte {
	var body []byte
	body = record.AppendDelivery(body, d)
	return append(binary.AppendUvarint(b, uint64(len(body))), body...)
}

func (r *reader) parcels() []parcel {
	big := len(r.b) > MaxInline
	var out []parcel
	for len(r.b) > 0 {
		p := parcel{bytes: r.take(r.number())}
		if r.err != nil {
			return nil
		}
		var err error
		if p.writer, p.rang, err = record.PeekDelivery(p.bytes); err != nil {
			r.fail(err)
			return nil
		}
		if r.charge(2 * parcelMemory); r.err != nil { // out grows by doubling
			return nil
		}
		out = append(out, p)
	}
	if big && len(out) > 1 {
		r.fail(fmt.Errorf("%d deliveries in a frame above %d bytes", len(out), MaxInline))
		return nil
	}
	return out
}
