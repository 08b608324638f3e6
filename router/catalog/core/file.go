package core

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zeebo/xxh3"
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
	b = appendString(b, fleet)
	b = binary.AppendVarint(b, current.UnixMilli())
	b = binary.AppendUvarint(b, uint64(len(c.apps)))
	for _, name := range slices.Sorted(maps.Keys(c.apps)) {
		a := c.apps[name]
		b = appendString(b, name)
		b = binary.AppendUvarint(b, uint64(len(a.parts)))
		for _, region := range slices.Sorted(maps.Keys(a.parts)) {
			b = appendPart(b, region, c.localities[region], a.parts[region])
		}
	}
	return binary.BigEndian.AppendUint64(b, xxh3.Hash(b[begin:]))
}

func appendPart(b []byte, region, locality string, p *part) []byte {
	b = appendString(appendString(b, region), locality)
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
		b = binary.AppendUvarint(appendString(appendString(b, k.worker), k.id), flags)
		b = binary.AppendUvarint(b, uint64(len(e.Addresses)))
		for _, a := range e.Addresses {
			b = appendString(b, a)
		}
		b = binary.AppendUvarint(b, uint64(len(e.Services)))
		for _, s := range e.Services {
			b = binary.AppendUvarint(appendString(appendString(b, s.Name), s.Protocol), uint64(s.Port))
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
	d := decoder{b: body[len(magic):]}
	of := d.string()
	current = time.UnixMilli(d.varint())
	if current.After(now) {
		current = now // a clock went back: its age counts from now
	}
	if d.err == nil && fleet != "" && of != fleet {
		return time.Time{}, fmt.Errorf("%w: it is of fleet %q, not %q", ErrFile, of, fleet)
	}
	apps, localities := map[string]*app{}, map[string]string{}
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		name := d.string()
		a := &app{parts: map[string]*part{}}
		for m := d.uvarint(); m > 0 && d.err == nil; m-- {
			region, locality := d.string(), d.string()
			localities[region] = locality
			a.parts[region] = d.part(name, region, current)
		}
		apps[name] = a
	}
	if d.err == nil && len(d.b) > 0 {
		d.err = errors.New("bytes are left over")
	}
	if d.err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrFile, d.err)
	}
	c.apps, c.localities = apps, localities
	for name := range maps.Keys(apps) {
		c.dirty[name] = struct{}{}
	}
	return current, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads what Append wrote. After the first error it returns zero
// values, and it allocates no more than it was given.
type decoder struct {
	b   []byte
	err error
}

var errShort = errors.New("truncated")

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.b)
	if d.err != nil || size <= 0 {
		d.err = errShort
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) varint() int64 {
	n, size := binary.Varint(d.b)
	if d.err != nil || size <= 0 {
		d.err = errShort
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) string() string {
	n := d.uvarint()
	if d.err != nil || n > uint64(len(d.b)) {
		d.err = errShort
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) part(name, region string, since time.Time) *part {
	p := &part{claims: map[key]claim{}, since: since}
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		k := key{d.string(), d.string()}
		flags := d.uvarint()
		e := Endpoint{
			Region: region, Worker: k.worker, Machine: k.id, App: name,
			Warning: flags&2 != 0, Suspect: flags&4 != 0, Contested: flags&8 != 0, Moving: flags&16 != 0,
		}
		for m := d.uvarint(); m > 0 && d.err == nil; m-- {
			e.Addresses = append(e.Addresses, d.string())
		}
		for m := d.uvarint(); m > 0 && d.err == nil; m-- {
			e.Services = append(e.Services, Service{Name: d.string(), Protocol: d.string(), Port: uint32(d.uvarint())})
		}
		p.claims[k] = claim{endpoint: e, routable: flags&1 != 0}
	}
	return p
}
