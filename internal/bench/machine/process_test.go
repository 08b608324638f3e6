package machine

import (
	"os"
	"testing"
	"time"
)

func TestCPUTimeIsReadWhateverTheName(t *testing.T) {
	for _, c := range []struct {
		line string
		want time.Duration
	}{
		{"7 (a) S 1 2 3 4 5 6 7 8 9 10 150 50 0", 2 * time.Second},
		{"7 (a) 9 (b) S 1 2 3 4 5 6 7 8 9 10 1 2 0", 30 * time.Millisecond},
	} {
		if got, err := parseStat(c.line); err != nil || got != c.want {
			t.Errorf("%q: %v, %v, want %v", c.line, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "7 (a) S 1", "7 (a) S 1 2 3 4 5 6 7 8 9 10 x 50 0", ")"} {
		if got, err := parseStat(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	if _, err := CPUOf(os.Getpid()); err != nil {
		t.Error(err)
	}
}
