package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firebreak-dev/firebreak/internal/store/diskfault"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

func faultyDisk(t *testing.T) *diskfault.Disk {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc, to compile the faulty disk")
	}
	d, err := diskfault.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func set(t *testing.T, d *diskfault.Disk, rules ...diskfault.Rule) {
	t.Helper()
	if err := d.Set(rules...); err != nil {
		t.Fatal(err)
	}
}

// wantAll looks in a database that no process has open any more: every
// acknowledged row is there, and the file is sound.
func wantAll(t *testing.T, path string, acked []string) {
	t.Helper()
	db := openAt(t, path, sqlite.Config{})
	have := map[string]bool{}
	for _, r := range query(t, db, "SELECT id FROM machines WHERE worker = 'w1'") {
		have[r[0].Data] = true
	}
	for _, id := range acked {
		if !have[id] {
			t.Errorf("acknowledged row %s is gone", id)
		}
	}
	if len(acked) == 0 {
		t.Error("nothing was acknowledged: this proves nothing")
	}
	recount(t, db)
	wantSound(t, path)
}

// wantSound runs SQLite's own check, in another process.
func wantSound(t *testing.T, path string) {
	t.Helper()
	out, err := shell(t, path, "PRAGMA integrity_check")
	if err != nil || strings.TrimSpace(out) != "ok" {
		t.Errorf("integrity_check: %s, %v", out, err)
	}
}

// shell runs the sqlite3 program, which is older than the SQLite of the store.
func shell(t *testing.T, path string, sql ...string) (string, error) {
	t.Helper()
	bin, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("needs the sqlite3 shell (Debian package sqlite3)")
	}
	out, err := exec.Command(bin, append([]string{"-batch", "-cmd", ".timeout 5000", path}, sql...)...).CombinedOutput()
	return string(out), err
}

// A disk that refuses to write is an error for writers and nothing else: reads
// go on, nothing is withheld, and all is well again once it writes.
func TestDiskThatRefusesWritesIsAnErrorAndNothingElse(t *testing.T) {
	for _, fault := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EROFS} {
		t.Run(fault.Error(), func(t *testing.T) {
			t.Parallel()
			disk, path := faultyDisk(t), filepath.Join(t.TempDir(), "node.db")
			c := startChild(t, path, disk.Env()...)
			var acked []string
			put := func(id string) string {
				s := c.ask("put", id)
				if !strings.HasPrefix(s, "error") {
					acked = append(acked, id)
				}
				return s
			}
			put("before")
			set(t, disk, diskfault.Rule{Call: "write"}.Fail(fault))
			for i := range 20 {
				if s := put(fmt.Sprint("while", i)); !strings.HasPrefix(s, "error") || !strings.Contains(s, "disk") {
					t.Errorf("a write on a disk that refuses: %q", s)
				}
			}
			if s := c.ask("apply", "1"); !strings.HasPrefix(s, "error") {
				t.Errorf("a peer's record on a disk that refuses: %q", s)
			}
			if s := c.ask("read", "w1"); s != "1 rows" {
				t.Errorf("a read meanwhile: %q", s)
			}
			if s := c.ask("withheld", "-"); s != "0" {
				t.Errorf("%s withheld for a fault of the disk", s)
			}
			set(t, disk)
			if s := put("after"); strings.HasPrefix(s, "error") {
				t.Errorf("a write once the disk is well: %q", s)
			}
			if s := c.ask("apply", "1"); strings.HasPrefix(s, "error") {
				t.Errorf("the same record once the disk is well: %q", s)
			}
			if s := c.ask("read", "w2"); s != "1 rows" {
				t.Errorf("it is not there: %q", s)
			}
			c.stop()
			wantAll(t, path, acked)
		})
	}
}

