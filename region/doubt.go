package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/region/roster"
)

// doubt marks rows of this worker that an earlier start of this node wrote
// without this one knowing (its disk was put back): they stand, unconfirmed,
// until the daemon publishes or reconciles them. The marks last over restarts.
type doubt struct {
	n      *Node
	path   string
	raised chan struct{} // rows changed behind the daemon's back
	heard  chan struct{} // ids changed

	mu  sync.Mutex
	ids map[fleet.MachineID]bool
}

// doubtFile is the file's content.
type doubtFile struct {
	Unconfirmed []fleet.MachineID `json:"unconfirmed"`
}

func openDoubt(n *Node) (*doubt, error) {
	d := &doubt{n: n, path: filepath.Join(n.cfg.Data, "unconfirmed.json"), raised: make(chan struct{}, 1), heard: make(chan struct{}, 1), ids: map[fleet.MachineID]bool{}}
	data, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("unconfirmed machines: %w", err)
	}
	var f doubtFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("unconfirmed machines: %s: %w (remove it if the worker's daemon will reconcile)", d.path, err)
	}
	for _, id := range f.Unconfirmed {
		d.ids[id] = true
	}
	d.show()
	return d, nil
}

// raise says that rows of this worker changed behind its back.
func (d *doubt) raise() {
	select {
	case d.raised <- struct{}{}:
	default:
	}
}

// run marks rows when they changed, and keeps the hub and the file current:
// nobody else writes them.
func (d *doubt) run(ctx context.Context) error {
	for {
		select {
		case <-d.raised:
			// Which rows changed is not known: every claim of the worker is.
			keys := d.n.hub.Keys("", d.n.cfg.Node)
			d.mu.Lock()
			for _, k := range keys {
				d.ids[k.ID] = true
			}
			d.mu.Unlock()
			d.n.log.Warn("an earlier start of this node had written rows that this disk did not know: its daemon must reconcile")
		case <-d.heard:
		case <-ctx.Done():
			select {
			case <-d.heard: // what the daemon said last is written down
				d.save()
			default:
			}
			return nil
		}
		d.save()
	}
}

// spoke takes the daemon's word.
func (d *doubt) spoke(ids []fleet.MachineID, all bool) {
	d.mu.Lock()
	before := len(d.ids)
	if all {
		clear(d.ids)
	}
	for _, id := range ids {
		delete(d.ids, id)
	}
	changed := len(d.ids) != before
	d.mu.Unlock()
	if !changed {
		return
	}
	select {
	case d.heard <- struct{}{}:
	default:
	}
}

func (d *doubt) save() {
	if err := renameio.WriteFile(d.path, d.show(), 0o600); err != nil {
		d.n.log.Error("could not write down which machines are unconfirmed", "err", err)
	}
}

// show tells the hub, and returns what the file should hold.
func (d *doubt) show() []byte {
	d.mu.Lock()
	f := doubtFile{Unconfirmed: slices.Sorted(maps.Keys(d.ids))}
	d.mu.Unlock()
	keys := map[roster.Key]bool{}
	for _, id := range f.Unconfirmed {
		keys[roster.Key{Worker: d.n.cfg.Node, ID: id}] = true
	}
	d.n.hub.SetUnconfirmed(keys)
	d.n.metrics.unconfirmed.Set(float64(len(keys)))
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings always marshal
	}
	return b
}

// none reports whether no row is in doubt, nor about to be.
func (d *doubt) none() bool { return len(d.raised) == 0 && d.count() == 0 }

// count is how many rows wait for the daemon.
func (d *doubt) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ids)
}
