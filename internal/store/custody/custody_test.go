package custody_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/store/custody"
)

func TestFirstEngineKeepsTheProcess(t *testing.T) {
	var c custody.Custody
	for range 2 {
		if err := c.Take(custody.Cgo); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Take(custody.Modernc); err == nil || !strings.Contains(err.Error(), "mattn") || !strings.Contains(err.Error(), "modernc") {
		t.Errorf("the second engine: %v", err)
	}
}

func TestOnlyOneOfManyTakes(t *testing.T) {
	var c custody.Custody
	var group sync.WaitGroup
	var took [3]bool
	for _, e := range []custody.Engine{custody.Cgo, custody.Modernc} {
		group.Go(func() { took[e] = c.Take(e) == nil })
	}
	group.Wait()
	if took[custody.Cgo] == took[custody.Modernc] {
		t.Errorf("taken: %v", took)
	}
}
