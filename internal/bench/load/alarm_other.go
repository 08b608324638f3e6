//go:build !linux

package load

import "time"

// alarm is nothing here: Go's timers have to do.
type alarm struct{}

func newAlarm() *alarm { return &alarm{} }

func (*alarm) close() {}

func (*alarm) sleep(time.Duration) error { return nil }
