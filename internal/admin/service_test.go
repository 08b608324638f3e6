package admin_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/admin"
	"github.com/firebreak-dev/firebreak/internal/control"
	adminv1 "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
)

func TestSwitchesShowAChangeThatWasNotTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.toml")
	if err := os.WriteFile(path, []byte("freeze_egress = true\ndeny_node = [\"w1\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c, err := control.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = c.Run(t.Context()) }()
		if err := os.WriteFile(path, []byte("freeze_egres = false\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r, err := admin.NewService(admin.Info{}, c).Switches(t.Context(), &adminv1.SwitchesRequest{})
		if err != nil || !r.FreezeEgress || len(r.DenyNode) != 1 || r.Source != path || r.Error == "" {
			t.Errorf("%v, %v", r, err)
		}
	})
}

func TestInfoSaysWhatTheProcessIs(t *testing.T) {
	c, err := control.Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	start := time.UnixMilli(1764064000000)
	s := admin.NewService(admin.Info{Version: "v1", Role: "region", Fleet: "acme", Cluster: "region/iad", Node: "w1", Started: start}, c)
	r, err := s.Info(t.Context(), &adminv1.InfoRequest{})
	if err != nil || r.Cluster != "region/iad" || r.StartedUnixMs != start.UnixMilli() || r.Pid != int64(os.Getpid()) {
		t.Errorf("%v, %v", r, err)
	}
}
