// Package position is where a client's watch of one app in one region goes on:
// the position that a gateway of the region gave, and which gateway that was.
// Clients hold the bytes and give them back to any router. A position that
// cannot be used, for whatever reason, costs its client that app in that region
// from the beginning, and nothing else. docs/reference/wire-router.md has the
// bytes.
package position

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Position says what a client holds of one app in one region.
type Position struct {
	Region  fleet.Region
	App     fleet.App
	Gateway uint64 // Tag of the gateway that gave At
	At      string // opaque bytes of the gateway; empty for nowhere
}

// The limits. What a gateway gives that is longer than MaxAt is not used.
const (
	MaxAt    = 256
	MaxHello = 3 << 20 // bytes of positions that a client may begin with

	version = 1
	maxBody = 512
	sumSize = 4
)

// Tag is what stands for a gateway in a position.
func Tag(gateway fleet.Worker) uint64 { return xxh3.HashString(string(gateway)) }

// Usable reports whether there is something to go on from.
func (p Position) Usable() bool { return p.At != "" && len(p.At) <= MaxAt }

// Append appends p if it is usable. It delimits itself: a byte of version; the body with its
// length before it (varint), which is region, app (varint length and bytes
// each), gateway (8 bytes big endian) and At to the end; and the low 4 bytes, big
// endian, of the XXH3 of all that.
func (p Position) Append(b []byte) []byte {
	if !p.Usable() {
		return b
	}
	body := make([]byte, 0, maxBody)
	body = binary.AppendUvarint(body, uint64(len(p.Region)))
	body = append(body, p.Region...)
	body = binary.AppendUvarint(body, uint64(len(p.App)))
	body = append(body, p.App...)
	body = binary.BigEndian.AppendUint64(body, p.Gateway)
	body = append(body, p.At...)
	begin := len(b)
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(len(body)))
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, uint32(xxh3.Hash(b[begin:])))
}

// ErrPosition says that bytes are no position of this version.
var ErrPosition = errors.New("position refused")

// All returns the positions in what a client gave, the last of each app and
// region. What cannot be read is left out: bad counts it.
func All(b []byte) (out []Position, bad int) {
	if len(b) > MaxHello {
		b, bad = b[:MaxHello], 1
	}
	type place struct {
		region fleet.Region
		app    fleet.App
	}
	at := map[place]int{}
	for len(b) > 0 {
		p, size, err := decode(b)
		if err != nil {
			bad++
		}
		if size == 0 {
			break // what follows cannot be told apart
		}
		b = b[size:]
		if err != nil {
			continue
		}
		if i, ok := at[place{p.Region, p.App}]; ok {
			out[i] = p
			continue
		}
		at[place{p.Region, p.App}] = len(out)
		out = append(out, p)
	}
	return out, bad
}

// decode reads one position, and says how long it is if that can be told: its
// size is then right, whatever the error.
func decode(b []byte) (p Position, size int, err error) {
	n, width := binary.Uvarint(b[1:])
	if width <= 0 || n > maxBody || uint64(len(b)) < uint64(1+width+sumSize)+n {
		return Position{}, 0, fmt.Errorf("%w: its length", ErrPosition)
	}
	end := 1 + width + int(n)
	size = end + sumSize
	if b[0] != version {
		return Position{}, size, fmt.Errorf("%w: version %d", ErrPosition, b[0])
	}
	if binary.BigEndian.Uint32(b[end:]) != uint32(xxh3.Hash(b[:end])) {
		return Position{}, size, fmt.Errorf("%w: its checksum", ErrPosition)
	}
	body := b[1+width : end]
	region, body, ok := field(body)
	app, body, also := field(body)
	if !ok || !also || len(body) <= 8 || len(body) > 8+MaxAt {
		return Position{}, size, fmt.Errorf("%w: its body", ErrPosition)
	}
	p = Position{
		Region: fleet.Region(region), App: fleet.App(app),
		Gateway: binary.BigEndian.Uint64(body), At: string(body[8:]),
	}
	return p, size, errors.Join(p.Region.Check(), p.App.Check())
}

// field reads a length and so many bytes.
func field(b []byte) (s string, rest []byte, ok bool) {
	n, width := binary.Uvarint(b)
	if width <= 0 || n > uint64(len(b)-width) {
		return "", nil, false
	}
	end := width + int(n)
	return string(b[width:end]), b[end:], true
}
