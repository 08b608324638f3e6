package dev

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// clockTicks is the unit of times in /proc: fixed at 100 a second for every
// program on Linux.
const clockTicks = 100

// usage sums the CPU seconds and the resident bytes of this process and of
// those in pids, as /proc has them. A process that is gone counts as nothing.
func usage(pids []int) (cpu float64, rss int64) {
	seen := map[int]bool{}
	for _, pid := range append(pids, os.Getpid()) {
		if seen[pid] {
			continue
		}
		seen[pid] = true
		c, r := usageOf(pid)
		cpu += c
		rss += r
	}
	return cpu, rss
}

func usageOf(pid int) (cpu float64, rss int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// The second field is the name in parentheses, which may hold anything.
	text := string(b)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const utime, stime, pages = 11, 12, 21 // counted from the third field
	if len(fields) <= pages {
		return 0, 0
	}
	number := func(i int) int64 {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return float64(number(utime)+number(stime)) / clockTicks, number(pages) * int64(os.Getpagesize())
}
