// Package record is the unit of replication and the rule that merges it. A
// Record is one whole row with its rank; of two records of one key the higher
// rank wins, whole. Nothing else decides: no clock, order of arrival or
// content. So merging is commutative, associative and idempotent, and equal
// received sets give equal state.
//
// The package also fixes the bytes that must never change by accident: keys,
// cells, ids, ranks and content hashes. docs/reference/wire.md describes them
// and a test holds its golden vectors.
package record

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/zeebo/blake3"

	"github.com/firebreak-dev/firebreak/internal/hlc"
)

// The caps of DESIGN: over them a write is refused before anything is written.
const (
	MaxRow       = 64 << 10 // bytes of one record's key and cells
	MaxRecords   = 1000     // records of one changeset
	MaxChangeset = 1 << 20  // bytes of one encoded changeset
)

// Kind is what decides the rank of a table's rows.
type Kind byte

// The replicated kinds. Local tables are plain SQLite and make no records.
const (
	Owned  Kind = 1 // one writer-node per row; ranked by boot, bits, version
	Shared Kind = 2 // any node; ranked by hybrid logical clock, then writer
	Ranked Kind = 3 // the rank is in the row; then writer and version
)

// Kinds lists them, in order.
var Kinds = [...]Kind{Owned, Shared, Ranked}

// String gives the word used in SQL files and listings.
func (k Kind) String() string {
	switch k {
	case Owned:
		return "owned"
	case Shared:
		return "shared"
	case Ranked:
		return "ranked"
	}
	return fmt.Sprintf("kind(%d)", byte(k))
}

// TableID names a table on the wire, whatever its columns are by now.
type TableID uint64

// ColumnID names a column on the wire: a dropped column and a later one of
// its name have different ids.
type ColumnID uint64

// Rank decides between two records of one key: the higher, compared as bytes,
// wins. Two different records of one key never tie.
type Rank string

// Record is one whole row, or its tombstone.
type Record struct {
	Table   TableID
	Kind    Kind
	Key     Key
	Order   string // what ranks before the writer: empty (owned), 8 bytes of stamp (shared), the ordered encoding of the rank columns (ranked)
	Deleted bool   // a tombstone; Cells is empty
	Cells   []byte // canonical, see EncodeCells; never written to after
	Stub    *Stub  // set if the cells were discarded; nil for a whole record
}

// Stub stands for a record that somebody withheld and discarded: what of it
// counts is kept, its cells are not. It is received like the whole record,
// ranks like it and sums like it, and is never shown.
type Stub struct {
	Hash   Hash   // of the whole record
	Reason string // why it was withheld, in the words of the store
}

// maxReason bounds the reason of a stub, in bytes.
const maxReason = 32

// Stamp returns the clock stamp of a shared record, else zero.
func (r Record) Stamp() hlc.Timestamp {
	if r.Kind != Shared || len(r.Order) != 8 {
		return 0
	}
	return hlc.Timestamp(binary.BigEndian.Uint64([]byte(r.Order)))
}

// StampOrder returns the Order of a shared record.
func StampOrder(t hlc.Timestamp) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(t)))
}

// Rank returns the rank of r as version v of writer w.
//
// Owned: boot, bits, version. Shared: stamp, node, boot, bits. Ranked: the
// rank columns, node, boot, bits, version. Numbers are 8 bytes big endian, the
// node is encoded as in a key.
func (r Record) Rank(p Point) Rank {
	return Rank(r.appendRank(make([]byte, 0, 64), p))
}

func (r Record) appendRank(b []byte, p Point) []byte {
	w := p.Writer
	if r.Kind != Owned {
		b = append(b, r.Order...)
		b, _ = appendOrdered(b, Value{Type: Text, Data: string(w.Node)})
	}
	b = binary.BigEndian.AppendUint64(b, w.Boot)
	b = binary.BigEndian.AppendUint64(b, w.Bits)
	if r.Kind != Shared {
		b = binary.BigEndian.AppendUint64(b, uint64(p.Version))
	}
	return b
}

// Wins reports whether a record of rank offered replaces one of rank held.
// The empty rank is no record at all.
func Wins(offered, held Rank) bool { return offered > held }

// ForeignOwner reports whether r is an owned record that is not in the name of
// its writer's node. Such a record never competes for its key.
func (r Record) ForeignOwner(w Writer) bool {
	if r.Kind != Owned {
		return false
	}
	owner, err := r.Key.Owner()
	return err != nil || owner != w.Node
}

// Check reports what no schema could make right: an unknown kind, a malformed
// key, order or cells, a row over its cap.
func (r Record) Check() error {
	switch {
	case r.Kind < Owned || r.Kind > Ranked:
		return fmt.Errorf("record: unknown %v", r.Kind)
	case r.Deleted && len(r.Cells) > 0:
		return errors.New("record: tombstone with cells")
	case r.Stub != nil && len(r.Cells) > 0:
		return errors.New("record: stub with cells")
	case r.Stub != nil && (r.Stub.Reason == "" || len(r.Stub.Reason) > maxReason):
		return fmt.Errorf("record: stub with a reason of %d bytes", len(r.Stub.Reason))
	case len(r.Key)+len(r.Cells) > MaxRow:
		return fmt.Errorf("record: row of %d bytes is over the cap of %d", len(r.Key)+len(r.Cells), MaxRow)
	case r.Kind == Owned && r.Order != "", r.Kind == Shared && len(r.Order) != 8:
		return fmt.Errorf("record: order of %d bytes in a record of kind %v", len(r.Order), r.Kind)
	}
	if err := r.Key.check(); err != nil {
		return err
	}
	if r.Kind == Ranked {
		if err := Key(r.Order).check(); err != nil {
			return fmt.Errorf("rank columns: %w", err)
		}
	}
	// Not copied: nobody keeps what the cells share, and nobody writes to it.
	return EachCell(unsafe.String(unsafe.SliceData(r.Cells), len(r.Cells)), func(Cell) {})
}

