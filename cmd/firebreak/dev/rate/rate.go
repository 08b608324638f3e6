// Package rate reads how much of something is to happen per second.
package rate

import (
	"fmt"
	"strconv"
	"strings"
)

// Max bounds every rate: as much as one machine can be asked to do.
const Max = 10_000

// Parse reads "N/s", or "off" for zero.
func Parse(s string) (float64, error) {
	if s == "off" {
		return 0, nil
	}
	number, perSecond := strings.CutSuffix(s, "/s")
	rate, err := strconv.ParseFloat(number, 64)
	if !perSecond || err != nil || !(rate > 0 && rate <= Max) {
		return 0, fmt.Errorf("rate %q: want \"off\" or a number per second up to %d, as in \"20/s\"", s, Max)
	}
	return rate, nil
}
