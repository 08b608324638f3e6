// Package fleet is the product's vocabulary: the names of things and the
// limits on them. Its subpackages hold the pure rules that every tier shares:
// claim (which rows count), presence (what a region reports), coverage (how
// each region contributed to an answer). It knows no engine.
package fleet

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Region names one regional cluster: at most 32 bytes of
// [a-z0-9]([a-z0-9-]*[a-z0-9])?, but not "global" or "router".
type Region string

// Worker names a host that runs machines; its region node has the same name.
// At most 63 bytes of the same alphabet.
type Worker string

// App names an application: at most 63 bytes of
// [a-z0-9]([a-z0-9_-]*[a-z0-9])?. No dots: DNS separates by them.
type App string

// MachineID names a machine within its worker: 1 to 128 bytes of UTF-8
// without control characters.
type MachineID string

// The limits, in bytes.
const (
	MaxFleetName  = 32
	MaxRegionName = 32
	MaxNodeName   = 63
	MaxAppName    = 63
	MaxMachineID  = 128
	MaxMetadata   = 16 << 10
)

// CheckFleet reports why s is no fleet name, or nil.
func CheckFleet(s string) error { return checkName("fleet", s, MaxFleetName, "-") }

// CheckLocality reports why s is no locality name, or nil.
func CheckLocality(s string) error { return checkName("locality", s, MaxRegionName, "-") }

// Check reports why r is no region name, or nil.
func (r Region) Check() error {
	if r == "global" || r == "router" {
		return fmt.Errorf("region %q: the name is reserved", string(r))
	}
	return checkName("region", string(r), MaxRegionName, "-")
}

// Check reports why w is no worker or node name, or nil.
func (w Worker) Check() error { return checkName("node", string(w), MaxNodeName, "-") }

// Check reports why a is no app name, or nil.
func (a App) Check() error { return checkName("app", string(a), MaxAppName, "-_") }

// Check reports why id is no machine id, or nil.
func (id MachineID) Check() error {
	switch {
	case id == "":
		return fmt.Errorf("machine id is empty")
	case len(id) > MaxMachineID:
		return fmt.Errorf("machine id of %d bytes is over the limit of %d", len(id), MaxMachineID)
	case !utf8.ValidString(string(id)):
		return fmt.Errorf("machine id %q is not valid UTF-8", string(id))
	case strings.ContainsFunc(string(id), unicode.IsControl):
		return fmt.Errorf("machine id %q holds a control character", string(id))
	}
	return nil
}

func checkName(what, s string, limit int, inner string) error {
	if s == "" {
		return fmt.Errorf("%s name is empty", what)
	}
	if len(s) > limit {
		return fmt.Errorf("%s name %q of %d bytes is over the limit of %d", what, s, len(s), limit)
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			continue
		}
		if strings.IndexByte(inner, c) >= 0 && i > 0 && i < len(s)-1 {
			continue
		}
		return fmt.Errorf("%s name %q: want lower-case letters and digits, and %q only inside", what, s, inner)
	}
	return nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// CheckAddress reports why s is no address that can be served: an IPv4 or IPv6
// literal without zone that is neither unspecified, multicast nor broadcast. It
// returns the one spelling that is published (v4-mapped addresses as IPv4).
func CheckAddress(s string) (string, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return "", fmt.Errorf("address %q is no IP literal (host names are not resolved)", s)
	case a.Zone() != "":
		return "", fmt.Errorf("address %q has a zone", s)
	}
	a = a.Unmap()
	if a.IsUnspecified() || a.IsMulticast() || a == broadcast {
		return "", fmt.Errorf("address %q cannot be served", s)
	}
	return a.String(), nil
}

// CheckPort reports why p is no port, or nil.
func CheckPort(p int64) error {
	if p < 1 || p > 65535 {
		return fmt.Errorf("port %d is not in 1..65535", p)
	}
	return nil
}
