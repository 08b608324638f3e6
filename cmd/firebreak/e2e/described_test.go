package e2e

import (
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
)

var desc = regexp.MustCompile(`fqName: "(firebreak_[a-z0-9_]+)", help: "((?:[^"\\]|\\.)*)"`)

// described lists what a registry's collectors may give, with the help text.
func described(reg *prometheus.Registry) map[string]string {
	ch := make(chan *prometheus.Desc)
	go func() {
		reg.Describe(ch)
		close(ch)
	}()
	out := map[string]string{}
	for d := range ch {
		if m := desc.FindStringSubmatch(d.String()); m != nil {
			out[m[1]] = m[2]
		}
	}
	return out
}
