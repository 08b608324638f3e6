package run

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// looker is a role with schema files.
type looker interface {
	// LookAtSchema reports whether a look at the files loaded them.
	LookAtSchema(ctx context.Context) (loaded bool, err error)
}

// hangups takes SIGHUP from now on: what comes before the role runs is answered
// then. Of those that come while one is being answered, one is kept: its look
// sees what all of them meant.
func hangups() (_ <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// answer looks at the certificate and the schema files at each hangup, and
// says what came of it, until ctx ends.
func answer(ctx context.Context, hangups <-chan os.Signal, n node, s shared) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
		}
		changed, err := s.identity.Look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.log.Error("SIGHUP: certificate not reloaded, the last good one stays", "not_after", s.identity.NotAfter(), "err", err)
		} else {
			s.log.Info("SIGHUP: certificate looked at", "changed", changed, "not_after", s.identity.NotAfter())
		}
		if l, ok := n.(looker); ok {
			loaded, err := l.LookAtSchema(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				s.log.Error("SIGHUP: schema files are not loaded: the schema stays as it is", "err", err)
			} else {
				s.log.Info("SIGHUP: schema files looked at", "changed", loaded)
			}
		}
	}
}
