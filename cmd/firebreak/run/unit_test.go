package run_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/config"
)

const deploy = "../../../deploy"

// setting returns the values of a key of a unit.
func setting(unit, key string) []string {
	var out []string
	for line := range strings.Lines(unit) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			out = append(out, v)
		}
	}
	return out
}

func TestUnitsStartTheirRoleFromItsFile(t *testing.T) {
	for _, role := range config.Roles() {
		data, err := os.ReadFile(filepath.Join(deploy, "systemd", "firebreak-"+string(role)+".service"))
		if err != nil {
			t.Fatal(err)
		}
		f, err := config.Load(role, filepath.Join(deploy, "config", string(role)+".toml"))
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{
			"ExecStart":                "/usr/bin/firebreak run --role " + string(role) + " -c /etc/firebreak/" + string(role) + ".toml",
			"Type":                     "notify",
			"RestartPreventExitStatus": "2",
			"StateDirectory":           strings.TrimPrefix(f.Shared().Data, "/var/lib/"),
		} {
			if got := setting(string(data), key); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q, want %q", role, key, got, want)
			}
		}
		if r, ok := f.(*config.Region); ok {
			if run := setting(string(data), "RuntimeDirectory"); len(run) != 1 || filepath.Dir(r.Socket) != "/run/"+run[0] {
				t.Errorf("the socket %s is not in the runtime directory %q", r.Socket, run)
			}
		}
	}
}

func TestSystemdAcceptsTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	binary, err := os.Executable() // any program that is there
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range config.Roles() {
		name := "firebreak-" + string(role) + ".service"
		data, err := os.ReadFile(filepath.Join(deploy, "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(data), "/usr/bin/firebreak", binary)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
