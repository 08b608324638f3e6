package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// LastGood is the name of the last-good file in Config.Dir.
const LastGood = "catalog.last-good"

const (
	saveEvery    = 2 * time.Second // at least; more if the catalog is large
	maxFileBytes = 2 << 30
)

// load takes over the last-good file. One that cannot be used is named in the
// log and left alone until the next save replaces it.
func (c *Client) load() {
	if c.cfg.Dir == "" {
		return
	}
	path := filepath.Join(c.cfg.Dir, LastGood)
	data, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		var current time.Time
		if current, err = c.core.Load(data, c.cfg.Fleet, time.Now()); err == nil {
			c.setStale(current)
			c.install()
			c.cfg.Logger.Info("starting from last-good file", "path", path, "age", time.Since(current), "apps", c.table.len())
			return
		}
	}
	c.cfg.Logger.Error("last-good file not used: starting without it", "path", path, "err", err)
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%d bytes are over the limit of %d", info.Size(), maxFileBytes)
	}
	return os.ReadFile(path)
}

// save hands the present state to the writer and returns when to save again:
// in proportion to what it costs.
func (c *Client) save(files chan []byte) time.Duration {
	begun := time.Now()
	c.offer(files)
	return max(saveEvery, 20*time.Since(begun))
}

func (c *Client) encode() []byte {
	current := c.current
	if current.IsZero() {
		current = time.Now()
	}
	return c.core.Append(nil, c.cfg.Fleet, current)
}

// offer leaves the present state for the writer, in place of what it has not
// taken yet.
func (c *Client) offer(files chan []byte) {
	if c.cfg.Dir == "" || !c.heard {
		return // nobody wants it, or what is on disk is better than nothing
	}
	data := c.encode()
	select {
	case <-files:
	default:
	}
	files <- data // size 1, one sender: there is room
}

// write writes what is offered. A disk that hangs holds up nothing else.
func (c *Client) write(files <-chan []byte) error {
	path := filepath.Join(c.cfg.Dir, LastGood)
	for data := range files {
		if err := renameio.WriteFile(path, data, 0o600); err != nil {
			c.metrics.saves.WithLabelValues("failed").Inc()
			c.cfg.Logger.Error("last-good file not written", "path", path, "err", err)
			continue
		}
		c.metrics.saves.WithLabelValues("ok").Inc()
	}
	return nil
}
