package api

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/region/ledger"
	"github.com/firebreak-dev/firebreak/region/machine"
)

// invalidError refuses what came, whoever asks and whenever.
type invalidError struct{ err error }

func (e *invalidError) Error() string { return e.err.Error() }
func (e *invalidError) Unwrap() error { return e.err }

func invalid(format string, args ...any) error {
	return &invalidError{fmt.Errorf(format, args...)}
}

// behindError says that a read's barrier was not reached.
type behindError struct {
	point record.Point
	err   error
}

func (e *behindError) Error() string {
	return fmt.Sprintf("this node has not received %v yet", e.point)
}
func (e *behindError) Unwrap() error { return e.err }

// code is the one place that says which gRPC code an error has.
func code(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codeOf(err), err.Error())
}

func codeOf(err error) codes.Code {
	var (
		behind    *behindError
		bad       *invalidError
		owner     *machine.NotOwnerError
		foreign   *store.NotOwnerError
		limit     *ledger.LimitError
		destroyed *ledger.DestroyedError
		shrink    *ledger.ShrinkError
		unknown   *ledger.UnknownError
		costly    *sqlite.LimitError
	)
	switch {
	case errors.As(err, &owner), errors.As(err, &foreign):
		return codes.PermissionDenied
	case errors.As(err, &bad), errors.As(err, &limit), errors.Is(err, store.ErrTooLarge):
		return codes.InvalidArgument
	case errors.As(err, &destroyed), errors.As(err, &shrink), errors.Is(err, sqlite.ErrSchemaMoved):
		return codes.FailedPrecondition
	case errors.As(err, &unknown):
		return codes.NotFound
	case errors.As(err, &costly):
		return codes.ResourceExhausted
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.As(err, &behind), errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrFenced), errors.Is(err, store.ErrClock), errors.Is(err, hlc.ErrAhead):
		return codes.Unavailable
	}
	return codes.Internal
}
