package poison

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

func TestOnlyRowsOfTheAppFailAndOnlyWhileTheFileIsThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bug")
	failed := 0
	trip := Trip(file, func() { failed++ })
	bad := store.Row{record.Of("w1"), record.Of("m1"), record.Of(string(App))}
	try := func(want int, table string, row store.Row) {
		t.Helper()
		failed = 0
		if trip(table, row); failed != want {
			t.Errorf("%s %v: failed %d times, want %d", table, row, failed, want)
		}
	}
	try(0, "fleet_machines", bad)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	try(1, "fleet_machines", bad)
	try(0, "fleet_machines", store.Row{record.Of("w1"), record.Of("m1"), record.Of("web"), record.Of(7)})
	try(0, "notes", bad)
}
