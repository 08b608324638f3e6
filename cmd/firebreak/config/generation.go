package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// ParseGeneration reads what Generation.String gives, and nothing else.
func ParseGeneration(s string) (presence.Generation, error) {
	if s == "" {
		return presence.Generation{}, errors.New("is missing: 'firebreak region add' prints it")
	}
	number, bits, _ := strings.Cut(s, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	b, berr := strconv.ParseUint(bits, 16, 64)
	g := presence.Generation{Number: n, Bits: b}
	if err != nil || berr != nil || n == 0 || n > math.MaxInt64 || g.String() != s {
		return presence.Generation{}, fmt.Errorf("%q: want a number from 1, a dash and 16 hex digits, as 1-0123456789abcdef", s)
	}
	return g, nil
}
