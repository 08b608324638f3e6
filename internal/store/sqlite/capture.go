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

// capture collects the rows that SQL touches in one local write. Triggers tell
// it by the functions _fb_capture and _fb_touch of the writing connection. It
// belongs to the writing goroutine, which runs the SQL and so the functions.
type capture struct {
	on      native.State
	byName  map[string]*table
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
	reset bool           // removed on the way: cells of unknown columns go too
	now   store.Row      // after it, nil if it is not there; if that is known
	known bool
}

func (c *capture) start() {
	c.on.Set(true)
	c.touched = map[touchKey]*touch{}
}

func (c *capture) stop() []*touch {
	out := make([]*touch, 0, len(c.touched))
	for _, t := range c.touched {
		out = append(out, t)
	}
	c.on.Set(false)
	c.touched = nil
	slices.SortFunc(out, func(a, b *touch) int {
		if n := strings.Compare(a.table, b.table); n != 0 {
			return n
		}
		return strings.Compare(string(a.key), string(b.key))
	})
	return out
}

// register makes the functions known to the connection that may write. The
// first is asked for every row that anybody writes, so it is no Go function.
func (c *capture) register(cn *conn) (err error) {
	s, err := cn.kept("SELECT 1")
	if err != nil {
		return err
	}
	if cn.state, err = native.Attach(s.n, "_fb_capture"); err != nil {
		return err
	}
	c.on = cn.state
	return cn.c.RegisterFunc("_fb_touch", c.touch, false)
}

// touch takes the values that a trigger gives: on insert the key, on delete
// the old row, on update the old row and the new key.
func (c *capture) touch(name, op string, args ...any) (int64, error) {
	t := c.byName[name]
	if t == nil {
		return 0, fmt.Errorf("table %s is not known to this node", name)
	}
	vals := make([]record.Value, len(args))
	for i, a := range args {
		v, err := fromDriver(a)
		if err != nil {
			return 0, err
		}
		vals[i] = v
	}
	n, width := len(t.Key), t.Width()
	switch {
	case op == "insert" && len(vals) == n:
		return 0, c.add(t, vals, nil, false)
	case op == "delete" && len(vals) == width:
		return 0, c.add(t, vals[:n], vals, true)
	case op == "update" && len(vals) == width+n:
		old, key := vals[:width], vals[width:]
		moved := !slices.EqualFunc(old[:n], key, record.Value.Equal)
		if err := c.add(t, old[:n], old, moved); err != nil || !moved {
			return 0, err
		}
		return 0, c.add(t, key, nil, false)
	}
	return 0, fmt.Errorf("table %s: bad call of the capture function", name)
}

func (c *capture) add(t *table, key, old []record.Value, reset bool) error {
	k, err := record.EncodeKey(key...)
	if err != nil {
		return fmt.Errorf("table %s: %w", t.Name, err)
	}
	x, err := c.take(touchKey{t.Name, k}, key, old)
	if err == nil {
		x.reset, x.known = x.reset || reset, false
	}
	return err
}

// take returns the touch of a row, which was old before the first one.
func (c *capture) take(at touchKey, cols, old []record.Value) (*touch, error) {
	x := c.touched[at]
	if x == nil {
		if len(c.touched) >= maxTouched {
			return nil, fmt.Errorf("transaction touches more than %d rows: %w", maxTouched, store.ErrTooLarge)
		}
		x = &touch{touchKey: at, cols: cols, old: old}
		c.touched[at] = x
	}
	return x, nil
}
