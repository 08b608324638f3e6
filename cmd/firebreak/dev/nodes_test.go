package dev

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// nodeBinary is this test's binary as the nodes of a federation of processes.
func nodeBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "firebreak")
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", asNode, os.Args[0])
	if err := os.WriteFile(binary, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return binary
}

// A node is not its host: edges that know a region's machines go on reaching
// them while every node of it is dead, and while all are upgraded at once.
func TestEveryNodeOfARegionDownFailsNoRequest(t *testing.T) {
	t.Parallel()
	for name, processes := range map[string]bool{"in one process": false, "processes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := two(t, "2s kill region iad\n4500ms heal\n4500ms upgrade region iad at-once\n")
			if s.processes = processes; processes {
				s.binary = nodeBinary(t)
			}
			s.rate, s.requests, s.exitAfter = 30, 60, 7*time.Second
			if err := s.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := readReport(t, s.report)
			if e := r.Edges; e.Errors != 0 || e.Regions["iad"].Requests < 20 || e.WrongMachine != 0 {
				t.Errorf("counted %+v", e)
			}
			for _, v := range r.Faults {
				if v.Regions["iad"].Restarts != 2 || v.Regions["ams"].Restarts != 0 {
					t.Errorf("%s: %+v", v.Fault, v.Regions)
				}
			}
		})
	}
}
