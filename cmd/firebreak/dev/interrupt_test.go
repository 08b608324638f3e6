package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/datadir"
)

// Whenever it comes, Ctrl-C ends everything and leaves a directory that the
// next run may take.
func TestCtrlCAtAnyMomentLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "dev")
	has := func(name string) func(*session) bool {
		return func(s *session) bool { return exists(filepath.Join(s.data, name)) }
	}
	for _, c := range []struct {
		moment string
		is     func(*session) bool
		report bool
	}{
		{"it has begun", has(".firebreak-dev.lock"), false},
		{"it makes certificates", has("ca/ca.pem"), false},
		{"the first nodes start", has("global/global-1/log"), true},
		{"the last one starts", has("router/router-1/config.toml"), false},
		{"all is ready", (*session).ready, false},
		{"nodes are down", func(s *session) bool { return s.ready() && len(s.federation.Down()) == 1 }, false},
	} {
		s := small(t, data)
		s.processes, s.binary, s.rate, s.requests = true, nodeBinary(t), 50, 20
		s.script = writeFile(t, "0s kill node iad/iad-2\n100ms heal\n")
		if !c.report {
			s.report = ""
		}
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.run(ctx) }()
		await(t, done, func() bool { return c.is(s) })
		stop()
		if err := <-done; err != nil {
			t.Errorf("when %s: %v", c.moment, err)
		}
		checkNothingLeft(t, data)
		if t.Failed() {
			t.Fatalf("after Ctrl-C when %s", c.moment)
		}
	}
}

func TestCtrlCWithAReportStillChecks(t *testing.T) {
	t.Parallel()
	s := small(t, filepath.Join(t.TempDir(), "dev"))
	s.rate = 50
	db := filepath.Join(s.data, "iad", "iad-1", "node.db")
	during(t, s, func() bool { return s.ready() && liveRows(t, db) > 5 }, func() {})
	if r := readReport(t, s.report); !r.OK || len(r.Checks) == 0 {
		t.Errorf("report: ok %v, %d checks", r.OK, len(r.Checks))
	}
}

// checkNothingLeft looks for processes of a federation, for its lock and
// socket, and for files that were not written to their end.
func checkNothingLeft(t *testing.T, data string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(data+"/")) {
			t.Errorf("still runs: %s", bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
	dir, err := datadir.Open(data)
	if err != nil {
		t.Fatalf("the lock is held: %v", err)
	}
	defer dir.Close()
	err = filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return whole(path, d)
	})
	if err != nil {
		t.Error(err)
	}
}

// whole says what is wrong with a file that somebody has left.
func whole(path string, d fs.DirEntry) error {
	name := d.Name()
	switch {
	case d.Type()&fs.ModeSocket != 0:
		return fmt.Errorf("%s is left", path)
	case strings.HasPrefix(name, ".") && !strings.HasPrefix(name, ".firebreak-dev"), strings.Contains(name, ".tmp"):
		return fmt.Errorf("%s was not written to its end", path)
	case filepath.Ext(name) == ".json" || name == ".firebreak-dev":
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			return err // the marker of a directory that was just cleared is empty
		}
		if !json.Valid(b) {
			return fmt.Errorf("%s is half of a file", path)
		}
	}
	return nil
}
