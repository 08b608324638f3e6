package host

import (
	"net/netip"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Start runs a machine, or goes on with it, and returns where it answers: an
// address of its own, also if it comes back after a stop.
func (h *Host) Start(id fleet.MachineID, app fleet.App) netip.AddrPort {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.machines[id]
	if m == nil {
		m = &machine{addr: h.addresses.Next()}
		h.machines[id] = m
	}
	if !m.running || m.app != app {
		m.app, m.running, m.failing, m.since, m.told = app, true, false, now, time.Time{}
	}
	return netip.AddrPortFrom(m.addr, h.port)
}

// Stop ends a machine. One that does not run stays as it is.
func (h *Host) Stop(id fleet.MachineID) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.machines[id]
	if m == nil || !m.running {
		return
	}
	m.running, m.since, m.told = false, now, time.Time{}
	h.stopped = append(h.stopped, stop{id, now})
	if len(h.stopped) <= maxStopped {
		return
	}
	first := h.stopped[0]
	h.stopped = h.stopped[1:]
	if m := h.machines[first.id]; m != nil && !m.running && m.since.Equal(first.at) {
		delete(h.machines, first.id)
	}
}

// SetFailing says whether a machine's checks fail. It answers all the same.
func (h *Host) SetFailing(id fleet.MachineID, failing bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.machines[id]; m != nil && m.failing != failing {
		m.failing, m.told = failing, time.Time{}
	}
}

// Told says that the worker's node has acknowledged what these machines are
// now. Until then nobody else can know of it.
func (h *Host) Told(ids ...fleet.MachineID) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if m := h.machines[id]; m != nil {
			m.tell(now)
		}
	}
}

// ToldAll says so of every machine.
func (h *Host) ToldAll() {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.machines {
		m.tell(now)
	}
}

func (m *machine) tell(now time.Time) {
	if m.told.IsZero() {
		m.told = now
	}
}

// Running returns the machines that run.
func (h *Host) Running() []fleet.MachineID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []fleet.MachineID
	for id, m := range h.machines {
		if m.running {
			out = append(out, id)
		}
	}
	return out
}

// serves reports whether the machine has run without failing since then, as its
// node knows.
func (m *machine) serves(since time.Time) bool {
	return m.running && !m.failing && !m.told.IsZero() && !m.told.After(since)
}

// serving returns the apps with a machine that has served since then.
func (h *Host) serving(since time.Time) map[fleet.App]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	apps := map[fleet.App]bool{}
	for _, m := range h.machines {
		if m.serves(since) {
			apps[m.app] = true
		}
	}
	return apps
}
