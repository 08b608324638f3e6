package exit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
)

func TestCodeFollowsTheErrorThroughWrapping(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{exit.With(exit.Usage, errors.New("x")), 2},
		{fmt.Errorf("a: %w", exit.With(exit.NotFound, nil)), 3},
		{fmt.Errorf("a: %w", status.Error(codes.Unavailable, "x")), 5},
		{fmt.Errorf("a: %w", context.DeadlineExceeded), 5},
		{status.Error(codes.DeadlineExceeded, "x"), 5},
		{status.Error(codes.PermissionDenied, "x"), 6},
		{status.Error(codes.Unauthenticated, "x"), 6},
		{status.Error(codes.InvalidArgument, "x"), 1},
		{exit.With(exit.Partial, status.Error(codes.Unavailable, "x")), 4},
	} {
		if got := exit.Code(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}
