package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// intents is the journal of what the loop has in hand: a small file beside the
// database that is written before records are merged and emptied after. What a
// start finds in it was in hand when the process ended. It is never synced: it
// has to outlive the process, not the machine.
//
// An entry is its length, its bytes and their CRC-32; a length of zero ends
// the list. One write adds an entry and the end behind it.
type intents struct {
	file journalFile
	at   int64
	buf  []byte
}

// journalFile is what the journal does with its file.
type journalFile interface {
	io.WriterAt
	io.Closer
}

// intent is one entry: a range of deliveries, or one record that is alone.
type intent struct {
	writer record.Writer
	rang   record.Range
	alone  record.Hash // set if a record was alone in hand, then nothing else is
}

// openIntents opens the journal of a database and returns what an earlier
// process left in it. The journal stays as it is until clear.
func openIntents(path string) (*intents, []intent, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open intent journal: %w", err)
	}
	// More than maxIntents is of no use to anybody.
	b := make([]byte, maxIntents*128)
	n, _ := f.ReadAt(b, 0) // what cannot be read was not in hand
	return &intents{file: f}, readIntents(b[:n]), nil
}

// maxIntents bounds what one start takes from the journal.
const maxIntents = 4096

func (j *intents) close() error { return j.file.Close() }

// add notes that range r of w is about to be merged.
func (j *intents) add(w record.Writer, r record.Range) error {
	b := record.AppendWriter(j.buf[:0], w)
	b = binary.AppendUvarint(b, uint64(r.From))
	b = binary.AppendUvarint(b, uint64(r.To-r.From))
	return j.write(b)
}

// addAlone notes that one record is about to be merged, and nothing else.
func (j *intents) addAlone(h record.Hash) error {
	j.at = 0
	return j.write(append(j.buf[:0], h[:]...))
}

func (j *intents) write(body []byte) error {
	j.buf = body
	out := make([]byte, 0, len(body)+6)
	out = append(append(out, byte(len(body))), body...)
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(body))
	if _, err := j.file.WriteAt(append(out, 0), j.at); err != nil {
		return fmt.Errorf("intent journal: %w", err)
	}
	j.at += int64(len(out))
	return nil
}

// clear notes that nothing is in hand.
func (j *intents) clear() error {
	if j.at == 0 {
		return nil
	}
	return j.reset()
}

func (j *intents) reset() error {
	j.at = 0
	if _, err := j.file.WriteAt([]byte{0}, 0); err != nil {
		return fmt.Errorf("intent journal: %w", err)
	}
	return nil
}

// readIntents reads as far as entries are whole.
func readIntents(b []byte) (out []intent) {
	for len(b) > 0 && b[0] > 0 && len(out) < maxIntents {
		n := int(b[0])
		if len(b) < 1+n+4 {
			return out
		}
		body, sum := b[1:1+n], binary.BigEndian.Uint32(b[1+n:])
		b = b[1+n+4:]
		in, err := readIntent(body)
		if sum != crc32.ChecksumIEEE(body) || err != nil {
			return out
		}
		out = append(out, in)
	}
	return out
}

func readIntent(b []byte) (in intent, err error) {
	if len(b) == len(in.alone) {
		copy(in.alone[:], b)
		return in, nil
	}
	if in.writer, b, err = record.ReadWriter(b); err != nil {
		return in, err
	}
	from, n := binary.Uvarint(b)
	if n <= 0 {
		return in, errors.New("bad range")
	}
	span, m := binary.Uvarint(b[n:])
	if m <= 0 || n+m != len(b) || from == 0 || from+span < from || from+span > maxVersion {
		return in, errors.New("bad range")
	}
	in.rang = record.Range{From: record.Version(from), To: record.Version(from + span)}
	return in, nil
}
