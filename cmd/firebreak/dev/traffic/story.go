package traffic

import (
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// The lengths of stories. Times are in changes of the whole fleet.
const (
	batch    = 6  // machines of a deploy, at most
	scaled   = 4  // machines of one scaling, at most
	overlap  = 20 // a blue/green deploy runs both for so long
	downtime = 5  // of a crashed machine, before it is started again
	flap     = 25 // between two results of a check that flaps
	jobTime  = 80 // how long a job lasts, at least
)

// begin plans one story. It may come to nothing: a fleet without machines has
// none to deploy.
func (m *Model) begin() {
	size, target := len(m.machines), perWorker*len(m.loads)
	if size < target/2 {
		m.scaleUp()
		return
	}
	switch draw := m.rnd.IntN(100); {
	case draw < 20:
		m.deployInPlace()
	case draw < 40:
		m.deployBlueGreen()
	case draw < 65:
		if m.rnd.IntN(2*target) > size {
			m.scaleUp()
		} else {
			m.scaleDown()
		}
	case draw < 85:
		m.runJob()
	case draw < 92:
		m.crashLoop()
	default:
		m.flapHealth()
	}
}

// take puts up to n machines into a story.
func take(list []*machine, n int) []*machine {
	list = list[:min(n, len(list))]
	for _, x := range list {
		x.busy = true
	}
	return list
}

// startLater plans the start of a machine. After it, then goes on with it, or
// the story is over if that is nil.
func (m *Model) startLater(steps int, app fleet.App, then func(*machine)) {
	m.in(steps, func() (int, daemon.Change) {
		x, c := m.start(app)
		if x.busy = then != nil; x.busy {
			then(x)
		}
		return x.worker, c
	})
}

func (m *Model) endLater(steps int, x *machine) {
	m.in(steps, func() (int, daemon.Change) { return x.worker, m.end(x) })
}

// deployInPlace publishes some machines of an app anew, one after the other:
// they go on.
func (m *Model) deployInPlace() {
	for i, x := range take(m.free(m.steadyApp()), 1+m.rnd.IntN(batch)) {
		m.in(i, func() (int, daemon.Change) {
			x.busy = false
			return x.worker, x.publish()
		})
	}
}

// deployBlueGreen starts as many new machines as it ends afterwards.
func (m *Model) deployBlueGreen() {
	app := m.steadyApp()
	for i, old := range take(m.free(app), 1+m.rnd.IntN(batch)) {
		m.startLater(i, app, nil)
		m.endLater(overlap+i, old)
	}
}

func (m *Model) scaleUp() {
	app := m.steadyApp()
	for i := range 1 + m.rnd.IntN(scaled) {
		m.startLater(i, app, nil)
	}
}

func (m *Model) scaleDown() {
	for i, x := range take(m.free(m.steadyApp()), 1+m.rnd.IntN(scaled)) {
		m.endLater(i, x)
	}
}

// runJob runs an app that ends by itself.
func (m *Model) runJob() {
	app := job(m.rnd.IntN(maxApps - len(steady)))
	for i := range 1 + m.rnd.IntN(2) {
		m.startLater(i, app, func(x *machine) { m.endLater(jobTime+m.rnd.IntN(jobTime), x) })
	}
}

// crashLoop ends a machine and starts it again under its id, some times.
func (m *Model) crashLoop() {
	for _, x := range take(m.free(""), 1) {
		rounds := 2 + m.rnd.IntN(3)
		for i := range rounds {
			at := 2 * i * downtime
			m.in(at, func() (int, daemon.Change) { return x.worker, daemon.Change{ID: x.id, Gone: true} })
			m.in(at+downtime, func() (int, daemon.Change) {
				x.busy = i+1 < rounds
				return x.worker, x.publish()
			})
		}
	}
}

// flapHealth lets the checks of a machine warn or fail, and pass again, some
// times.
func (m *Model) flapHealth() {
	bad := regionv1.HealthStatus_HEALTH_STATUS_FAILING
	if m.rnd.IntN(2) == 0 {
		bad = regionv1.HealthStatus_HEALTH_STATUS_WARNING
	}
	say := func(x *machine, steps int, h daemon.Health, last bool) {
		m.in(steps, func() (int, daemon.Change) {
			x.busy = !last
			return x.worker, daemon.Change{ID: x.id, Health: h}
		})
	}
	for _, x := range take(m.free(""), 1) {
		rounds := 1 + m.rnd.IntN(3)
		for i := range rounds {
			say(x, 2*i*flap, bad, false)
			say(x, (2*i+1)*flap, regionv1.HealthStatus_HEALTH_STATUS_PASSING, i+1 == rounds)
		}
	}
}
