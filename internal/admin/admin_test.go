package admin_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/admin"
)

func run(t *testing.T, cfg admin.Config) string {
	t.Helper()
	s, err := admin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + s.Addr()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestAddressThatStrangersReachIsRefusedWithoutTLS(t *testing.T) {
	for _, a := range []string{"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0", "example.com:0", "127.0.0.1", "", "[::ffff:0.0.0.0]:0"} {
		if s, err := admin.New(admin.Config{Listen: a}); err == nil {
			s.Close()
			t.Errorf("%q is listened on without TLS", a)
		}
	}
	s, err := admin.New(admin.Config{Listen: "0.0.0.0:0", TLS: &tls.Config{}})
	if err != nil {
		t.Fatalf("with TLS: %v", err)
	}
	s.Close()
}

func TestPortInUseIsNamed(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	if _, err := admin.New(admin.Config{Listen: lis.Addr().String()}); err == nil || !strings.Contains(err.Error(), lis.Addr().String()) {
		t.Errorf("New on a port in use: %v", err)
	}
}

func TestReadyzSaysWhyNot(t *testing.T) {
	var why atomic.Pointer[error]
	behind := errors.New("not caught up: w2 has 7 versions more")
	why.Store(&behind)
	url := run(t, admin.Config{Listen: "127.0.0.1:0", Ready: func() error { return *why.Load() }})
	if code, body := get(t, url+"/readyz"); code != 503 || body != behind.Error()+"\n" {
		t.Errorf("not ready: %d %q", code, body)
	}
	if code, _ := get(t, url+"/livez"); code != 200 {
		t.Errorf("livez of a process that is not ready: %d", code)
	}
	why.Store(new(error))
	if code, body := get(t, url+"/readyz"); code != 200 || body != "ready\n" {
		t.Errorf("ready: %d %q", code, body)
	}
}

func TestMetricsAreThoseOfTheGivenRegistryOnly(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "firebreak_only_total", Help: "x"})
	reg.MustRegister(c)
	c.Inc()
	url := run(t, admin.Config{Listen: "127.0.0.1:0", Registry: reg})
	code, body := get(t, url+"/metrics")
	if code != 200 || !strings.Contains(body, "firebreak_only_total 1") || strings.Contains(body, "go_goroutines") {
		t.Errorf("metrics: %d\n%s", code, body)
	}
}

func TestProfilesAreServedAndNothingIsWritten(t *testing.T) {
	url := run(t, admin.Config{Listen: "127.0.0.1:0"})
	if code, body := get(t, url+"/debug/pprof/goroutine?debug=1"); code != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("pprof: %d %.60q", code, body)
	}
	r, err := http.Post(url+"/livez", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
	if code, _ := get(t, url+"/other"); code != 404 {
		t.Errorf("unknown path: %d", code)
	}
}