// After a failed fsync nobody knows what is durable: the process ends, having
// acknowledged nothing that is not there, and the next one works.
func TestFailedFsyncEndsTheProcess(t *testing.T) {
	for name, suffix := range map[string]string{"log": ".db-wal", "file": ".db"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, path := faultyDisk(t), filepath.Join(t.TempDir(), "node.db")
			c := startChild(t, path, disk.Env()...)
			var acked []string
			for i := range 5 {
				id := fmt.Sprint("m", i)
				if s := c.ask("put", id); s != "" && !strings.HasPrefix(s, "error") {
					acked = append(acked, id)
				}
			}
			set(t, disk, diskfault.Rule{Call: "sync", Suffix: suffix}.Fail(syscall.EIO))
			if s := c.ask("put", "last"); s != "" && !strings.HasPrefix(s, "error") {
				acked = append(acked, "last") // the log took it: the file is synced later
			}
			select {
			case <-c.ended:
			case <-time.After(30 * time.Second):
				t.Fatal("the process goes on")
			}
			if code := c.cmd.ProcessState.ExitCode(); code != exitFailed {
				t.Errorf("the process ended with %d, want %d", code, exitFailed)
			}
			set(t, disk)
			again := startChild(t, path, disk.Env()...)
			if s := again.ask("put", "again"); s == "" || strings.HasPrefix(s, "error") {
				t.Errorf("a write after the restart: %q", s)
			}
			again.stop()
			wantAll(t, path, append(acked, "again"))
			if kept, _ := filepath.Glob(path + ".aside-*"); len(kept) > 0 {
				t.Errorf("set aside, and nothing was damaged: %v", kept)
			}
		})
	}
}

func TestReadsGoOnWhileTheDiskHangs(t *testing.T) {
	t.Parallel()
	disk, path := faultyDisk(t), filepath.Join(t.TempDir(), "node.db")
	c := startChild(t, path, disk.Env()...)
	c.ask("put", "before")
	set(t, disk, diskfault.Rule{Call: "sync"}.Hang())
	hung := c.begin("put", "hung")
	if s := c.ask("read", "w1"); !strings.HasSuffix(s, "rows") {
		t.Errorf("a read while the disk hangs: %q", s)
	}
	select {
	case s := <-hung:
		t.Errorf("acknowledged by a disk that hangs: %q", s)
	default:
	}
	set(t, disk, diskfault.Rule{Call: "sync"}.Slow(20*time.Millisecond))
	if s := <-hung; strings.HasPrefix(s, "error") {
		t.Errorf("the write that hung: %q", s)
	}
	if s := c.ask("put", "slow"); strings.HasPrefix(s, "error") {
		t.Errorf("a write to a slow disk: %q", s)
	}
	c.stop()
	wantAll(t, path, []string{"before", "hung", "slow"})
}

// smallDisk mounts a file system of a few megabytes: ext4 on a loop device, or,
// where there is none, memory.
func smallDisk(t *testing.T) (dir, kind string) {
	t.Helper()
	dir = t.TempDir()
	kind = "ext4"
	image := filepath.Join(t.TempDir(), "image")
	err := os.WriteFile(image, nil, 0o600)
	if err == nil {
		err = os.Truncate(image, 12<<20)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, dir}} {
		if err == nil {
			_, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		}
	}
	if err != nil {
		kind = "tmpfs"
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); errors.Is(err, unix.EPERM) {
			t.Skip("mounting needs privileges that this user lacks")
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir, kind
}

func TestFullDiskRecoversWithoutHelp(t *testing.T) {
	dir, kind := smallDisk(t)
	path := filepath.Join(dir, "node.db")
	c := startChild(t, path)
	var acked []string
	put := func(id string) string {
		s := c.ask("put", id)
		if !strings.HasPrefix(s, "error") {
			acked = append(acked, id)
		}
		return s
	}
	put("first")
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(chunk)
	}
	f.Close()
	refused := ""
	for i := 0; refused == "" && i < 5000; i++ {
		if s := put(fmt.Sprint("m", i)); strings.HasPrefix(s, "error") {
			refused = s
		}
	}
	if !strings.Contains(refused, "full") {
		t.Fatalf("on a full disk (%s): %q", kind, refused)
	}
	if s := c.ask("read", "w1"); s != fmt.Sprintf("%d rows", len(acked)) {
		t.Errorf("a read meanwhile: %q, want %d rows", s, len(acked))
	}
	if s := c.ask("withheld", "-"); s != "0" {
		t.Errorf("%s withheld", s)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if s := put("room"); strings.HasPrefix(s, "error") {
		t.Errorf("a write with room again: %q", s)
	}
	if s := c.ask("apply", "1"); strings.HasPrefix(s, "error") {
		t.Errorf("a peer's record with room again: %q", s)
	}
	c.stop()
	t.Run("rows", func(t *testing.T) { wantAll(t, path, acked) })
}
