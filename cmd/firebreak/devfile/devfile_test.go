package devfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
)

func TestReadGivesWhatWriteWrote(t *testing.T) {
	dir := t.TempDir()
	want := devfile.Dev{
		Fleet:    "dev",
		Nodes:    []devfile.Node{{Role: "region", Region: "iad", Name: "w1", PID: 7, DB: "x/node.db", GRPC: "127.0.0.1:1"}, {Role: "router", Name: "r1"}},
		Operator: &devfile.Identity{Cert: "c", Key: "k", CA: "a"},
	}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := devfile.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-wrote +read):\n%s", diff)
	}
	if n := got.Of("router"); len(n) != 1 || n[0].Name != "r1" {
		t.Errorf("Of(router) = %v", n)
	}
}

func TestEveryNodeHasTheDocumentedKeys(t *testing.T) {
	dir := t.TempDir()
	if err := (devfile.Dev{Nodes: []devfile.Node{{}}}).Write(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, devfile.Name))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, m := range regexp.MustCompile(`"([a-z]+)":`).FindAllStringSubmatch(string(data), -1) {
		keys = append(keys, m[1])
	}
	if got := strings.Join(keys, " "); got != "fleet nodes role region name pid db gossip grpc http admin cert key ca" {
		t.Errorf("keys: %s", got)
	}
}

func TestReadRefusesWhatIsNoFederation(t *testing.T) {
	dir := t.TempDir()
	if _, err := devfile.Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, text := range []string{"", "{", "[]", "{}", `{"nodes":[]}`, `{"nodes":[{"pid":"x"}]}`} {
		if err := os.WriteFile(filepath.Join(dir, devfile.Name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := devfile.Read(dir); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestDefaultDirFollowsTheEnvironment(t *testing.T) {
	for _, c := range []struct{ dev, state, want string }{
		{"/x/dev", "/s", "/x/dev"},
		{"", "/s", "/s/firebreak/dev"},
		{"", "relative", "/h/.local/state/firebreak/dev"},
		{"", "", "/h/.local/state/firebreak/dev"},
	} {
		t.Setenv(devfile.EnvDir, c.dev)
		t.Setenv("XDG_STATE_HOME", c.state)
		t.Setenv("HOME", "/h")
		if got, err := devfile.DefaultDir(); err != nil || got != c.want {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}
