package fault

import (
	"fmt"
	"time"
)

// Sample is what the nodes have counted until some moment.
type Sample struct {
	At    time.Time
	Nodes map[string]Count // by nameOf
}

// Count is what one node, or all of a region, has counted. The difference of
// two samples is a Count too.
type Count struct {
	Rows        int64 `json:"rows"`              // changes of machine rows that showed at nodes
	Unasked     int64 `json:"unasked_rows"`      // of them, more than the region's daemons can have caused
	Bytes       int64 `json:"bytes"`             // sent to peers by region nodes
	Unexplained int64 `json:"unexplained_bytes"` // of them, more than the rows and the time can have cost
	Restarts    int64 `json:"restarts"`          // ends of nodes
	ApplyErrors int64 `json:"apply_errors"`      // deliveries that a store rejected
	Withheld    int64 `json:"withheld"`          // records that are not visible

	Errors int64 `json:"request_errors"` // failed requests to machines of the region

	Owners map[string]int64 `json:"-"` // rows by the worker that owns them, as nameOf
	silent bool             // the node did not answer: what it says is not known
}

// What traffic may cost, with room above what was measured: some 190 bytes for
// a row that shows at a node, and 250 for a node and second.
const (
	bytesPerRow    = 800
	bytesPerSecond = 2 << 10
	bytesAnyway    = 64 << 10
)

// explained is how many bytes that much traffic can have cost.
func (c Count) explained(nodes int, lasted time.Duration) int64 {
	return bytesAnyway + c.Rows*bytesPerRow + int64(float64(nodes)*lasted.Seconds()*bytesPerSecond)
}

func (c Count) plus(o Count) Count {
	c.Rows, c.Unasked, c.Bytes = c.Rows+o.Rows, c.Unasked+o.Unasked, c.Bytes+o.Bytes
	c.Restarts, c.ApplyErrors, c.Withheld = c.Restarts+o.Restarts, c.ApplyErrors+o.ApplyErrors, c.Withheld+o.Withheld
	c.Errors += o.Errors
	return c
}

// since returns what was counted after before. A counter that went back began
// anew, with its process.
func (c Count) since(before Count) Count {
	grown := func(now, then int64) int64 {
		if now < then {
			return now
		}
		return now - then
	}
	out := Count{
		Rows: grown(c.Rows, before.Rows), Unasked: max(0, c.Unasked-before.Unasked), Bytes: grown(c.Bytes, before.Bytes),
		Restarts: grown(c.Restarts, before.Restarts), ApplyErrors: grown(c.ApplyErrors, before.ApplyErrors),
		Withheld: c.Withheld, Errors: grown(c.Errors, before.Errors), Owners: map[string]int64{},
	}
	if c.silent || before.silent {
		out.Bytes, out.ApplyErrors = 0, 0
	}
	for owner, n := range c.Owners {
		if d := grown(n, before.Owners[owner]); d > 0 {
			out.Owners[owner] = d
		}
	}
	return out
}

// touched lists what happened that traffic alone does not cause.
func (c Count) touched() []string {
	var out []string
	for _, x := range []struct {
		n    int64
		what string
	}{
		{c.Unasked, "rows that no daemon of it asked for"},
		{c.Unexplained, "bytes more than its traffic explains"},
		{c.Errors, "requests failed"},
		{c.Restarts, "nodes ended"},
		{c.ApplyErrors, "deliveries were rejected"},
		{c.Withheld, "records are withheld"},
	} {
		if x.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	return out
}
