package quic

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/firebreak-dev/firebreak/internal/mesh"
)

// The first byte of a stream says what it carries. Streams of unknown kinds
// are cancelled and counted.
const (
	kindControl    byte = 0x01 // two-way: the first stream; frames of a type byte and a body
	kindAsk        byte = 0x02 // two-way: a question, then a status and an answer
	kindMembership byte = 0x03 // two-way: a memberlist stream
	kindPing       byte = 0x04 // two-way: nothing, then boot and bits of who answers

	kindFlow    byte = 0x11 // one-way, long-lived: preface, then frames
	kindSingle  byte = 0x12 // one-way: preface, then one frame above mesh.MaxInline
	kindPackets byte = 0x13 // one-way, long-lived: memberlist packets too large for a datagram
)

// The types of control frames. Unknown ones are skipped and counted.
const (
	controlHello   byte = 1 // firebreak.cluster.v1.Hello
	controlLeaving byte = 2 // one byte: mesh.Restarting or mesh.Draining
)

const (
	maxControl = 4 << 10 // bytes of a control frame
	maxPacket  = 64 << 10
	maxLane    = 63 // bytes of a lane's name
)

var errTooLong = errors.New("frame is over its limit")

// appendFrame appends body with its length, an unsigned varint, before it.
func appendFrame(b, body []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(body))), body...)
}

// readFrame reads one frame of at most limit bytes. It does not trust the
// length: memory grows with what arrives. A stream that ends between frames
// gives io.EOF, one that ends within a frame io.ErrUnexpectedEOF.
func readFrame(r *bufio.Reader, limit int) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > uint64(limit) {
		return nil, fmt.Errorf("frame of %d bytes, at most %d: %w", n, limit, errTooLong)
	}
	if n <= mesh.MaxInline {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, noEOF(err)
	}
	var buf bytes.Buffer
	buf.Grow(mesh.MaxInline)
	if _, err := io.CopyN(&buf, r, int64(n)); err != nil {
		return nil, noEOF(err)
	}
	return buf.Bytes(), nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// appendPreface appends what a flow's streams begin with: the kind, the class,
// and the lane with its length before it.
func appendPreface(b []byte, kind byte, f mesh.Flow) []byte {
	b = append(b, kind, byte(f.Class))
	return appendFrame(b, []byte(f.Lane))
}

// readPreface reads what follows the kind.
func readPreface(r *bufio.Reader) (mesh.Flow, error) {
	class, err := r.ReadByte()
	if err != nil {
		return mesh.Flow{}, noEOF(err)
	}
	lane, err := readFrame(r, maxLane)
	if err != nil {
		return mesh.Flow{}, noEOF(err)
	}
	f := mesh.Flow{Lane: string(lane), Class: mesh.Class(class)}
	return f, checkFlow(f)
}

var errClass = errors.New("class is unknown")

func checkFlow(f mesh.Flow) error {
	if f.Class != mesh.Push && f.Class != mesh.Sync {
		return fmt.Errorf("class %d: %w", byte(f.Class), errClass)
	}
	if len(f.Lane) > maxLane {
		return fmt.Errorf("lane of %d bytes is over the limit of %d", len(f.Lane), maxLane)
	}
	return nil
}
