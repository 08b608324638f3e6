package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// AppendWriter appends node (length and bytes), boot and bits (8 bytes each).
func AppendWriter(b []byte, w Writer) []byte {
	b = appendString(b, string(w.Node))
	b = binary.BigEndian.AppendUint64(b, w.Boot)
	return binary.BigEndian.AppendUint64(b, w.Bits)
}

// ReadWriter reads what AppendWriter wrote and returns the rest.
func ReadWriter(b []byte) (Writer, []byte, error) {
	node, b, err := readString(b, 63)
	if err != nil || len(b) < 16 {
		return Writer{}, nil, fmt.Errorf("writer: %w", errTruncated)
	}
	return Writer{Node(node), binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, b[16:], nil
}

// AppendReceived appends head, the number of gaps, and for each gap its
// distance from the end of the one before and its length, as varints.
func AppendReceived(b []byte, r Received) []byte {
	b = binary.AppendUvarint(b, uint64(r.Head))
	b = binary.AppendUvarint(b, uint64(len(r.Gaps)))
	var end Version
	for _, g := range r.Gaps {
		b = binary.AppendUvarint(b, uint64(g.From-end))
		b = binary.AppendUvarint(b, uint64(g.To-g.From))
		end = g.To
	}
	return b
}

// MaxGaps bounds a decoded received set.
const MaxGaps = 1 << 16

// ReadReceived reads what AppendReceived wrote and returns the rest.
func ReadReceived(b []byte) (Received, []byte, error) {
	head, b, err := readUvarint(b)
	if err != nil {
		return Received{}, nil, fmt.Errorf("received set: %w", err)
	}
	n, b, err := readUvarint(b)
	if err != nil || n > MaxGaps || n > uint64(len(b)) {
		return Received{}, nil, errors.New("received set: bad gap count")
	}
	r := Received{Head: Version(head)}
	if n > 0 {
		r.Gaps = make([]Range, 0, min(n, uint64(len(b)/2)))
	}
	var end uint64
	for range n {
		var skip, length uint64
		if skip, b, err = readUvarint(b); err == nil {
			length, b, err = readUvarint(b)
		}
		from := end + skip
		to := from + length
		if err != nil || skip == 0 || (end > 0 && skip == 1) || from < end || to < from || to >= head {
			return Received{}, nil, errors.New("received set: bad gap")
		}
		r.Gaps = append(r.Gaps, Range{Version(from), Version(to)})
		end = to
	}
	return r, b, nil
}

// Flags in a record's byte of kind.
const (
	flagDeleted = 0x80
	flagStub    = 0x40
)

// AppendDelivery appends writer, from and to, the number of changesets and
// each one: version less from, wall, the number of records, and each record:
// table (8 bytes), a byte of kind with 0x80 for a tombstone and 0x40 for a
// stub, then key, order and cells with their lengths. In place of the cells a
// stub has its hash (16 bytes) and its reason.
func AppendDelivery(b []byte, d Delivery) []byte {
	b = AppendWriter(b, d.Writer)
	b = binary.AppendUvarint(b, uint64(d.Range.From))
	b = binary.AppendUvarint(b, uint64(d.Range.To-d.Range.From))
	b = binary.AppendUvarint(b, uint64(len(d.Changesets)))
	for _, c := range d.Changesets {
		b = binary.AppendUvarint(b, uint64(c.Version-d.Range.From))
		b = binary.AppendVarint(b, c.Wall)
		b = binary.AppendUvarint(b, uint64(len(c.Records)))
		for _, r := range c.Records {
			b = binary.BigEndian.AppendUint64(b, uint64(r.Table))
			kind := byte(r.Kind)
			if r.Deleted {
				kind |= flagDeleted
			}
			cells := r.Cells
			if r.Stub != nil {
				kind |= flagStub
				cells = append(r.Stub.Hash[:], r.Stub.Reason...)
			}
			b = append(b, kind)
			b = appendString(b, string(r.Key))
			b = appendString(b, r.Order)
			b = append(binary.AppendUvarint(b, uint64(len(cells))), cells...)
		}
	}
	return b
}

// ErrRoom says that a delivery takes more memory than there is room for.
var ErrRoom = errors.New("takes too much memory for its bytes")

// What decoded things take, beside their strings, and the fewest bytes that
// they are on the wire.
const (
	recordMemory, recordBytes       = 88, 12
	changesetMemory, changesetBytes = 72, 3 + recordBytes
	stubMemory                      = 32
)

// ReadDelivery reads one delivery and returns the rest. What it returns
// follows the invariants of Delivery; each record still wants its Check.
func ReadDelivery(b []byte) (Delivery, []byte, error) {
	room := math.MaxInt
	return ReadDeliveryWithin(b, &room)
}

// ReadDeliveryWithin reads like ReadDelivery, and takes the memory it needs
// out of room: small records need several times their bytes. ErrRoom comes
// before more is taken than there is.
func ReadDeliveryWithin(b []byte, room *int) (Delivery, []byte, error) {
	d, rest, err := readDelivery(b, room)
	if err != nil {
		return Delivery{}, nil, fmt.Errorf("delivery: %w", err)
	}
	return d, rest, nil
}

// PeekDelivery reads only what a delivery is about, to drop one that is known
// before its records cost anything.
func PeekDelivery(b []byte) (Writer, Range, error) {
	w, r, _, err := readDeliveryHead(b)
	if err != nil {
		return Writer{}, Range{}, fmt.Errorf("delivery: %w", err)
	}
	return w, r, nil
}

func readDeliveryHead(b []byte) (w Writer, r Range, rest []byte, err error) {
	if w, b, err = ReadWriter(b); err != nil {
		return w, r, nil, err
	}
	from, b, err := readUvarint(b)
	if err != nil {
		return w, r, nil, err
	}
	span, b, err := readUvarint(b)
	if err != nil {
		return w, r, nil, err
	}
	if from == 0 || from+span < from {
		return w, r, nil, errors.New("bad version range")
	}
	return w, Range{Version(from), Version(from + span)}, b, nil
}

// takeRoom takes n bytes out of room, or reports that it has not so many.
func takeRoom(room *int, n int) error {
	if n > *room {
		return ErrRoom
	}
	*room -= n
	return nil
}

func readDelivery(b []byte, room *int) (d Delivery, rest []byte, err error) {
	if d.Writer, d.Range, b, err = readDeliveryHead(b); err != nil {
		return d, nil, err
	}
	from, span := uint64(d.Range.From), uint64(d.Range.To-d.Range.From)
	n, b, err := readUvarint(b)
	if err != nil || n > uint64(len(b)/changesetBytes) || n > 0 && n-1 > span {
		return d, nil, errors.New("bad changeset count")
	}
	if err := takeRoom(room, int(n)*changesetMemory); err != nil {
		return d, nil, err
	}
	if n > 0 {
		d.Changesets = make([]Changeset, 0, n)
	}
	next := uint64(0)
	for range n {
		c := Changeset{Writer: d.Writer}
		if b, err = c.read(b, from, room); err != nil {
			return d, nil, err
		}
		if off := uint64(c.Version) - from; off < next || off > span {
			return d, nil, errors.New("changeset out of order or range")
		} else {
			next = off + 1
		}
		d.Changesets = append(d.Changesets, c)
	}
	return d, b, nil
}

func (c *Changeset) read(b []byte, from uint64, room *int) ([]byte, error) {
	off, b, err := readUvarint(b)
	if err != nil {
		return nil, err
	}
	c.Version = Version(from + off)
	zigzag, b, err := readUvarint(b)
	if err != nil {
		return nil, err
	}
	c.Wall = int64(zigzag>>1) ^ -int64(zigzag&1)
	n, b, err := readUvarint(b)
	if err != nil || n == 0 || n > MaxRecords || n > uint64(len(b)/recordBytes) {
		return nil, errors.New("bad record count") // a version with nothing left has no changeset
	}
	if err := takeRoom(room, int(n)*recordMemory); err != nil {
		return nil, err
	}
	c.Records = make([]Record, n)
	for i := range c.Records {
		if b, err = c.Records[i].read(b, room); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (r *Record) read(b []byte, room *int) (rest []byte, err error) {
	if len(b) < 9 {
		return nil, errTruncated
	}
	r.Table, r.Kind = TableID(binary.BigEndian.Uint64(b)), Kind(b[8]&^(flagDeleted|flagStub))
	r.Deleted = b[8]&flagDeleted != 0
	stub := b[8]&flagStub != 0
	b = b[9:]
	var key, order, cells []byte
	for _, part := range []*[]byte{&key, &order, &cells} {
		if *part, b, err = readBytes(b, MaxRow); err != nil {
			return nil, err
		}
	}
	if err := takeRoom(room, len(key)+len(order)+len(cells)+stubMemory); err != nil {
		return nil, err
	}
	r.Key, r.Order = Key(key), string(order)
	switch {
	case stub && len(cells) < len(Hash{}):
		return nil, fmt.Errorf("stub: %w", errTruncated)
	case stub:
		r.Stub = &Stub{Hash: Hash(cells[:len(Hash{})]), Reason: string(cells[len(Hash{}):])}
	case len(cells) > 0:
		r.Cells = bytes.Clone(cells)
	}
	return b, nil
}

func readString(b []byte, limit uint64) (string, []byte, error) {
	s, b, err := readBytes(b, limit)
	return string(s), b, err
}

// readBytes returns a part of b, not a copy.
func readBytes(b []byte, limit uint64) ([]byte, []byte, error) {
	n, b, err := readUvarint(b)
	if err != nil {
		return nil, nil, err
	}
	if n > limit {
		return nil, nil, fmt.Errorf("%d bytes are over the cap of %d", n, limit)
	}
	if n > uint64(len(b)) {
		return nil, nil, errTruncated
	}
	return b[:n:n], b[n:], nil
}
