package join

import (
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/router/directory"
	"github.com/firebreak-dev/firebreak/router/position"
)

// bookmarkEvery is how often a position that moved without any change is passed
// on.
const bookmarkEvery = 20 * time.Second

// place takes the gateway's position of an app. Quiet says that nothing came
// with it.
func (r *Region) place(it *interest, at []byte, quiet bool, now directory.Instant) {
	it.position, it.gateway, it.clean = at, r.gateway, true
	p := position.Position{Region: r.name, App: it.app, Gateway: r.gateway, At: string(at)}
	it.encoded = p.Append(nil)
	if quiet && now.Since(it.moved) < bookmarkEvery {
		return
	}
	it.moved = now
	for _, sub := range it.subs {
		r.cursors[sub].owe(it.app) // who is owed nothing else gets the position
		r.touched[sub] = struct{}{}
	}
}

// unplace says that the stream cannot go on from where it was.
func (it *interest) unplace() { it.position, it.encoded, it.clean = nil, nil, false }

// standsAt is the position of whoever holds exactly what is held here: nil while
// that is not what the gateway had at any.
func (it *interest) standsAt() []byte {
	if !it.settled || !it.clean || it.bad != "" {
		return nil
	}
	return it.encoded
}

// holds reports whether sub, once it is paid, holds exactly what is held here.
func (it *interest) holds(sub Sub) bool {
	return slices.Contains(it.subs, sub) && !slices.Contains(it.open, sub)
}
