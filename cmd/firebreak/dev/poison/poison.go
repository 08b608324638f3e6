// Package poison gives the program of a node a bug on purpose: it fails on
// peers' rows of one app, for as long as a file is there. So that a federation
// can be shown what a row does that no node but its writer's can take.
package poison

import (
	"os"
	"syscall"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// App is the app whose rows the bug is about.
const App = fleet.App("poison")

// Trip returns what a node's store calls with every row of a peer: it calls
// fail for one of App, while the file is there.
func Trip(file string, fail func()) func(table string, row store.Row) {
	return func(table string, row store.Row) {
		if table != "fleet_machines" || !has(row) {
			return
		}
		if _, err := os.Stat(file); err == nil {
			fail()
		}
	}
}

func has(row store.Row) bool {
	for _, v := range row {
		if v.Data == string(App) {
			return true
		}
	}
	return false
}

// Panic is what fails in one process with everybody else.
func Panic() { panic("a bug on purpose: the row is of app " + App) }

// Kill ends the process, with no word to anybody: no panic that could be
// caught, as a fault of the C code would.
func Kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // of ourselves: it cannot fail
	select {}
}
