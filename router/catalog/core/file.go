package core

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/firebreak-dev/firebreak/internal/varint"
)

// A last-good file: a line that names the format, the fleet, the moment at
// which its content was current last, the content with its length before it,
// and a checksum of all that.
const magic = "firebreak catalog 1\n"

// ErrFile says that a file cannot be used.
var ErrFile = errors.New("last-good file refused")

// Append appends what is known as a last-good file.
func (c *Core) Append(b []byte, fleet string, current time.Time) []byte {
	begin := len(b)
	b = append(b, magic...)
	b = varint.AppendString(b, fleet)
	b = binary.AppendVarint(b, current.UnixMilli())
	b = binary.AppendUvarint(b, uint64(len(c.apps)))
	for _, name := range slices.Sorted(maps.Keys(c.apps)) {
		a := c.apps[name]
		b = varint.AppendString(b, name)
		b = binary.AppendUvarint(b, uint64(len(a.parts)))
		for _, region := range slices.Sorted(maps.Keys(a.parts)) {
			b = appendPart(b, region, c.localities[region], a.parts[region])
		}
	}
	return binary.BigEndian.AppendUint64(b, xxh3.Hash(b[begin:]))
}

func appendPart(b []byte, region, locality string, p *part) []byte {
	b = varint.AppendString(varint.AppendString(b, region), locality)
	b = binary.AppendUvarint(b, uint64(len(p.claims)))
	for _, k := range slices.SortedFunc(maps.Keys(p.claims), func(x, y key) int {
		return slices.Compare([]string{x.worker, x.id}, []string{y.worker, y.id})
	}) {
		cl := p.claims[k]
		e := cl.endpoint
		flags := uint64(0)
		for i, set := range []bool{cl.routable, e.Warning, e.Suspect, e.Contested, e.Moving} {
			if set {
				flags |= 1 << i
			}
		}
		b = binary.AppendUvarint(varint.AppendString(varint.AppendString(b, k.worker), k.id), flags)
		b = binary.AppendUvarint(b, uint64(len(e.Addresses)))
		for _, a := range e.Addresses {
			b = varint.AppendString(b, a)
		}
		b = binary.AppendUvarint(b, uint64(len(e.Services)))
		for _, s := range e.Services {
			b = binary.AppendUvarint(varint.AppendString(varint.AppendString(b, s.Name), s.Protocol), uint64(s.Port))
		}
	}
	return b
}

// Load takes over a last-good file of a fleet (any, if fleet is empty) and
// returns when its content was current last. On an error, which is an ErrFile,
// nothing is taken.
func (c *Core) Load(data []byte, fleet string, now time.Time) (current time.Time, err error) {
	if len(data) < len(magic)+8 || string(data[:len(magic)]) != magic {
		return time.Time{}, fmt.Errorf("%w: it does not begin with %q", ErrFile, magic[:len(magic)-1])
	}
	body := data[:len(data)-8]
	if binary.BigEndian.Uint64(data[len(data)-8:]) != xxh3.Hash(body) {
		return time.Time{}, fmt.Errorf("%w: it does not match its checksum", ErrFile)
	}
	d := &varint.Reader{Rest: body[len(magic):]}
	of := d.String()
	current = time.UnixMilli(d.Varint())
	if current.After(now) {
		current = now // a clock went back: its age counts from now
	}
	if d.Err == nil && fleet != "" && of != fleet {
		return time.Time{}, fmt.Errorf("%w: it is of fleet %q, not %q", ErrFile, of, fleet)
	}
	apps, localities := map[string]*app{}, map[string]string{}
	for n := d.Uvarint(); n > 0 && d.Err == nil; n-- {
		name := d.String()
		a := &app{parts: map[string]*part{}}
		for m := d.Uvarint(); m > 0 && d.Err == nil; m-- {
			region, locality := d.String(), d.String()
			localities[region] = locality
			a.parts[region] = readPart(d, name, region, current)
		}
		apps[name] = a
	}
	if d.Err == nil && len(d.Rest) > 0 {
		d.Err = errors.New("bytes are left over")
	}
	if d.Err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrFile, d.Err)
	}
	c.apps, c.localities = apps, localities
	for name := range maps.Keys(apps) {
		c.dirty[name] = struct{}{}
	}
	return current, nil
}

func readPart(d *varint.Reader, name, region string, since time.Time) *part {
	p := &part{claims: map[key]claim{}, since: since}
	for n := d.Uvarint(); n > 0 && d.Err == nil; n-- {
		k := key{d.String(), d.String()}
		flags := d.Uvarint()
		e := Endpoint{
			Region: region, Worker: k.worker, Machine: k.id, App: name,
			Warning: flags&2 != 0, Suspect: flags&4 != 0, Contested: flags&8 != 0, Moving: flags&16 != 0,
		}
		for m := d.Uvarint(); m > 0 && d.Err == nil; m-- {
			e.Addresses = append(e.Addresses, d.String())
		}
		for m := d.Uvarint(); m > 0 && d.Err == nil; m-- {
			e.Services = append(e.Services, Service{Name: d.String(), Protocol: d.String(), Port: uint32(d.Uvarint())})
		}
		p.claims[k] = claim{endpoint: e, routable: flags&1 != 0}
	}
	return p
}
