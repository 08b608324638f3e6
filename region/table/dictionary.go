package table

import (
	_ "embed"

	"github.com/firebreak-dev/firebreak/internal/replica"
)

//go:embed dictionary1.bin
var dictionary1 []byte

// dictionary2 has every column of a machine: number 1 left out the epoch, which
// is one at first.
//
//go:embed dictionary2.bin
var dictionary2 []byte

// Dictionaries returns the bytes that frames of a region's cluster are packed
// with: deliveries of the built-in tables. A change of them is a new number,
// last in the list; the earlier ones stay for as long as a version that writes
// with them may be in a cluster.
func Dictionaries() []replica.Dictionary {
	return []replica.Dictionary{{Number: 1, Bytes: dictionary1}, {Number: 2, Bytes: dictionary2}}
}
