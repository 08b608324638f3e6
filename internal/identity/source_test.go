package identity

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// running starts a source's Run inside the current bubble.
func running(t *testing.T, f Files, log io.Writer) *Source {
	t.Helper()
	s, err := Open(Config{Files: f, Logger: slog.New(slog.NewTextHandler(log, nil)), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return s
}

func issue(t *testing.T, a *Authority, id ID, ttl time.Duration) (cert, key []byte) {
	t.Helper()
	cert, key, err := a.Issue(id, nil, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func TestChangedFilesAreTakenWithoutRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, "acme")
		cert, key := issue(t, a, nodeID, time.Hour)
		f := write(t, a, cert, key)
		s := running(t, f, io.Discard)
		changed := s.Changed()
		cert, key = issue(t, a, nodeID, 2*time.Hour)
		rewrite(t, f, a, cert, key)
		time.Sleep(2 * defaultPoll)
		synctest.Wait()
		if left := time.Until(s.NotAfter()); left < 90*time.Minute {
			t.Errorf("the certificate in use lasts %v, want the new one's two hours", left)
		}
		select {
		case <-changed:
		default:
			t.Error("Changed was not closed")
		}
		if got, want := testutil.ToFloat64(s.metrics.notAfter), float64(s.NotAfter().Unix()); got != want {
			t.Errorf("expiry metric %v, want %v", got, want)
		}
	})
}

func TestLookIsAtOnceAndSaysWhatCameOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, "acme")
		cert, key := issue(t, a, nodeID, time.Hour)
		f := write(t, a, cert, key)
		s := running(t, f, io.Discard)
		if changed, err := s.Look(t.Context()); changed || err != nil {
			t.Errorf("nothing has changed: %v, %v", changed, err)
		}
		cert, key = issue(t, a, nodeID, 2*time.Hour)
		rewrite(t, f, a, cert, key)
		if changed, err := s.Look(t.Context()); !changed || err != nil || time.Until(s.NotAfter()) < 90*time.Minute {
			t.Errorf("another certificate: %v, %v, not after %v", changed, err, s.NotAfter())
		}
		if err := os.Remove(f.Key); err != nil {
			t.Fatal(err)
		}
		if changed, err := s.Look(t.Context()); changed || err == nil || time.Until(s.NotAfter()) < 90*time.Minute {
			t.Errorf("no key: %v, %v, not after %v", changed, err, s.NotAfter())
		}
	})
}

func TestBadFilesNeverReplaceGoodOnes(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, f Files, a *Authority){
		"truncated certificate": func(t *testing.T, f Files, a *Authority) { os.WriteFile(f.Cert, []byte("-----BEGIN"), 0o600) },
		"missing key":           func(t *testing.T, f Files, a *Authority) { os.Remove(f.Key) },
		"another key": func(t *testing.T, f Files, a *Authority) {
			_, key := issue(t, a, nodeID, time.Hour)
			os.WriteFile(f.Key, key, 0o600)
		},
		"another authority": func(t *testing.T, f Files, a *Authority) {
			os.WriteFile(f.CA, newAuthority(t, "acme").CertPEM(), 0o600)
		},
		"another name": func(t *testing.T, f Files, a *Authority) {
			cert, key := issue(t, a, ID{"acme", Node, "iad", "w2"}, time.Hour)
			rewrite(t, f, a, cert, key)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t, "acme")
				cert, key := issue(t, a, nodeID, time.Hour)
				f := write(t, a, cert, key)
				var log bytes.Buffer
				s := running(t, f, &log)
				until := s.NotAfter()
				spoil(t, f, a)
				time.Sleep(time.Minute)
				synctest.Wait()
				if s.ID() != nodeID || s.NotAfter() != until {
					t.Errorf("now %v until %v, want the last good one", s.ID(), s.NotAfter())
				}
				if got := testutil.ToFloat64(s.metrics.reloads.WithLabelValues("failed")); got != 1 {
					t.Errorf("%v failed reloads counted, want 1", got)
				}
				if n := strings.Count(log.String(), "not reloaded"); n != 1 {
					t.Errorf("logged %d times in a minute, want once", n)
				}
				cert, key = issue(t, a, nodeID, 3*time.Hour)
				rewrite(t, f, a, cert, key)
				time.Sleep(2 * defaultPoll)
				synctest.Wait()
				if s.NotAfter() == until {
					t.Error("good files after bad ones were not taken")
				}
			})
		})
	}
}

func TestOpenNamesEveryProblem(t *testing.T) {
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "no-cert"), filepath.Join(dir, "no-key"), filepath.Join(dir, "no-ca")}
	_, err := Load(f)
	for _, want := range []string{"no-cert", "no-key", "no-ca"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestAuthorityComesBackFromItsDirectory(t *testing.T) {
	a := newAuthority(t, "acme")
	dir := filepath.Join(t.TempDir(), "ca")
	if err := a.Save(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{AuthorityCert, AuthorityKey} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info.Mode(), err)
		}
	}
	if err := newAuthority(t, "acme").Save(dir); err == nil {
		t.Error("another authority was saved over the first")
	}
	b, err := LoadAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := issue(t, b, nodeID, time.Hour)
	if _, err := Load(write(t, a, cert, key)); err != nil {
		t.Errorf("a certificate of the loaded authority: %v", err)
	}
	if _, _, err := b.Issue(ID{"emca", Router, "", "r"}, nil, time.Hour); err == nil {
		t.Error("issued for another fleet")
	}
	if _, _, err := b.Issue(ID{"acme", Router, "", "R!"}, nil, time.Hour); err == nil {
		t.Error("issued for a bad name")
	}
}
