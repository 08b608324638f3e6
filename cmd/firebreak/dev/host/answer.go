package host

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// The headers of a request: the machine it is for, and the app it is asked as.
// An answer has them too, from the one who gives it, with its place; if it is a
// refusal of a machine that has stopped, also since when its node knows that;
// nothing if it does not yet.
const (
	MachineHeader = "Firebreak-Machine"
	AppHeader     = "Firebreak-App"
	PlaceHeader   = "Firebreak-Place"   // region/worker
	StoppedHeader = "Firebreak-Stopped" // Unix nanoseconds
)

// pathPrefix precedes the machine's id in a path, for people.
const pathPrefix = "/machines/"

// The refusals.
const (
	StatusStopped = http.StatusGone
	StatusUnknown = http.StatusMisdirectedRequest // never ran here
)

// answer is the body.
type answer struct {
	Region    fleet.Region    `json:"region"`
	Worker    fleet.Worker    `json:"worker"`
	Machine   fleet.MachineID `json:"machine"`
	App       fleet.App       `json:"app,omitempty"`
	Refused   string          `json:"refused,omitempty"`    // why
	StoppedMs int64           `json:"stopped_ms,omitempty"` // milliseconds ago
}

// ServeHTTP answers for one machine.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := fleet.MachineID(r.Header.Get(MachineHeader))
	if id == "" {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, pathPrefix), "/")
		id = fleet.MachineID(name)
	}
	m, known := h.machine(id, reached(r))
	a := answer{Region: h.place.Region, Worker: h.place.Worker, Machine: id, App: m.app}
	w.Header().Set(PlaceHeader, h.place.String())
	status := http.StatusOK
	asked := fleet.App(r.Header.Get(AppHeader))
	switch {
	case !known:
		status, a.Refused = StatusUnknown, "it never ran here"
	case !m.running || asked != "" && asked != m.app: // an app's machine is over once its id is another app's
		status, a.Refused, a.StoppedMs = StatusStopped, "it has stopped", time.Since(m.since).Milliseconds()
		if !m.told.IsZero() {
			w.Header().Set(StoppedHeader, strconv.FormatInt(m.told.UnixNano(), 10))
		}
	}
	if known && status == http.StatusOK {
		w.Header().Set(MachineHeader, string(id))
		w.Header().Set(AppHeader, string(m.app))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // the other end is gone, or has it
}

// machine returns a machine as it is now. At is the address that the request
// came to: a machine's own, or any other for people.
func (h *Host) machine(id fleet.MachineID, at netip.Addr) (machine, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.machines[id]
	if m == nil || Net.Contains(at) && at != m.addr {
		return machine{}, false
	}
	return *m, true
}

// reached returns the address on which a request came in.
func reached(r *http.Request) netip.Addr {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return addr.AddrPort().Addr().Unmap()
}
