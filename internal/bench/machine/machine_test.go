package machine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench/machine"
)

func TestUsageGrowsWithWork(t *testing.T) {
	before, err := machine.Used()
	if err != nil {
		t.Fatal(err)
	}
	c := machine.NewCalibration()
	c.Loop()
	after, err := machine.Used()
	if err != nil {
		t.Fatal(err)
	}
	if cpu := after.CPU - before.CPU; cpu < 20*time.Millisecond {
		t.Errorf("%v of CPU for loops that take longer", cpu)
	}
	if after.Mallocs <= before.Mallocs {
		t.Error("no allocation was counted")
	}
}

func TestSyncTimesAreOrdered(t *testing.T) {
	p50, p99, err := machine.SyncTimes(t.TempDir())
	if err != nil || p50 <= 0 || p99 < p50 {
		t.Errorf("%v, %v, %v", p50, p99, err)
	}
	if _, _, err := machine.SyncTimes("/nonexistent"); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("a missing directory: %v", err)
	}
}

func TestTheMachineHasNames(t *testing.T) {
	for what, s := range map[string]string{"CPU": machine.CPU(), "kernel": machine.Kernel(), "device": machine.Device(t.TempDir()), "load": machine.Load()} {
		if s == "" || s == "unknown" {
			t.Errorf("%s: %q", what, s)
		}
	}
	if free, err := machine.Free(t.TempDir()); err != nil || free == 0 {
		t.Errorf("free: %d, %v", free, err)
	}
}
