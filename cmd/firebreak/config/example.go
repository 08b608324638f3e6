package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/configfile"
)

// sample is a role's file with every key that needs one set.
func sample(role Role) File {
	f := defaults(role)
	c := f.Shared()
	c.Fleet, c.Data, c.Control = "acme", "/var/lib/firebreak/"+string(role), "/etc/firebreak/control.toml"
	c.TLS = TLS{Cert: "/etc/firebreak/tls/node.pem", Key: "/etc/firebreak/tls/node.key", CA: "/etc/firebreak/tls/ca.pem"}
	globals := []string{"192.0.2.1:7501", "192.0.2.2:7501", "192.0.2.3:7501"}
	switch f := f.(type) {
	case *Region:
		c.Node, c.Admin, c.Locality = "w1", "127.0.0.1:7402", "us-east"
		f.Region, f.Generation, f.Socket, f.Globals = "iad", "1-0123456789abcdef", "/run/firebreak/region.sock", globals
		f.Gossip = Gossip{Listen: "0.0.0.0:7400", Advertise: "198.51.100.1:7400", Seeds: []string{"198.51.100.2:7400", "198.51.100.3:7400"}}
		f.GRPC = GRPC{Listen: "0.0.0.0:7401", Advertise: "198.51.100.1:7401"}
		f.HTTP = HTTP{Listen: "127.0.0.1:7403", TokenFile: "/etc/firebreak/http.token"}
	case *Global:
		c.Node, c.Admin = "g1", "127.0.0.1:7502"
		f.Gossip = Gossip{Listen: "0.0.0.0:7500", Advertise: "192.0.2.1:7500", Seeds: []string{"192.0.2.2:7500", "192.0.2.3:7500"}}
		f.GRPC = GRPC{Listen: "0.0.0.0:7501", Advertise: "192.0.2.1:7501"}
	case *Router:
		c.Node, c.Admin, c.Locality = "r1", "127.0.0.1:7602", "us-east"
		f.Globals = globals
		f.GRPC = GRPC{Listen: "0.0.0.0:7601", Advertise: "203.0.113.1:7601"}
	}
	return f
}

// Example returns a role's file with every key, each with what it means.
func Example(role Role) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# A %s node of Firebreak: firebreak run --role %s -c FILE\n", role, role)
	table := ""
	values := map[string]reflect.Value{}
	for _, f := range configfile.Fields(sample(role)) {
		values[f.Key] = f.Value
	}
	for _, f := range Keys(role) {
		if t := tableOf(f.Key); t != table {
			table = t
			fmt.Fprintf(&b, "\n[%s]\n", table)
		} else {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s\n%s = %s\n", f.Comment, strings.TrimPrefix(f.Key, table+"."), Render(values[f.Key]))
	}
	return b.String()
}

// Render gives a value as TOML.
func Render(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = Render(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