// Cell is one column's value. Key columns are in the key and are no cells.
type Cell struct {
	Column ColumnID
	Value  Value
}

// EncodeCells gives the canonical bytes of a row: for each cell its column id
// (8 bytes big endian) and its value, by column id ascending. The caller has
// left out the cells that equal their column's absent value. It sorts cells.
func EncodeCells(cells []Cell) []byte {
	slices.SortFunc(cells, func(a, b Cell) int { return cmp.Compare(a.Column, b.Column) })
	size := 0
	for _, c := range cells {
		size += 8 + 1 + max(8, binary.MaxVarintLen32+len(c.Value.Data))
	}
	if size == 0 {
		return nil
	}
	out := make([]byte, 0, size)
	for _, c := range cells {
		out = AppendCell(out, c)
	}
	return out
}

// AppendCell appends one cell of canonical bytes.
func AppendCell(b []byte, c Cell) []byte {
	return AppendValue(binary.BigEndian.AppendUint64(b, uint64(c.Column)), c.Value)
}

// DecodeCells reads canonical bytes; anything but the one encoding that
// EncodeCells makes is an error.
func DecodeCells(b []byte) ([]Cell, error) {
	var out []Cell
	err := EachCell(string(b), func(c Cell) { out = append(out, c) })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// EachCell is DecodeCells without a slice: the cells share the memory of s.
func EachCell(b string, fn func(Cell)) error {
	var last ColumnID
	for first := true; len(b) > 0; first = false {
		if len(b) < 8 {
			return fmt.Errorf("cells: %w", errTruncated)
		}
		id := ColumnID(beUint64(b))
		if !first && id <= last {
			return errors.New("cells: column ids do not ascend")
		}
		v, rest, err := readValue(b[8:])
		if err != nil {
			return fmt.Errorf("cells: %w", err)
		}
		fn(Cell{id, v})
		last, b = id, rest
	}
	return nil
}

// Hash is the content hash of one record.
type Hash [16]byte

// String gives 32 hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Hasher makes content hashes of one cluster. Not safe for concurrent use.
type Hasher struct {
	h         *blake3.Hasher
	buf, rank []byte
}

// NewHasher returns the hasher of a cluster: cluster is "global" or
// "region/<name>". The key is SHA-256 of fleet, a zero byte and cluster.
func NewHasher(fleet, cluster string) *Hasher {
	key := sha256.Sum256([]byte(fleet + "\x00" + cluster))
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic(err) // only for a key that is not 32 bytes
	}
	return &Hasher{h: h}
}

// Hash returns the first 128 bits of keyed BLAKE3 over table id (8 bytes),
// key and rank (each with an unsigned varint length before it), one byte that
// is 1 for a tombstone, and the canonical cells. A stub says its hash itself.
func (s *Hasher) Hash(r Record, p Point) Hash {
	if r.Stub != nil {
		return r.Stub.Hash
	}
	rank := r.appendRank(s.rank[:0], p)
	b := binary.BigEndian.AppendUint64(s.buf[:0], uint64(r.Table))
	b = append(binary.AppendUvarint(b, uint64(len(r.Key))), r.Key...)
	b = append(binary.AppendUvarint(b, uint64(len(rank))), rank...)
	if r.Deleted {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = append(b, r.Cells...)
	s.buf, s.rank = b, rank
	s.h.Reset()
	_, _ = s.h.Write(b)
	s.buf = s.h.Sum(b[:0])
	return Hash(s.buf[:16])
}

// Fingerprint is a sum of content hashes mod 2^128: equal sets of records have
// equal fingerprints, whatever the order they came in.
type Fingerprint struct {
	Hi, Lo uint64
}

func (f Fingerprint) of(h Hash) (hi, lo uint64) {
	return binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:])
}

// Add returns f with h in it.
func (f Fingerprint) Add(h Hash) Fingerprint {
	hi, lo := f.of(h)
	sum := f.Lo + lo
	carry := uint64(0)
	if sum < lo {
		carry = 1
	}
	return Fingerprint{f.Hi + hi + carry, sum}
}

// Sub returns f with h taken out.
func (f Fingerprint) Sub(h Hash) Fingerprint {
	hi, lo := f.of(h)
	borrow := uint64(0)
	if f.Lo < lo {
		borrow = 1
	}
	return Fingerprint{f.Hi - hi - borrow, f.Lo - lo}
}

// Append appends the 16 bytes of f, big endian.
func (f Fingerprint) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, f.Hi), f.Lo)
}

// String gives 32 hex digits.
func (f Fingerprint) String() string { return fmt.Sprintf("%016x%016x", f.Hi, f.Lo) }

// Changeset is what one writer committed in one transaction, or those of its
// records that still stand.
type Changeset struct {
	Writer  Writer
	Version Version
	Wall    int64 // Unix milliseconds of the commit, by the writer's clock
	Records []Record
}

// Point returns the writer and version of c.
func (c Changeset) Point() Point { return Point{c.Writer, c.Version} }

// Delivery accounts for the versions Range of one writer: Changesets holds, in
// ascending order, those records of them that still stand at the sender; a
// version without one has nothing left. A pushed changeset is a delivery of
// one version.
type Delivery struct {
	Writer     Writer
	Range      Range
	Changesets []Changeset
}

// Pushed returns c as a delivery.
func Pushed(c Changeset) Delivery {
	return Delivery{Writer: c.Writer, Range: Range{c.Version, c.Version}, Changesets: []Changeset{c}}
}
