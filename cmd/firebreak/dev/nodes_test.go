package dev

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
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
