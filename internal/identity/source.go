package identity

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Config configures a Source.
type Config struct {
	Files   Files
	Poll    time.Duration         // between looks at the files; zero means 5s
	Logger  *slog.Logger          // nil discards
	Metrics prometheus.Registerer // nil leaves metrics unregistered
}

const defaultPoll = 5 * time.Second

// Refusals are logged up to this many a second; beyond it they are counted. A
// stranger who knocks must not fill the disk.
const (
	refusalsPerSecond = 5
	refusalsBurst     = 50
)

// Source is one process's identity. Safe for concurrent use.
type Source struct {
	// Set by Open, then constant.
	files   Files
	poll    time.Duration
	log     *slog.Logger
	metrics *metrics
	limit   *rate.Limiter

	now     atomic.Pointer[material] // the last good reading
	changed atomic.Pointer[chan struct{}]

	asks chan chan<- looked // who asks for a look at once
}

// looked is what came of a look at the files.
type looked struct {
	changed bool
	err     error
}

// Load is Open with defaults.
func Load(f Files) (*Source, error) { return Open(Config{Files: f}) }

// Open reads the files once and names every problem. Without Run the source
// never changes.
func Open(cfg Config) (*Source, error) {
	stamped, err := cfg.Files.read()
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Poll <= 0 {
		cfg.Poll = defaultPoll
	}
	s := &Source{
		files:   cfg.Files,
		poll:    cfg.Poll,
		log:     cfg.Logger,
		metrics: newMetrics(cfg.Metrics),
		limit:   rate.NewLimiter(refusalsPerSecond, refusalsBurst),
		asks:    make(chan chan<- looked),
	}
	changed := make(chan struct{})
	s.changed.Store(&changed)
	s.install(stamped)
	return s, nil
}

// Run re-reads the files when they change, until ctx ends. Files that cannot
// be used are logged and counted, and the last good ones stay; so is a
// certificate of another identity: that needs a restart.
func (s *Source) Run(ctx context.Context) error {
	tick := time.NewTicker(s.poll)
	defer tick.Stop()
	seen := s.files.stamp()
	s.say(s.reload()) // what changed between Open and the stamp
	for {
		select {
		case <-ctx.Done():
			return nil
		case answer := <-s.asks:
			seen = s.files.stamp()
			changed, err := s.reload()
			answer <- looked{changed, err}
		case <-tick.C:
			if stamp := s.files.stamp(); stamp != seen {
				seen = stamp
				s.say(s.reload())
			}
		}
	}
}

// Look has Run look at the files now, and reports whether they are others than
// before. If they cannot be used it says why, and the last good ones stay.
func (s *Source) Look(ctx context.Context) (changed bool, err error) {
	answer := make(chan looked, 1) // Run waits for nobody
	select {
	case s.asks <- answer:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case l := <-answer:
		return l.changed, l.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// reload reads the files anew, and takes them over if they are good and others.
func (s *Source) reload() (changed bool, err error) {
	old := s.now.Load()
	m, err := s.files.read()
	if err == nil && m.id != old.id {
		err = fmt.Errorf("the certificate in %s is %v, this process runs as %v", s.files.Cert, m.id, old.id)
	}
	if err != nil {
		s.metrics.reloads.WithLabelValues("failed").Inc()
		return false, err
	}
	if m.leaf.Equal(old.leaf) && m.roots.Equal(old.roots) {
		return false, nil
	}
	s.metrics.reloads.WithLabelValues("ok").Inc()
	s.install(m)
	next := make(chan struct{})
	close(*s.changed.Swap(&next))
	return true, nil
}

// say logs what came of a look that nobody asked for.
func (s *Source) say(changed bool, err error) {
	switch {
	case err != nil:
		s.log.Error("certificate not reloaded, the last good one stays", "not_after", s.NotAfter(), "err", err)
	case changed:
		s.log.Info("certificate reloaded", "identity", s.ID().String(), "not_after", s.NotAfter())
	}
}

func (s *Source) install(m *material) {
	s.now.Store(m)
	s.metrics.notAfter.Set(float64(m.leaf.NotAfter.Unix()))
	if time.Now().After(m.leaf.NotAfter) {
		s.log.Error("own certificate has expired: peers will refuse it", "identity", m.id.String(), "not_after", m.leaf.NotAfter)
	}
}

// ID is who this process is. It never changes.
func (s *Source) ID() ID { return s.now.Load().id }

// NotAfter is when the certificate in use expires.
func (s *Source) NotAfter() time.Time { return s.now.Load().leaf.NotAfter }

// Changed is closed when the certificate or the authorities are replaced.
// Connections that are open keep the old ones: their owner closes them in its
// own time.
func (s *Source) Changed() <-chan struct{} { return *s.changed.Load() }
