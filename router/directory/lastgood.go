package directory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/varint"
)

// The last-good file: a line that names the format; a header (fleet, when it
// was written, when a global node was last heard, and per region its name and
// the length and checksum of its section) with its length before and its
// checksum after it; and the sections. A section that does not sum up is
// refused alone.
const fileMagic = "firebreak directory 1\n"

const maxFileRegions = 4096

// File is what a last-good file holds.
type File struct {
	Fleet   string
	Written int64 // Unix nanoseconds
	Heard   int64 // when a global node was last heard, Unix nanoseconds; zero for never
	Regions []*Region
}

// Section returns a region as it stands in a file.
func (r *Region) Section() []byte {
	b := appendGeneration(nil, r.generation)
	b = varint.AppendString(b, r.generationRank)
	b = varint.AppendString(b, r.recordRank)
	b = appendRecord(b, r.record)
	b = binary.AppendVarint(b, spokeAt(r))
	b = binary.AppendUvarint(b, uint64(len(r.rows)))
	for _, app := range slices.Sorted(maps.Keys(r.rows)) {
		w := r.rows[app]
		flags := uint64(w.class) << 1
		if w.held {
			flags |= 1
		}
		b = varint.AppendString(b, string(app))
		b = binary.AppendUvarint(b, flags)
		b = binary.AppendVarint(b, w.since)
		b = varint.AppendString(b, w.rank)
	}
	return b
}

func spokeAt(r *Region) int64 {
	if !r.everSpoke {
		return 0
	}
	return r.spoke.Wall
}

// Section is one region's part of a file.
type Section struct {
	Region fleet.Region
	Data   []byte
}

// AppendFile appends a whole file.
func AppendFile(b []byte, f File, sections []Section) []byte {
	head := varint.AppendString(nil, f.Fleet)
	head = binary.AppendVarint(head, f.Written)
	head = binary.AppendVarint(head, f.Heard)
	head = binary.AppendUvarint(head, uint64(len(sections)))
	for _, s := range sections {
		head = varint.AppendString(head, string(s.Region))
		head = binary.AppendUvarint(head, uint64(len(s.Data)))
		head = binary.BigEndian.AppendUint64(head, sectionSum(s))
	}
	b = append(b, fileMagic...)
	b = binary.AppendUvarint(b, uint64(len(head)))
	b = append(b, head...)
	b = binary.BigEndian.AppendUint64(b, xxh3.Hash(head))
	for _, s := range sections {
		b = append(b, s.Data...)
	}
	return b
}

// sectionSum covers the name too, so that sections cannot change places.
func sectionSum(s Section) uint64 {
	h := xxh3.New()
	_, _ = h.WriteString(string(s.Region) + "\x00")
	_, _ = h.Write(s.Data)
	return h.Sum64()
}

// ErrFile says that nothing of a file could be used.
var ErrFile = errors.New("last-good file refused")

// ReadFile reads a file of a fleet at start. Regions whose section is damaged
// are refused by name and the others kept. If the file is of another fleet,
// or its header damaged, nothing is kept and the error is an ErrFile.
func ReadFile(data []byte, fleetName string, now Instant) (f File, refused []error, err error) {
	if len(data) < len(fileMagic) || string(data[:len(fileMagic)]) != fileMagic {
		return File{}, nil, fmt.Errorf("%w: it does not begin with %q", ErrFile, fileMagic[:len(fileMagic)-1])
	}
	d := decoder{varint.Reader{Rest: data[len(fileMagic):]}}
	head := d.Bytes(d.Uvarint())
	sum := d.Uint64()
	if d.Err != nil {
		return File{}, nil, fmt.Errorf("%w: it ends within its header", ErrFile)
	}
	if sum != xxh3.Hash(head) {
		return File{}, nil, fmt.Errorf("%w: its header does not match its checksum", ErrFile)
	}
	h := decoder{varint.Reader{Rest: head}}
	f = File{Fleet: h.String(), Written: h.Varint(), Heard: h.Varint()}
	n := h.Uvarint()
	if h.Err != nil || n > maxFileRegions {
		return File{}, nil, fmt.Errorf("%w: bad header", ErrFile)
	}
	if f.Fleet != fleetName {
		return File{}, nil, fmt.Errorf("%w: it is of fleet %q, not %q", ErrFile, f.Fleet, fleetName)
	}
	for range n {
		name, size, sum := fleet.Region(h.String()), h.Uvarint(), h.Uint64()
		if h.Err != nil {
			return File{}, nil, fmt.Errorf("%w: bad header", ErrFile)
		}
		s := Section{name, d.Bytes(size)}
		switch {
		case d.Err != nil:
			refused = append(refused, fmt.Errorf("region %q: the file ends within its section", name))
		case sectionSum(s) != sum:
			refused = append(refused, fmt.Errorf("region %q: its section does not match its checksum", name))
		default:
			r, err := readRegion(s, fleetName, now)
			if err != nil {
				refused = append(refused, fmt.Errorf("region %q: %w", name, err))
				continue
			}
			f.Regions = append(f.Regions, r)
		}
	}
	return f, refused, nil
}

func readRegion(s Section, fleetName string, now Instant) (*Region, error) {
	if err := s.Region.Check(); err != nil {
		return nil, err
	}
	r := NewRegion(fleetName, s.Region, now)
	d := decoder{varint.Reader{Rest: s.Data}}
	r.generation = d.generation()
	r.generationRank = d.String()
	r.recordRank = d.String()
	r.record = d.record(s.Region)
	if wall := d.Varint(); wall != 0 {
		r.spoke, r.everSpoke = FromFile(wall, now), true
	}
	if d.Err == nil && r.recordRank != "" {
		if err := r.record.Check(); err != nil {
			return nil, err
		}
		r.recordTerm = r.hasher.Region(r.record)
		r.setDigest(r.recordTerm, now)
	}
	for n := d.Uvarint(); n > 0 && d.Err == nil; n-- {
		app := fleet.App(d.String())
		flags := d.Uvarint()
		w := row{class: presence.Class(min(flags>>1, uint64(presence.MaxClass))), held: flags&1 != 0, since: d.Varint(), rank: d.String()}
		if d.Err != nil {
			break
		}
		if err := app.Check(); err != nil {
			return nil, err
		}
		r.put(app, w, now)
	}
	if d.Err == nil && len(d.Rest) > 0 {
		d.Err = errors.New("bytes are left over")
	}
	return r, d.Err
}

// FromFile returns the moment that stands in a file as a wall time. The
// monotonic clock of the process that wrote it is gone: its age counts by the
// wall alone, and by both from now on.
func FromFile(wall int64, now Instant) Instant {
	wall = max(0, min(wall, now.Wall))
	return Instant{Wall: wall, Mono: now.Mono - time.Duration(now.Wall-wall)}
}
