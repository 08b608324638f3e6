package plain_test

import (
	"database/sql/driver"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

func TestTransactionIsAllOrNothing(t *testing.T) {
	db, err := plain.Open(filepath.Join(t.TempDir(), "db"), plain.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Script("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)"); err != nil {
		t.Fatal(err)
	}
	put := func(k int64) error {
		n, err := db.Exec("INSERT INTO t (k, v) VALUES (?, ?)", k, "x")
		if err == nil && n != 1 {
			t.Errorf("%d rows changed", n)
		}
		return err
	}
	stop := errors.New("stop")
	if err := db.Transaction(func() error { return errors.Join(put(1), stop) }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	if err := db.Transaction(func() error { return put(2) }); err != nil {
		t.Fatal(err)
	}
	var got []int64
	err = db.Rows("SELECT k FROM t WHERE v = ?", []driver.Value{"x"}, func(r []driver.Value) error {
		got = append(got, r[0].(int64))
		return nil
	})
	if err != nil || len(got) != 1 || got[0] != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAnExtensionThatDoesNotLoadIsNamed(t *testing.T) {
	dir := t.TempDir()
	_, err := plain.Open(filepath.Join(dir, "db"), plain.Config{Extension: filepath.Join(dir, "none.so")})
	if err == nil || !strings.Contains(err.Error(), "none.so") || !strings.Contains(err.Error(), "does not load") {
		t.Errorf("%v", err)
	}
}
