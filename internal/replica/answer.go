package replica

import (
	"encoding/binary"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Answer collects the deliveries that answer a Serve into frames. They are to
// be added newest first: a version that was overtaken is left out, so whoever
// takes an older one must have what overtook it already.
type Answer struct {
	id     uint64
	room   int
	frames [][]byte
	frame  []byte
}

// NewAnswer returns an empty answer.
func NewAnswer(s Serve) *Answer {
	a := &Answer{id: s.ID, room: s.Limit}
	a.begin()
	return a
}

func (a *Answer) begin() {
	a.frame = append(binary.BigEndian.AppendUint64([]byte{kindAnswer}, a.id), byte(len(a.frames)), 0)
}

const answerHead = 1 + 8 + 1 + 1

// Room returns how many bytes the answer may still take.
func (a *Answer) Room() int { return a.room }

// Add takes a delivery; one too large for a frame is split between its
// changesets. A changeset that is too large by itself is an answer by itself:
// its frame has a stream of its own, and may overtake the others.
func (a *Answer) Add(d record.Delivery) {
	for _, part := range slices.Backward(split(d)) {
		p := appendParcel(nil, part)
		if len(p) > MaxInline-answerHead {
			if a.room > 0 && len(a.frames) == 0 && len(a.frame) == answerHead {
				a.frame = append(a.frame, p...)
			}
			a.room = 0
		}
		if a.room <= 0 {
			return // what is older must not come without it
		}
		if len(a.frame) > answerHead && len(a.frame)+len(p) > MaxInline {
			a.frames = append(a.frames, a.frame)
			a.begin()
		}
		a.frame = append(a.frame, p...)
		a.room -= len(p)
	}
}

// Frames returns the frames of the answer and marks the last. An answer
// without deliveries is one frame too: nothing more is to be had.
func (a *Answer) Frames() [][]byte {
	a.frame[answerHead-1] = 1
	return append(a.frames, a.frame)
}

// split cuts d into deliveries of at most half a frame, or of one changeset.
func split(d record.Delivery) []record.Delivery {
	var out []record.Delivery
	from, first, size := d.Range.From, 0, 0
	for i, cs := range d.Changesets {
		n := changesetSize(cs)
		if i > first && size+n > MaxInline/2 {
			out = append(out, record.Delivery{Writer: d.Writer, Range: record.Range{From: from, To: cs.Version - 1}, Changesets: d.Changesets[first:i]})
			from, first, size = cs.Version, i, 0
		}
		size += n
	}
	return append(out, record.Delivery{Writer: d.Writer, Range: record.Range{From: from, To: d.Range.To}, Changesets: d.Changesets[first:]})
}

// Size returns about how many bytes d takes.
func Size(d record.Delivery) int {
	n := 64
	for _, cs := range d.Changesets {
		n += changesetSize(cs)
	}
	return n
}

func changesetSize(cs record.Changeset) int {
	n := 32
	for _, r := range cs.Records {
		n += 24 + len(r.Key) + len(r.Order) + len(r.Cells)
	}
	return n
}
