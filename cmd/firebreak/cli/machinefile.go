package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// The API's limits on one list of machines.
const (
	maxMachines = 100_000
	maxBytes    = 64 << 20
	maxLine     = 1 << 20
)

// readMachines reads NDJSON, a machine a line, from a file or "-" for standard
// input. It reads all of it before it returns any: a bad line, named by its
// number, means that nothing is sent.
func (e *env) readMachines(file string) ([]*regionpb.Machine, error) {
	in, name := e.in, "standard input"
	if file != "-" {
		name = file
		f, err := os.Open(file)
		if err != nil {
			return nil, exit.With(exit.Usage, err)
		}
		defer f.Close()
		in = f
	}
	machines, err := parseMachines(in)
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("nothing was sent: %s: %w", name, err))
	}
	return machines, nil
}

func parseMachines(in io.Reader) ([]*regionpb.Machine, error) {
	var out []*regionpb.Machine
	seen := map[string]int{}
	size := 0
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if len(line) == 0 {
			continue
		}
		m, err := parseMachine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if first, ok := seen[m.GetId()]; ok {
			return nil, fmt.Errorf("line %d: machine %q is on line %d already", n, m.GetId(), first)
		}
		seen[m.GetId()] = n
		if size += proto.Size(m); len(out) >= maxMachines || size > maxBytes {
			return nil, fmt.Errorf("line %d: over the limit of %d machines and %d bytes", n, maxMachines, maxBytes)
		}
		out = append(out, m)
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d: longer than %d bytes", n+1, maxLine)
	} else if err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	return out, nil
}
