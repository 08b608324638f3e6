package global

import (
	_ "embed"

	"github.com/firebreak-dev/firebreak/internal/replica"
)

//go:embed dictionary1.bin
var dictionary1 []byte

// dictionaries returns the bytes that frames of the lanes are packed with:
// deliveries of their tables, which have the same ids in every lane. A change
// of them is a new number, last in the list; the earlier ones stay for as long
// as a version that writes with them may be in the cluster.
func dictionaries() []replica.Dictionary {
	return []replica.Dictionary{{Number: 1, Bytes: dictionary1}}
}
