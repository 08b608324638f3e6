package api_test

import (
	"context"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/api"
)

// overdrawn is a database whose node has written more than its budget.
type overdrawn struct{}

func (overdrawn) Exec(context.Context, sqlite.Request) ([]sqlite.Affected, store.Commit, error) {
	return nil, store.Commit{Records: 1, Delayed: 1500 * time.Millisecond}, nil
}

func TestWriterIsToldHowLongItsBudgetDelayedIt(t *testing.T) {
	s := &api.Server{Write: overdrawn{}}
	res, err := s.Exec(t.Context(), &regionv1.ExecRequest{})
	if err != nil || res.GetWritten().GetDelayedMs() != 1500 {
		t.Errorf("%v, %v: want a delay of 1500 ms", res, err)
	}
}
