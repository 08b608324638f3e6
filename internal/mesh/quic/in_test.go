package quic

import (
	"errors"
	"testing"

	quicgo "github.com/quic-go/quic-go"
)

// One of two connections that cross at the start of a pair is closed.
func TestTheEndOfAConnectionIsNoBreachOfTheProtocol(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&quicgo.ApplicationError{ErrorCode: closeExtra, ErrorMessage: "another connection of this pair replaced it"}, false},
		{&quicgo.ApplicationError{Remote: true, ErrorCode: closeMalformed}, false},
		{&quicgo.IdleTimeoutError{}, false},
		{errors.New("frame of 5 GB"), true},
	} {
		if got := broken(closedError(t.Context(), c.err)); got != c.want {
			t.Errorf("%v: breach %v, want %v", c.err, got, c.want)
		}
	}
}
