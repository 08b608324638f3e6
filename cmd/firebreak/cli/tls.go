package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/identity"
)

// Names of what tls init and tls issue write.
const caFile = "ca.pem"

func (e *env) tlsCommand() *cobra.Command {
	c := &cobra.Command{Use: "tls", Short: "A small certificate authority: enough to run a fleet", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(e.tlsInitCommand(), e.tlsIssueCommand())
	return c
}

func (e *env) tlsInitCommand() *cobra.Command {
	var fleet, dir string
	c := &cobra.Command{
		Use: "init", Short: "Make the authority of a fleet",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if _, err := identity.LoadAuthority(dir); err == nil {
				return exit.With(exit.Usage, fmt.Errorf("%s holds an authority already: every certificate would have to be issued again", dir))
			}
			a, err := identity.NewAuthority(fleet, time.Now())
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			if err := a.Save(dir); err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.out, "the authority of fleet %s is in %s; keep its key to yourself\n", fleet, dir)
			return err
		},
	}
	c.Flags().StringVar(&fleet, "fleet", "", "name of the fleet")
	c.Flags().StringVar(&dir, "dir", "", "directory of the authority")
	mustRequire(c, "fleet", "dir")
	return c
}

// issueFlags say what tls issue writes.
type issueFlags struct {
	dir, out     string
	role         string
	region, name string
	hosts        []string
	ttl          time.Duration
}

func (e *env) tlsIssueCommand() *cobra.Command {
	var f issueFlags
	c := &cobra.Command{
		Use: "issue", Short: "Issue a certificate",
		Long: `Issue a certificate: OUT/NAME.pem, OUT/NAME.key, and OUT/ca.pem beside them.
Files of that name are replaced, which a running node notices.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return e.issue(f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.dir, "dir", "", "directory of the authority")
	fl.StringVar(&f.role, "role", "", "node, gateway, global, router, operator or client")
	fl.StringVar(&f.region, "region", "", "region of a node or gateway")
	fl.StringVar(&f.name, "name", "", "name of the node, person or client")
	fl.StringSliceVar(&f.hosts, "host", nil, "DNS name or IP address that ordinary clients dial")
	positiveVar(fl, &f.ttl, "ttl", 90*24*time.Hour, "how long it is valid")
	fl.StringVar(&f.out, "out", ".", "directory of what is written")
	mustRequire(c, "dir", "role", "name")
	roles := make([]string, 0, 6)
	for r := identity.Node; r <= identity.Client; r++ {
		roles = append(roles, r.String())
	}
	offer(c, "role", roles...)
	return c
}

func (e *env) issue(f issueFlags) error {
	a, err := identity.LoadAuthority(f.dir)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	id := identity.ID{Fleet: a.Fleet(), Region: f.region, Name: f.name}
	for r := identity.Node; r <= identity.Client; r++ {
		if r.String() == f.role {
			id.Role = r
		}
	}
	if id.Role == 0 {
		return exit.With(exit.Usage, fmt.Errorf("role %q: want node, gateway, global, router, operator or client", f.role))
	}
	if err := id.Check(); err != nil {
		return exit.With(exit.Usage, err)
	}
	cert, key, err := a.Issue(id, f.hosts, f.ttl)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return err
	}
	base := filepath.Join(f.out, f.name)
	for _, file := range []struct {
		path string
		data []byte
		mode fs.FileMode
	}{{base + ".key", key, 0o600}, {base + ".pem", cert, 0o644}, {filepath.Join(f.out, caFile), a.CertPEM(), 0o644}} {
		if err := replaceFile(file.path, file.data, file.mode); err != nil {
			return fmt.Errorf("issue certificate: %w", err)
		}
	}
	_, err = fmt.Fprintf(e.out, "%s\n%s.pem %s.key %s\n", id, base, base, filepath.Join(f.out, caFile))
	return err
}

func mustRequire(c *cobra.Command, flags ...string) {
	var errs []error
	for _, f := range flags {
		errs = append(errs, c.MarkFlagRequired(f))
	}
	if err := errors.Join(errs...); err != nil {
		panic(err) // only for a flag that was not registered
	}
}

// replaceFile writes a file at once, so that a process that re-reads it never
// sees half.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	return renameio.WriteFile(path, data, mode, renameio.WithStaticPermissions(mode))
}
