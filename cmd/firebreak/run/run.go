// Package run plays one role from its configuration file, until it is told to
// stop: what a supervisor starts. The role itself is in package region, global
// or router; here are the process's own parts: its data directory, its
// certificate, its log and its word to systemd.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cli"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/config"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/network"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// Command returns `firebreak run`.
func Command(version string) *cobra.Command {
	var role, file, bug string
	var links int
	c := &cobra.Command{
		Use:   "run --role ROLE -c FILE",
		Short: "Play a role until told to stop",
		Long: `Play a role until told to stop by SIGTERM or SIGINT; then drain and exit 0.
SIGHUP has it look at its certificate and schema files at once, which it follows
anyhow, and say in its log what came of it.

Exit codes: 2 the configuration or certificate is no good, or the data directory
is another node's; 70 a loop made no progress, or 74 the disk did not confirm
a write or gave back other bytes, and the supervisor should start the process
again; 1 anything else.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := config.ParseRole(role)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			f, err := config.Load(r, file)
			if err != nil {
				return exit.With(exit.Usage, fmt.Errorf("configuration:\n%w", err))
			}
			return run(c.Context(), f, options{version, c.ErrOrStderr(), links, bug})
		},
	}
	cli.RoleFlag(c, &role)
	c.Flags().StringVarP(&file, "config", "c", "", "the role's configuration file")
	c.Flags().IntVar(&links, linksFlag, noLinks, "file descriptor of the socket on which dev says how bad this node's network is")
	c.Flags().StringVar(&bug, bugFlag, "", "file: while it is there, a region node ends at rows that dev has poisoned")
	for _, flag := range []string{linksFlag, bugFlag} {
		if err := c.Flags().MarkHidden(flag); err != nil {
			panic(err) // only for a flag that was not registered above
		}
	}
	if err := c.MarkFlagRequired("config"); err != nil {
		panic(err) // only for a flag that was not registered above
	}
	return c
}

// node is a role that was opened.
type node interface {
	Run(ctx context.Context) error
}

// shared is what every role is given.
type shared struct {
	config.Common
	identity *identity.Source
	log      *slog.Logger
	registry *prometheus.Registry
	version  string
	network  network.Network
	bug      string // see bugFlag
}

// options are of the command alone.
type options struct {
	version string
	logs    io.Writer
	links   int    // see linksFlag
	bug     string // see bugFlag
}

// run plays f until ctx ends.
func run(ctx context.Context, f config.File, o options) error {
	s := shared{Common: *f.Shared(), version: o.version, bug: o.bug, registry: newRegistry(o.version), log: logger(f.Shared().Log, o.logs)}
	files := identity.Files{Cert: s.TLS.Cert, Key: s.TLS.Key, CA: s.TLS.CA}
	var err error
	if s.identity, err = identity.Open(identity.Config{Files: files, Logger: s.log, Metrics: s.registry}); err != nil {
		return exit.With(exit.Usage, err)
	}
	if err := matches(s.identity.ID(), f); err != nil {
		return exit.With(exit.Usage, fmt.Errorf("%s: %w", s.TLS.Cert, err))
	}
	hangups, stop := hangups()
	defer stop()
	unlock, err := lock(s.Data)
	if err != nil {
		return err
	}
	defer unlock()
	if err := checkOwner(s.Data, s.identity.ID()); err != nil {
		return exit.With(exit.Usage, err)
	}
	follow, err := joinLinks(ctx, o.links, &s)
	if err != nil {
		return err
	}
	n, err := open(ctx, f, s)
	if errors.Is(err, sqlite.ErrForeign) {
		return exit.With(exit.Usage, err)
	} else if err != nil {
		return err
	}
	if err := writeOwner(s.Data, s.identity.ID()); err != nil {
		return err
	}
	return serve(ctx, n, s, follow, hangups)
}

// serve runs an opened role, its supervisor's heartbeat, what follows the
// links, and what answers hangups.
func serve(ctx context.Context, n node, s shared, follow func(context.Context) error, hangups <-chan os.Signal) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.Run(ctx) })
	g.Go(func() error { return heartbeat(ctx, s.log) })
	g.Go(func() error { return follow(ctx) })
	g.Go(func() error { return answer(ctx, hangups, n, s) })
	s.log.Info("started", "identity", s.identity.ID().String(), "version", s.version, "data", s.Data)
	start := time.Now()
	err := g.Wait()
	if err != nil {
		err = fmt.Errorf("after %v: %w", time.Since(start).Round(time.Second), err)
		if errors.Is(err, sqlite.ErrFsync) || errors.Is(err, sqlite.ErrDamaged) {
			err = exit.With(exit.Disk, err)
		}
		return err
	}
	s.log.Info("stopped")
	return nil
}

// matches compares a certificate with the file: a node is who its certificate
// says, and the file must not say otherwise.
func matches(id identity.ID, f config.File) error {
	c := f.Shared()
	var errs []error
	same := func(key, file, cert string) {
		if file != cert {
			errs = append(errs, fmt.Errorf("the certificate is of %s %q, the configuration says %q", key, cert, file))
		}
	}
	same("fleet", c.Fleet, id.Fleet)
	same("node", c.Node, id.Name)
	want := []identity.Role{identity.Router}
	switch f := f.(type) {
	case *config.Region:
		want = []identity.Role{identity.Node, identity.Gateway}
		same("region", f.Region, id.Region)
		if id.Role == identity.Gateway && len(f.Globals) == 0 {
			errs = append(errs, errors.New("the certificate is of a gateway, which reports to global nodes, and globals is empty"))
		}
	case *config.Global:
		want = []identity.Role{identity.Global}
	}
	if err := identity.HasRole(id.Fleet, want...)(id); err != nil {
		errs = append(errs, fmt.Errorf("the certificate: %w", err))
	}
	return errors.Join(errs...)
}

// logger makes the process's log. The configuration's check has let only good
// words through.
func logger(cfg config.Log, out io.Writer) *slog.Logger {
	var level slog.Level
	if level.UnmarshalText([]byte(cfg.Level)) != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, opts))
	}
	return slog.New(slog.NewTextHandler(out, opts))
}

// newRegistry makes the process's registry, with what Go and the kernel say of
// the process.
func newRegistry(version string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "firebreak_build_info", Help: "Always 1; the version is in the label.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	r.MustRegister(info)
	return r
}

// worker is the configuration's node name as the roles have it.
func (s shared) worker() fleet.Worker { return fleet.Worker(s.Node) }
