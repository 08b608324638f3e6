package sqlite

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// SQLite takes a log whose end is missing for one that ends there: no error,
// only less. That is an older state of the database, which peers bring up to
// date, unless a later part was on its way into the file already: then file
// and log together are no state there ever was. The index of the log, a file
// that outlives a killed process, tells the two apart.
//
// Formats: https://www.sqlite.org/walformat.html

// logIndex is what the -shm file says of the log.
type logIndex struct {
	salt     [8]byte
	frames   uint32 // committed
	moved    uint32 // surely in the file
	movedTry uint32 // perhaps in the file
}

const (
	logHeader   = 32
	frameHeader = 24
)

// checkLog returns an error if the log at path lacks what the file has already
// taken from it, and else how many committed pages are missing at its end. Only
// for a database that no connection has open.
func checkLog(path string) (lost int, err error) {
	index, ok, err := readLogIndex(path + "-shm")
	if err != nil || !ok || index.frames == 0 {
		return 0, err
	}
	have, same, err := framesOf(path+"-wal", index)
	if err != nil {
		return 0, err
	}
	switch {
	case !same && index.moved == index.frames:
		return 0, nil // all of it is in the file
	case !same && index.movedTry == index.moved:
		return int(index.frames - index.moved), nil
	case !same || have < max(index.moved, index.movedTry):
		return 0, fmt.Errorf("%w: the log holds %d pages, and %d were on their way into the file", ErrDamaged, have, max(index.moved, index.movedTry))
	}
	return int(max(have, index.frames) - have), nil
}

// readLogIndex reads the head of the index; not ok means that it proves
// nothing.
func readLogIndex(path string) (x logIndex, ok bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return x, false, nil
	} else if err != nil {
		return x, false, fmt.Errorf("index of the log: %w", err)
	}
	defer f.Close()
	b := make([]byte, 136)
	if _, err := io.ReadFull(f, b); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return x, false, nil
	} else if err != nil {
		return x, false, fmt.Errorf("index of the log: %w", err)
	}
	if !bytes.Equal(b[:48], b[48:96]) || b[12] != 1 {
		return x, false, nil // it was being written
	}
	n := binary.NativeEndian
	copy(x.salt[:], b[32:40])
	x.frames, x.moved, x.movedTry = n.Uint32(b[16:]), n.Uint32(b[96:]), n.Uint32(b[128:])
	return x, x.moved <= x.frames && x.movedTry <= x.frames, nil
}

// framesOf counts the pages up to the last commit of the log; not same means
// that it is not the log that the index speaks of.
func framesOf(path string, index logIndex) (have uint32, same bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	} else if err != nil {
		return 0, false, fmt.Errorf("log: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	head := make([]byte, logHeader)
	if _, err := io.ReadFull(r, head); err != nil || !bytes.Equal(head[16:24], index.salt[:]) {
		return 0, false, nil
	}
	sum := checksum{big: head[3]&1 == 1}
	sum.add(head[:24])
	page := binary.BigEndian.Uint32(head[8:])
	if !sum.is(head[24:32]) || page < 512 || page > 65536 {
		return 0, false, nil
	}
	frame := make([]byte, frameHeader+page)
	for n := uint32(1); n <= index.frames; n++ {
		if _, err := io.ReadFull(r, frame); err != nil || !bytes.Equal(frame[8:16], index.salt[:]) {
			break
		}
		sum.add(frame[:8])
		sum.add(frame[frameHeader:])
		if !sum.is(frame[16:24]) {
			break
		}
		if binary.BigEndian.Uint32(frame[4:]) != 0 {
			have = n
		}
	}
	return have, true, nil
}

// checksum is that of the log, over words in one order.
type checksum struct {
	big    bool
	s1, s2 uint32
}

func (c *checksum) add(b []byte) {
	s1, s2 := c.s1, c.s2
	for ; len(b) >= 8; b = b[8:] {
		if c.big {
			s1 += binary.BigEndian.Uint32(b) + s2
			s2 += binary.BigEndian.Uint32(b[4:]) + s1
		} else {
			s1 += binary.LittleEndian.Uint32(b) + s2
			s2 += binary.LittleEndian.Uint32(b[4:]) + s1
		}
	}
	c.s1, c.s2 = s1, s2
}

func (c *checksum) is(b []byte) bool {
	return binary.BigEndian.Uint32(b) == c.s1 && binary.BigEndian.Uint32(b[4:]) == c.s2
}
