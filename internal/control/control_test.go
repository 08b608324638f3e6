package control_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/control"
)

// follow opens and runs a Control in a bubble. Each change of the file is
// followed by settle.
func follow(t *testing.T, path string) *control.Control {
	t.Helper()
	c, err := control.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

func settle() {
	time.Sleep(1500 * time.Millisecond)
	synctest.Wait()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSwitchesFollowTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.toml")
	synctest.Test(t, func(t *testing.T) {
		c := follow(t, path)
		if c.FreezeEgress() || c.DenyNode("w1") {
			t.Error("a switch is on without a file")
		}
		write(t, path, "freeze_egress = true\ndeny_node = [\"w1\"]\n")
		settle()
		if !c.FreezeEgress() || !c.DenyNode("w1") || c.DenyNode("w2") {
			t.Errorf("after a change: %+v", c.State())
		}
		write(t, path, "# an incident\nfreeze-egress=true\n  deny-node = [\"w-2\"]\n")
		settle()
		if !c.FreezeEgress() || !c.DenyNode("w-2") || c.DenyNode("w1") {
			t.Errorf("with keys that have a dash: %+v", c.State())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		settle()
		if c.FreezeEgress() || c.DenyNode("w1") {
			t.Errorf("after the file is gone: %+v", c.State())
		}
	})
}

func TestBadChangeKeepsTheLastGoodAndIsShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.toml")
	good := "deny_node = [\"w1\"]\n"
	for _, bad := range []string{"denynode = [\"w2\"]\n", "deny_node = \"w2\"\n", "deny_node = [", "deny_node = [\"\"]"} {
		write(t, path, good)
		synctest.Test(t, func(t *testing.T) {
			c := follow(t, path)
			write(t, path, bad)
			settle()
			if !c.DenyNode("w1") || c.DenyNode("w2") {
				t.Errorf("%q: switches moved: %+v", bad, c.State())
			}
			if s := c.State(); !strings.Contains(s.Error, path) || s.Source != path {
				t.Errorf("%q: not shown: %+v", bad, s)
			}
			write(t, path, good)
			settle()
			if s := c.State(); s.Error != "" {
				t.Errorf("%q: still shown after the repair: %+v", bad, s)
			}
		})
	}
}

func TestUnreadableFileKeepsTheSwitchesUntilItIsBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control.toml")
	write(t, path, "freeze_egress = true\n")
	synctest.Test(t, func(t *testing.T) {
		c := follow(t, path)
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		settle()
		if s := c.State(); !s.FreezeEgress || s.Error == "" {
			t.Errorf("a folder in its place: %+v", s)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		settle()
		if s := c.State(); !s.FreezeEgress || s.Error != "" {
			t.Errorf("after it is back unchanged: %+v", s)
		}
	})
}

func TestOpenRefusesABadFileWithItsLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.toml")
	write(t, path, "\nfreze_egress = true\n")
	_, err := control.Open(path, nil)
	if err == nil || !strings.Contains(err.Error(), path+":2:1") || !strings.Contains(err.Error(), `did you mean "freeze_egress"`) {
		t.Errorf("Open: %v", err)
	}
}

func TestStateIsACopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.toml")
	write(t, path, "deny_node = [\"w1\"]\n")
	c, err := control.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.State().Switches.DenyNode[0] = "other"
	if !c.DenyNode("w1") {
		t.Error("a caller changed the switches through State")
	}
}
