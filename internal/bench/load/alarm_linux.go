package load

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm wakes its caller at a moment, to some microseconds. Go's own timers
// are up to a millisecond late on an idle machine, for they wait in epoll,
// whose unit that is; and all that an operation begins late is counted as its
// latency. A timerfd is an event of epoll, and comes when it is due.
type alarm struct {
	f *os.File // nil if there is none: then Go's timers have to do
}

func newAlarm() *alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return &alarm{}
	}
	return &alarm{os.NewFile(uintptr(fd), "timerfd")}
}

func (a *alarm) close() {
	if a.f != nil {
		_ = a.f.Close()
	}
}

// sleep waits for d, which is short: nothing ends it earlier.
func (a *alarm) sleep(d time.Duration) error {
	if a.f == nil {
		return nil
	}
	raw, err := a.f.SyscallConn()
	if err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	var set error
	once := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	if err := raw.Control(func(fd uintptr) { set = unix.TimerfdSettime(int(fd), 0, &once, nil) }); err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	if set != nil {
		return fmt.Errorf("timerfd: %w", set)
	}
	var fired [8]byte
	_, err = a.f.Read(fired[:])
	return err
}
