// Package diskfault makes a disk fail for one process: a small library, which
// is compiled when a test needs it and loaded before libc (LD_PRELOAD), stands
// between SQLite and the system calls that write. Rules say which call on which
// files fails, is slow, or hangs; they are read from a file, so a test changes
// them while the process runs. What Go writes itself passes by: it makes no
// calls of libc.
package diskfault

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed testdata/shim.c
var source []byte

// Disk is a disk that may fail. The process that is to have it is started with
// Env.
type Disk struct {
	library, rules string
}

// New compiles the library in dir, which must be empty. It fails where there is
// no C compiler.
func New(dir string) (*Disk, error) {
	c, so := filepath.Join(dir, "shim.c"), filepath.Join(dir, "shim.so")
	if err := os.WriteFile(c, source, 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", so, c, "-ldl").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the faulty disk: %w: %s", err, out)
	}
	d := &Disk{so, filepath.Join(dir, "rules")}
	return d, d.Set()
}

// Env is what the environment of the process must have.
func (d *Disk) Env() []string {
	return []string{"LD_PRELOAD=" + d.library, "FIREBREAK_DISKFAULT=" + d.rules}
}

// Rule is what becomes of one kind of call.
type Rule struct {
	Call   string // write, sync or truncate
	Suffix string // of the path of the file; empty for every file
	what   string
}

// Fail makes the call fail.
func (r Rule) Fail(e syscall.Errno) Rule { r.what = fmt.Sprintf("fail %d", int(e)); return r }

// Slow makes the call take so much longer.
func (r Rule) Slow(d time.Duration) Rule { r.what = fmt.Sprintf("slow %d", d.Milliseconds()); return r }

// Hang makes the call wait until the rule is gone.
func (r Rule) Hang() Rule { r.what = "hang 0"; return r }

// Set replaces all rules. Without any, the disk works.
func (d *Disk) Set(rules ...Rule) error {
	var b strings.Builder
	for _, r := range rules {
		suffix := r.Suffix
		if suffix == "" {
			suffix = "*"
		}
		fmt.Fprintf(&b, "%s %s %s\n", r.Call, suffix, r.what)
	}
	tmp := d.rules + ".new"
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, d.rules)
}
