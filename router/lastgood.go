package router

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/firebreak-dev/firebreak/router/directory"
)

// LastGood is the name of the last-good file in the data directory.
const LastGood = "directory.last-good"

const (
	saveEvery    = 2 * time.Second // at most, while the copy changes
	saveAnyway   = time.Minute     // for the age inside
	maxFileBytes = 1 << 30
)

// readLastGood reads the last-good file. A damaged one costs what is damaged:
// the router starts with what is left, and says what is not.
func readLastGood(dir, fleetName string, now directory.Instant, log *slog.Logger) directory.File {
	path := filepath.Join(dir, LastGood)
	data, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return directory.File{}
	}
	if err != nil {
		log.Error("last-good file not read: starting without it", "path", path, "err", err)
		return directory.File{}
	}
	f, refused, err := directory.ReadFile(data, fleetName, now)
	if err != nil {
		log.Error("last-good file refused: starting without it", "path", path, "err", err)
		return directory.File{}
	}
	for _, err := range refused {
		log.Error("region of the last-good file refused", "path", path, "err", err)
	}
	age := now.Since(directory.FromFile(f.Heard, now))
	if f.Heard == 0 || age > directory.MaxAge {
		log.Warn("last-good file is too old to be merged: it is served as stale and replaced at first contact", "path", path, "age", age)
	}
	log.Info("starting from last-good file", "path", path, "regions", len(f.Regions), "age", age)
	return f
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

// saver keeps the last-good file up to date.
type saver struct {
	path    string
	copy    *copyOf
	log     *slog.Logger
	metrics *metrics
}

// run saves until ctx ends, and once more then.
func (s *saver) run(ctx context.Context) error {
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			s.save()
			return nil
		case <-t.C:
		}
		s.copy.trim()
		if s.copy.takeDirty() || time.Since(last) > saveAnyway {
			last = time.Now()
			s.save()
		}
	}
}

// save writes the file. What it cannot write it keeps trying: the router goes
// on without.
func (s *saver) save() {
	data, ok := s.copy.file()
	if !ok {
		return // nothing was ever heard: what is on disk is better
	}
	if err := renameio.WriteFile(s.path, data, 0o600); err != nil {
		s.metrics.saves.WithLabelValues("failed").Inc()
		s.log.Error("last-good file not written", "path", s.path, "err", err)
		s.copy.markDirty()
		return
	}
	s.metrics.saves.WithLabelValues("ok").Inc()
}

func (c *copyOf) takeDirty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.dirty
	c.dirty = false
	return was
}

// file returns the copy as a last-good file; ok is false before a global node
// was heard in this process.
func (c *copyOf) file() (data []byte, ok bool) {
	c.mu.Lock()
	f := directory.File{Fleet: c.fleet, Written: c.now().Wall, Heard: c.heard.Wall}
	ok = c.confirmed
	c.mu.Unlock()
	if !ok {
		return nil, false
	}
	var sections []directory.Section
	for _, name := range c.names() {
		if h, ok := c.get(name); ok {
			h.with(func(r *directory.Region) {
				sections = append(sections, directory.Section{Region: name, Data: r.Section()})
			})
		}
	}
	return directory.AppendFile(nil, f, sections), true
}
