package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/configfile"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// findings collects what is wrong with a file's values.
type findings []configfile.Problem

func (f *findings) add(key string, err error) {
	if err != nil {
		*f = append(*f, configfile.Problem{Key: key, Text: err.Error()})
	}
}

// need reports a key that must be set.
func (f *findings) need(key, value string) {
	if value == "" {
		f.add(key, errors.New("is missing"))
	}
}

func (f *findings) oneOf(key, value string, words ...string) {
	if !slices.Contains(words, value) {
		f.add(key, fmt.Errorf("%q: want %s", value, strings.Join(words, " or ")))
	}
}

// dialable checks host:port that others connect to.
func (f *findings) dialable(key, value string) { f.add(key, CheckDialable(value)) }

// CheckDialable reports why s is no host:port to connect to, or nil.
func CheckDialable(s string) error {
	host, port, err := splitAddress(s)
	switch {
	case err != nil:
		return err
	case host == "" || unspecified(host):
		return fmt.Errorf("%q: nobody can dial an unspecified address", s)
	case port == 0:
		return fmt.Errorf("%q: nobody can dial port 0", s)
	}
	return nil
}

// listen checks host:port to bind, and what is advertised for it.
func (f *findings) listen(table, listen, advertise string) {
	f.need(table+".listen", listen)
	if advertise != "" {
		f.dialable(table+".advertise", advertise)
	}
	if listen == "" {
		return
	}
	host, _, err := splitAddress(listen)
	f.add(table+".listen", err)
	if err == nil && (host == "" || unspecified(host)) && advertise == "" {
		f.add(table+".advertise", fmt.Errorf("is missing: others cannot dial %q", listen))
	}
}

func (f *findings) addresses(key string, list []string) {
	seen := map[string]bool{}
	for _, a := range list {
		f.dialable(key, a)
		if seen[a] {
			f.add(key, fmt.Errorf("%q is listed twice", a))
		}
		seen[a] = true
	}
}

func splitAddress(s string) (host string, port uint16, err error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%q: want host:port", s)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q: port %q is not in 0..65535", s, p)
	}
	return host, uint16(n), nil
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

func (c *Common) findings() findings {
	var f findings
	f.add("fleet", fleet.CheckFleet(c.Fleet))
	f.add("node", fleet.Worker(c.Node).Check())
	if c.Locality != "" {
		f.add("locality", fleet.CheckLocality(c.Locality))
	}
	f.need("data", c.Data)
	f.need("tls.cert", c.TLS.Cert)
	f.need("tls.key", c.TLS.Key)
	f.need("tls.ca", c.TLS.CA)
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		f.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	}
	f.oneOf("log.format", c.Log.Format, "text", "json")
	f.loopback("admin", c.Admin)
	return f
}

// loopback checks the address of a listener that asks nobody who they are.
func (f *findings) loopback(key, address string) {
	if address == "" {
		return
	}
	host, _, err := splitAddress(address)
	if ip := net.ParseIP(host); err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		err = fmt.Errorf("%q is not a loopback address", address)
	}
	f.add(key, err)
}

func (g Gossip) check(f *findings) {
	f.listen("gossip", g.Listen, g.Advertise)
	f.addresses("gossip.seeds", g.Seeds)
}

func (r *Region) check() []configfile.Problem {
	f := r.findings()
	f.add("region", fleet.Region(r.Region).Check())
	_, err := ParseGeneration(r.Generation)
	f.add("generation", err)
	f.oneOf("durability", r.Durability, "fsync", "os")
	f.addresses("globals", r.Globals)
	r.Gossip.check(&f)
	f.listen("grpc", r.GRPC.Listen, r.GRPC.Advertise)
	f.loopback("http.listen", r.HTTP.Listen)
	if len(r.Socket) > maxSocket {
		f.add("socket", fmt.Errorf("path of %d bytes is over the limit of %d", len(r.Socket), maxSocket))
	}
	return f
}

// maxSocket is what fits into a unix socket's address on Linux.
const maxSocket = 107

func (g *Global) check() []configfile.Problem {
	f := g.findings()
	f.oneOf("durability", g.Durability, "fsync", "os")
	f.oneOf("brake", g.Brake, "enforce", "observe")
	g.Gossip.check(&f)
	f.listen("grpc", g.GRPC.Listen, g.GRPC.Advertise)
	return f
}

func (r *Router) check() []configfile.Problem {
	f := r.findings()
	if len(r.Globals) == 0 {
		f.add("globals", errors.New("is missing: a router follows a global node"))
	}
	f.addresses("globals", r.Globals)
	f.listen("grpc", r.GRPC.Listen, r.GRPC.Advertise)
	return f
}
