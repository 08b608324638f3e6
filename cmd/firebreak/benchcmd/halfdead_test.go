package benchcmd_test

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/benchcmd"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/datadir"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	wfleet "github.com/firebreak-dev/firebreak/internal/fleet"
)

// bench runs the command on a dev federation.
func bench(t *testing.T, dir string, args ...string) (out string, err error) {
	t.Helper()
	c := benchcmd.Command()
	var o, e bytes.Buffer
	c.SetOut(&o)
	c.SetErr(&e)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(append(args, "--dev", dir, "-o", "json"))
	err = c.ExecuteContext(t.Context())
	return o.String(), err
}

// A real federation, then the same with one of its two regions killed: every
// load that needs the dead region says so by name and gives no rate.
func TestAFederationWithADeadRegionGivesErrorsAndNoRate(t *testing.T) {
	dir, err := datadir.Open(filepath.Join(t.TempDir(), "dev"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f, err := federation.Open(federation.Config{
		Dir: dir, Spec: federation.Spec{Regions: []wfleet.Region{"ams", "iad"}, Workers: 2, Globals: 1, Routers: 1}, Progress: func(string) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	loads := [][]string{
		{"query", "--rate", "5", "--duration", "1s"},
		{"publish", "--rate", "20", "--duration", "1s"},
		{"watch", "--rate", "10", "--duration", "1s"},
	}
	err = f.Run(t.Context(), func(ctx context.Context) error {
		for _, args := range loads {
			if out, err := bench(t, dir.Path, append(args, "--timeout", "20s")...); err != nil || parse(t, out).PerSecond == nil {
				t.Errorf("all well, %v: %v: %s", args, err, out)
			}
		}
		for _, n := range f.Plan().Of(federation.Region) {
			if n.Region == "iad" {
				if err := f.Kill(ctx, n); err != nil {
					return err
				}
			}
		}
		for _, args := range loads {
			out, err := bench(t, dir.Path, append(args, "--timeout", "2s")...)
			if exit.Code(err) == 0 {
				t.Errorf("iad is dead, %v: no error: %s", args, out)
				continue
			}
			said := out + err.Error()
			if r := parse(t, out); r.PerSecond != nil || r.P50 != nil || r.Failed == 0 || len(r.Errors) == 0 || !strings.Contains(said, "iad") {
				t.Errorf("iad is dead, %v: %v: %s", args, err, out)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
