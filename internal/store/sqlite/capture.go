package sqlite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/native"
)

// maxTouched bounds what one transaction may touch, also if it leaves all of
// it as it was: the keys are kept in memory until it commits.
const maxTouched = 100_000

// maxTouchedBytes bounds what one statement may touch, in bytes of keys and of
// rows as they were.
const maxTouchedBytes = 64 << 20

// capture collects the rows that SQL touches in one local write. Triggers tell
// it by the functions _fb_capture and _fb_touch of the writing connection. It
// belongs to the writing goroutine, which runs the SQL and so the functions.
type capture struct {
	state   native.State
	tables  func() *tableSet
	touched map[touchKey]*touch
}

type touchKey struct {
	table string
	key   record.Key
}

type touch struct {
	touchKey
	cols  []record.Value // of the key
	old   store.Row      // before the transaction; nil if it was not there
	more  record.Key     // the row whose cells of unknown columns it has now; empty for none
	now   store.Row      // after it, nil if it is not there; if that is known
	known bool
}

func (c *capture) start() {
	c.state.Set(true)
	c.touched = map[touchKey]*touch{}
}

func (c *capture) stop() []*touch {
	out := make([]*touch, 0, len(c.touched))
	for _, t := range c.touched {
		out = append(out, t)
	}
	c.state.Set(false)
	_, _ = c.state.Calls(nothing) // of a statement that failed
	c.touched = nil
	slices.SortFunc(out, func(a, b *touch) int {
		if n := strings.Compare(a.table, b.table); n != 0 {
			return n
		}
		return strings.Compare(string(a.key), string(b.key))
	})
	return out
}

func nothing([]record.Value) error { return nil }

// register makes the functions known to the connection that may write.
func (c *capture) register(cn *conn) (err error) {
	s, err := cn.kept("SELECT 1")
	if err != nil {
		return err
	}
	cn.state, err = native.Attach(s.n, "_fb_capture", "_fb_touch", maxTouchedBytes)
	c.state = cn.state
	return err
}

// read takes down what the triggers of one statement have told.
func (c *capture) read(failed error) error {
	over, err := c.state.Calls(func(args []record.Value) error {
		if failed != nil {
			return nil
		}
		return c.touch(args)
	})
	if over {
		return fmt.Errorf("statement touches rows of more than %d bytes: %w", maxTouchedBytes, store.ErrTooLarge)
	}
	return cmpOr(failed, err)
}

// touch takes the values that a trigger gives: table and operation, and on
// insert the key, on delete the old row, on update the old row and the new key.
func (c *capture) touch(args []record.Value) error {
	var t *table
	if len(args) > 1 {
		t = c.tables().byName[args[0].Data]
	}
	if t == nil {
		return fmt.Errorf("a table that is not known to this node")
	}
	op, vals := args[1].Data, args[2:]
	n, width := len(t.Key), t.Width()
	switch {
	case op == "insert" && len(vals) == n:
		return c.moved(t, nil, vals)
	case op == "delete" && len(vals) == width:
		return c.moved(t, vals, nil)
	case op == "update" && len(vals) == width+n:
		return c.moved(t, vals[:width], vals[width:])
	}
	return fmt.Errorf("table %s: bad call of the capture function", t.Name)
}

// moved takes down that a row, which was old, has come to the key to: nil if
// it was not there, or is no more. The cells of unknown columns go with it.
func (c *capture) moved(t *table, old, to []record.Value) error {
	n := len(t.Key)
	var from *touch
	var more record.Key
	if old != nil {
		var err error
		if from, err = c.add(t, old[:n], old); err != nil {
			return err
		}
		if to != nil && slices.EqualFunc(old[:n], to, record.Value.Equal) {
			return nil
		}
		from.more, more = "", from.more
	}
	if to == nil {
		return nil
	}
	x, err := c.add(t, to, nil)
	if err == nil {
		x.more = more
	}
	return err
}

func (c *capture) add(t *table, key, old []record.Value) (*touch, error) {
	if err := t.fitsKey(key); err != nil {
		return nil, err
	}
	k, err := record.EncodeKey(key...)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, err)
	}
	x, err := c.take(touchKey{t.Name, k}, key, old)
	if err == nil {
		x.known = false
	}
	return x, err
}

// take returns the touch of a row, which was old before the first one.
func (c *capture) take(at touchKey, cols, old []record.Value) (*touch, error) {
	x := c.touched[at]
	if x == nil {
		if len(c.touched) >= maxTouched {
			return nil, fmt.Errorf("transaction touches more than %d rows: %w", maxTouched, store.ErrTooLarge)
		}
		x = &touch{touchKey: at, cols: cols, old: old, more: at.key}
		c.touched[at] = x
	}
	return x, nil
}
