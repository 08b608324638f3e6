package daemon

import "encoding/json"

// written is the metadata of a machine: the number of the write it came with.
type written struct {
	Write uint64 `json:"write"`
}

// Metadata returns the JSON that carries a write's number.
func Metadata(number uint64) string {
	b, err := json.Marshal(written{number})
	if err != nil {
		return "" // a struct of one number always marshals
	}
	return string(b)
}

// Number returns the write's number, zero if the machine is not a daemon's.
func Number(metadata string) uint64 {
	var w written
	if json.Unmarshal([]byte(metadata), &w) != nil {
		return 0
	}
	return w.Write
}
