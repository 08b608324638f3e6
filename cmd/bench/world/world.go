// Package world is what is around a part of the product while it is measured:
// certificates of a throw-away authority, and servers that answer as regions
// and as global do, after the delay that they are told.
package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
)

// Fleet is the name of every fleet that is made here.
const Fleet = "bench"

// World issues identities and runs servers until it is closed. Not safe for
// concurrent use.
type World struct {
	dir   string
	ca    *identity.Authority
	n     int
	stops []func() error
}

// New makes a world whose files lie in dir.
func New(dir string) (*World, error) {
	ca, err := identity.NewAuthority(Fleet, time.Now())
	if err != nil {
		return nil, err
	}
	return &World{dir: dir, ca: ca}, nil
}

// Close stops everything, the latest first.
func (w *World) Close() error {
	var errs []error
	for i := len(w.stops) - 1; i >= 0; i-- {
		errs = append(errs, w.stops[i]())
	}
	w.stops = nil
	return errors.Join(errs...)
}

// Until has stop called when the world is closed.
func (w *World) Until(stop func() error) { w.stops = append(w.stops, stop) }

// Go runs something that ends with its context until the world is closed.
func (w *World) Go(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	w.Until(func() error { cancel(); return <-done })
}

// Dir makes a directory for one node.
func (w *World) Dir(name string) (string, error) {
	dir := filepath.Join(w.dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// Identity issues a certificate.
func (w *World) Identity(id identity.ID) (*identity.Source, error) {
	id.Fleet = Fleet
	cert, key, err := w.ca.Issue(id, []string{"127.0.0.1"}, 24*time.Hour)
	if err != nil {
		return nil, err
	}
	w.n++
	dir, err := w.Dir(fmt.Sprintf("id-%d", w.n))
	if err != nil {
		return nil, err
	}
	f := identity.Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
	for path, data := range map[string][]byte{f.Cert: cert, f.Key: key, f.CA: w.ca.CertPEM()} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return nil, err
		}
	}
	return identity.Load(f)
}

// Serve runs a server under an identity and returns its address.
func (w *World) Serve(id identity.ID, register func(*grpc.Server)) (string, error) {
	source, err := w.Identity(id)
	if err != nil {
		return "", err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := rpc.NewServer(rpc.ServerConfig{Identity: source})
	register(srv.Server)
	done := make(chan error, 1)
	go func() { done <- srv.Server.Serve(lis) }()
	w.Until(func() error { srv.Stop(); return <-done })
	return lis.Addr().String(), nil
}

// Dial connects as id to a server that expect accepts.
func (w *World) Dial(addr string, id identity.ID, expect func(identity.ID) error) (*grpc.ClientConn, error) {
	source, err := w.Identity(id)
	if err != nil {
		return nil, err
	}
	conn, err := rpc.Dial(addr, source, expect)
	if err == nil {
		w.Until(conn.Close)
	}
	return conn, err
}
