package fedsim

import (
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
)

// disk is what of a store survives its end. One store at a time uses a disk.
type disk interface {
	open(r *replica, bits func() uint64) (opened, error)
	// copy returns an image of the disk as it is, whether a store uses it or not.
	copy() disk
}

// opened is a store that can end in other ways than by Close.
type opened interface {
	store.Store
	// Crash ends it as a loss of power does: what was not synced is gone from
	// its disk.
	Crash()
	// Sync makes all that was committed survive a crash.
	Sync()
}

// newDisk returns an empty disk of the kind that the options ask for.
func (f *federation) newDisk() disk {
	if f.files != nil {
		return f.files.newDisk()
	}
	return memoryDisk{&memory.Disk{}}
}

type memoryDisk struct{ log *memory.Disk }

func (d memoryDisk) copy() disk { return memoryDisk{d.log.Copy()} }

func (d memoryDisk) open(r *replica, bits func() uint64) (opened, error) {
	st, err := memory.Open(memory.Config{
		Fleet: fleetName, Cluster: r.realm.cluster, Node: r.proc.name, Tables: r.realm.tablesOf(r.few), Now: r.proc.wall,
		Rand: bits, Disk: d.log, Check: r.check, Forge: func() bool { return r.forges },
	})
	return memoryStore{st, d.log}, err
}

type memoryStore struct {
	*memory.Store
	log *memory.Disk
}

func (s memoryStore) Sync() { s.log.Sync() }
