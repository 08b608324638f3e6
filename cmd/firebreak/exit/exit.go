// Package exit is the exit codes of the binary, a documented contract:
// docs/reference/cli.md.
package exit

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The codes.
const (
	Complete   = 0 // done; an answer is complete
	Failed     = 1
	Usage      = 2 // arguments or configuration
	NotFound   = 3 // and the answer is complete
	Partial    = 4 // some region is not covered
	Unanswered = 5 // no router or node answered, or the router knows no region
	Denied     = 6 // the certificate may not do this

	Disk = 74 // an fsync failed, or the database is damaged: start again
)

// Error is an error with the code that the process ends with.
type Error struct {
	Code int
	Err  error // nil: all has been said
}

func (e *Error) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// With gives err a code. A nil err ends the process without another word.
func With(code int, err error) error { return &Error{code, err} }

// Code returns what the process ends with after err: its own code, else what
// its gRPC status means, else Failed.
func Code(err error) int {
	if err == nil {
		return Complete
	}
	if own, ok := errors.AsType[*Error](err); ok {
		return own.Code
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Unanswered
	}
	s, ok := status.FromError(err)
	if !ok {
		return Failed
	}
	switch s.Code() {
	case codes.PermissionDenied, codes.Unauthenticated:
		return Denied
	case codes.Unavailable, codes.DeadlineExceeded:
		return Unanswered
	}
	return Failed
}
