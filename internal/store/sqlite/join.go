package sqlite

import (
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// joinChanges makes one change of all that a row has gone through, and none if
// it is as it was in the end.
func joinChanges(changes []store.Change) []store.Change {
	type row struct {
		table string
		key   record.Key
	}
	at := map[row]int{}
	var out []store.Change
	for _, c := range changes {
		k := row{c.Table, c.Key}
		if i, ok := at[k]; ok {
			c.Old, c.OldKnown = out[i].Old, out[i].OldKnown
			out[i] = c
			continue
		}
		at[k] = len(out)
		out = append(out, c)
	}
	return slices.DeleteFunc(out, func(c store.Change) bool {
		return c.OldKnown && slices.EqualFunc(c.Old, c.New, record.Value.Equal)
	})
}
