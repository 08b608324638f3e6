// Package machine tells what a benchmark runs on, how busy that is, and what
// this process has used of it. It reads /proc and is for Linux.
package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what this process has used since its start.
type Usage struct {
	CPU         time.Duration // user and system, all threads
	Mallocs     uint64
	MallocBytes uint64
	Written     uint64 // bytes handed to write calls; sockets are not among them
}

// Used reads the usage of now. It stops the world for a moment.
func Used() (Usage, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return Usage{}, fmt.Errorf("getrusage: %w", err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Usage{
		CPU:     time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		Mallocs: m.Mallocs, MallocBytes: m.TotalAlloc,
		Written: written(),
	}, nil
}

// Memory is what this process holds.
type Memory struct {
	Heap     uint64 // bytes of live objects
	Resident uint64 // bytes of RAM, C's included
}

// Held collects garbage and says what is left.
func Held() Memory {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	out := Memory{Heap: m.HeapAlloc}
	if f := strings.Fields(strings.Join(lines("/proc/self/statm"), " ")); len(f) > 1 {
		pages, _ := strconv.ParseUint(f[1], 10, 64)
		out.Resident = pages * uint64(os.Getpagesize())
	}
	return out
}

// written is zero where the kernel does not count.
func written() uint64 {
	for _, line := range lines("/proc/self/io") {
		if v, ok := strings.CutPrefix(line, "wchar: "); ok {
			n, _ := strconv.ParseUint(v, 10, 64)
			return n
		}
	}
	return 0
}

func lines(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// Load is the load average over 1, 5 and 15 minutes.
func Load() string {
	l := lines("/proc/loadavg")
	if len(l) == 0 {
		return "unknown"
	}
	f := strings.Fields(l[0])
	return strings.Join(f[:min(3, len(f))], " ")
}

// CPU is the processor's name.
func CPU() string {
	for _, line := range lines("/proc/cpuinfo") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

// Kernel is the running kernel's release.
func Kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Device says on what a directory lies: file system and device.
func Device(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "unknown"
	}
	best, out := -1, "unknown"
	for _, line := range lines("/proc/self/mountinfo") {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 2 {
			continue
		}
		at := strings.TrimSuffix(f[4], "/")
		if (dir == at || strings.HasPrefix(dir, at+"/")) && len(at) > best {
			best, out = len(at), g[0]+" on "+g[1]
		}
	}
	return out
}

// Free is how many bytes may still be written into a directory.
func Free(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

const syncs = 200

// SyncTimes measures writes of 4 KiB, each with fdatasync, in a file of its
// own in dir.
func SyncTimes(dir string) (p50, p99 time.Duration, err error) {
	f, err := os.CreateTemp(dir, "fdatasync")
	if err != nil {
		return 0, 0, fmt.Errorf("measure fdatasync: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	took := make([]time.Duration, syncs)
	for i := range took {
		page[0] = byte(i)
		start := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			return 0, 0, fmt.Errorf("measure fdatasync: %w", err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, 0, fmt.Errorf("measure fdatasync: %w", err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[syncs/2], took[syncs*99/100], nil
}
