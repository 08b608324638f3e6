package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/firebreak-dev/firebreak/cmd/bench/suite"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

const (
	root    = "../.."
	results = root + "/internal/bench/results"
)

// The tables in the documents are those of the committed results; after
// another run, `go run ./cmd/bench -docs` writes them.
func TestDocumentsShowTheCommittedResults(t *testing.T) {
	f, err := result.Load(filepath.Join(results, result.Latest))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents() {
		is, should, err := d.render(root, f)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(should, is); diff != "" {
			t.Errorf("%s is not what the results give: run go run ./cmd/bench -docs (-want +got):\n%s", d.path, diff)
		}
	}
}

func TestHistoryCanBeRead(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(results, result.History, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if _, err := result.Load(file); err != nil {
			t.Error(err)
		}
	}
}

func TestEveryBenchIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range suite.All() {
		if seen[b.Name] {
			t.Errorf("%s is there twice", b.Name)
		}
		seen[b.Name] = true
		if b.Title == "" || b.Set < bench.Quick || b.Set > bench.Soak {
			t.Errorf("%s has no title or set", b.Name)
		}
		if (b.Run == nil) == (b.Missing == "") || (b.Run != nil) == (b.About == "") {
			t.Errorf("%s: a bench either runs and says what it does, or says why it does not", b.Name)
		}
	}
}

// call runs the command and returns its exit code and what it said.
func call(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestBadInputIsAClearError(t *testing.T) {
	damaged := filepath.Join(t.TempDir(), "latest.json")
	if err := os.WriteFile(damaged, []byte(`{"format": 1, "benches": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-only", "B04,B99"}, exitUsage, "unknown bench B99: there are B01"},
		{[]string{"-set", "huge"}, exitUsage, "quick, full or soak"},
		{[]string{"-o", "yaml"}, exitUsage, "table or json"},
		{[]string{"B04"}, exitUsage, "unexpected argument"},
		{[]string{"-diff", damaged}, exitUsage, "two files"},
		{[]string{"-diff", damaged, damaged}, exitUsage, "damaged"},
		{[]string{"-only", "B21", "-results", filepath.Dir(damaged)}, exitFailed, "damaged"},
		{[]string{"-only", "B21", "-results", damaged}, exitFailed, "not a directory"},
		{[]string{"-only", "B21", "-results", "", "-disk", "/nonexistent"}, exitFailed, "/nonexistent"},
	} {
		if code, _, errs := call(t, c.args...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d, want %d: %q, want %q", c.args, code, c.code, errs, c.want)
		}
	}
}

func TestAnExtensionThatDoesNotLoadFailsItsBenchByName(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage.so")
	if err := os.WriteFile(garbage, []byte("no shared object\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, so := range []string{filepath.Join(t.TempDir(), "none.so"), garbage} {
		t.Setenv("CRSQLITE_SO", so)
		code, out, errs := call(t, "-only", "cr-sqlite", "-results", "", "-memory", t.TempDir(), "-disk", t.TempDir())
		if code != exitFailed || !strings.Contains(errs, "CRSQLITE_SO") || !strings.Contains(errs, "does not load") || !strings.Contains(out, "failed") {
			t.Errorf("%s: exit %d\n%s\n%s", so, code, out, errs)
		}
	}
}

// smallDevice mounts a tmpfs of a size.
func smallDevice(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("needs the right to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestADeviceWithoutSpaceIsAClearError(t *testing.T) {
	small := smallDevice(t, "1m")
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"for the data", []string{"-only", "B04", "-results", "", "-memory", small, "-disk", t.TempDir()}, "no space: 1 MB are free in " + small},
		{"for the disk's timing", []string{"-only", "B21", "-results", "", "-memory", t.TempDir(), "-disk", full(t)}, "no space left on device"},
		{"for the results", []string{"-only", "B21", "-results", full(t), "-memory", t.TempDir(), "-disk", t.TempDir()}, "no space left on device"},
	} {
		if code, _, errs := call(t, c.args...); code != exitFailed || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d: %q, want %q", c.name, code, errs, c.want)
		}
	}
}

// full is a device on which nothing is free.
func full(t *testing.T) string {
	t.Helper()
	dir := smallDevice(t, "64k")
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the small device is not small")
	}
	return dir
}

func TestAFullDeviceIsSaidBeforeTheWork(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("needs /dev/full: %v", err)
	}
	f := result.File{}
	out, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := (options{output: "json"}).print(out, f); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("%v", err)
	}
}

func TestACountedBenchIsTheSameTwice(t *testing.T) {
	var files [2]result.File
	for i := range files {
		dir := t.TempDir()
		if code, _, errs := call(t, "-only", "version-vectors", "-results", dir, "-memory", dir, "-disk", dir); code != 0 {
			t.Fatal(errs)
		}
		var err error
		if files[i], err = result.Load(filepath.Join(dir, result.Latest)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(files[0].Benches[0].Measures, files[1].Benches[0].Measures); diff != "" {
		t.Error(diff)
	}
}

func TestTheListNamesEveryBench(t *testing.T) {
	_, out, _ := call(t, "-list")
	for _, b := range suite.All() {
		if !strings.Contains(out, b.Name) {
			t.Errorf("%s is not listed", b.Name)
		}
	}
}
