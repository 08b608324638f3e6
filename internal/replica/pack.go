package replica

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Dictionary is what frames that were packed with it need to be read: bytes
// like those that follow. Its number is in each of them, and is never used for
// other bytes.
type Dictionary struct {
	Number uint32 // from 1
	Bytes  []byte
}

// Packing makes frames small. A packed frame is the byte kindPacked and a
// Zstandard frame (RFC 8878) without its magic number, which holds one frame of
// another kind.
//
// Pushes are packed with the newest dictionary; answers without one, so that a
// node whose dictionary is another reads them: what it could not read of the
// pushes comes by sync. Safe for concurrent use.
type Packing struct {
	with    *zstd.Encoder // with the newest dictionary
	without *zstd.Encoder
	decoder *zstd.Decoder
}

// minPacked is the least size of a frame that is worth packing.
const minPacked = 64

// packWindow bounds how far back a packed frame refers.
const packWindow = 256 << 10

var magic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// NewPacking returns a packing with dictionaries, the newest last.
func NewPacking(dictionaries ...Dictionary) (*Packing, error) {
	encode := []zstd.EOption{
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(packWindow), zstd.WithLowerEncoderMem(true),
	}
	decode := []zstd.DOption{
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxUnpacked), zstd.WithDecoderMaxWindow(MaxFrame),
	}
	p := &Packing{}
	var err error
	if p.without, err = zstd.NewWriter(nil, encode...); err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	for i, d := range dictionaries {
		if d.Number == 0 || len(d.Bytes) == 0 {
			return nil, fmt.Errorf("packing: dictionary %d is empty or has no number", d.Number)
		}
		decode = append(decode, zstd.WithDecoderDictRaw(d.Number, d.Bytes))
		if i == len(dictionaries)-1 {
			encode = append(encode, zstd.WithEncoderDictRaw(d.Number, d.Bytes))
		}
	}
	if p.with, err = zstd.NewWriter(nil, encode...); err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	if p.decoder, err = zstd.NewReader(nil, decode...); err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	return p, nil
}

// Push packs a frame that goes to every peer, and Answer one that a peer asked
// for. A frame that would not become smaller stays as it is. A nil Packing
// packs nothing.
func (p *Packing) Push(frame []byte) []byte {
	if p == nil {
		return frame
	}
	return pack(p.with, frame)
}

// Answer packs a frame that a peer asked for.
func (p *Packing) Answer(frame []byte) []byte {
	if p == nil {
		return frame
	}
	return pack(p.without, frame)
}

func pack(e *zstd.Encoder, frame []byte) []byte {
	if len(frame) < minPacked || len(frame) > maxUnpacked {
		return frame
	}
	out := e.EncodeAll(frame, make([]byte, 0, len(frame)))
	// The kind takes the place of the last byte of the magic number.
	out = out[len(magic)-1:]
	out[0] = kindPacked
	if len(out) >= len(frame) {
		return frame
	}
	return out
}

// Deliveries returns how many deliveries a frame carries, packed or not, for
// those who count what is sent.
func (p *Packing) Deliveries(frame []byte) int {
	if len(frame) > 0 && frame[0] == kindPacked {
		whole, err := p.unpack(frame)
		if err != nil {
			return 0
		}
		frame = whole
	}
	head := map[string]int{"push": 1, "answer": answerHead}[KindOf(frame)]
	if head == 0 || len(frame) < head {
		return 0
	}
	r := reader{b: frame[head:]}
	return len(r.parcels())
}

// errDictionary says that a frame needs a dictionary that is not known here.
var errDictionary = errors.New("packed with a dictionary that is not known")

// unpack returns the frame in a packed one, which is at most maxUnpacked bytes.
func (p *Packing) unpack(frame []byte) ([]byte, error) {
	if p == nil {
		return nil, errDictionary
	}
	var h zstd.Header
	whole := append(append(make([]byte, 0, len(frame)+len(magic)-1), magic...), frame[1:]...)
	if err := h.Decode(whole); err != nil {
		return nil, fmt.Errorf("packed frame: %w", err)
	}
	if h.Skippable || !h.HasFCS || h.FrameContentSize == 0 || h.FrameContentSize > maxUnpacked {
		return nil, fmt.Errorf("packed frame of %d bytes, cap %d", h.FrameContentSize, maxUnpacked)
	}
	out, err := p.decoder.DecodeAll(whole, make([]byte, 0, h.FrameContentSize))
	switch {
	case errors.Is(err, zstd.ErrUnknownDictionary):
		return nil, errDictionary
	case err != nil:
		return nil, fmt.Errorf("packed frame: %w", err)
	case out[0] == kindPacked:
		return nil, errors.New("packed frame in a packed frame")
	}
	return out, nil
}
