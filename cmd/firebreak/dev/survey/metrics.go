package survey

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// used is what a node's metrics say.
type used struct {
	bytes      map[string]int64
	goroutines int64 // zero for a node in this process
}

// maxLine bounds a line of /metrics.
const maxLine = 1 << 20

// read reads the text of /metrics.
func read(from io.Reader) (used, error) {
	u := used{bytes: map[string]int64{}}
	in := bufio.NewScanner(from)
	in.Buffer(nil, maxLine)
	for in.Scan() {
		name, number, ok := strings.Cut(in.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		name, labels, _ := strings.Cut(name, "{")
		if name != "firebreak_mesh_bytes_sent_total" && name != "go_goroutines" {
			continue
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || !(v >= 0 && v < 1<<62) {
			return used{}, fmt.Errorf("metric %s is %q", name, number)
		}
		if name == "go_goroutines" {
			u.goroutines = int64(v)
			continue
		}
		class, _, _ := strings.Cut(strings.TrimPrefix(labels, `class="`), `"`)
		u.bytes[class] += int64(v)
	}
	if err := in.Err(); err != nil {
		return used{}, fmt.Errorf("read metrics: %w", err)
	}
	return u, nil
}
