package ctl

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// serve runs a server on a directory whose path is too long for a socket.
func serve(t *testing.T, do func(context.Context, []string, func(string)) error) (dir string, stop func()) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(dir, do)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return dir, stop
}

func TestACommandIsCarriedOutAndWhatItSaysIsTold(t *testing.T) {
	var got []string
	dir, stop := serve(t, func(_ context.Context, words []string, say func(string)) error {
		got = words
		say("first")
		say("second")
		if words[0] == "bad" {
			return errors.New("it is bad")
		}
		return nil
	})
	var said []string
	say := func(line string) { said = append(said, line) }
	if err := Call(t.Context(), dir, []string{"kill", "region", "iad"}, say); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{"kill", "region", "iad"}) || !slices.Equal(said, []string{"first", "second"}) {
		t.Errorf("got %q, said %q", got, said)
	}
	if err := Call(t.Context(), dir, []string{"bad"}, say); err == nil || err.Error() != "it is bad" {
		t.Errorf("a bad one: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, Name)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	stop()
	if _, err := os.Stat(filepath.Join(dir, Name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := Call(t.Context(), dir, []string{"heal"}, say); !errors.Is(err, ErrNone) {
		t.Errorf("after the end: %v", err)
	}
}

func TestTheEndOfEitherSideEndsACommand(t *testing.T) {
	begun := make(chan struct{}, 2)
	dir, stop := serve(t, func(ctx context.Context, _ []string, _ func(string)) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	call := func(ctx context.Context) { result <- Call(ctx, dir, []string{"upgrade"}, func(string) {}) }
	go call(ctx)
	<-begun
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller went away: %v", err)
	}
	go call(t.Context())
	<-begun
	stop()
	if err := <-result; err == nil {
		t.Error("dev ended, and the command was done")
	}
}

func TestAnythingElseOnTheSocketIsAnswered(t *testing.T) {
	dir, _ := serve(t, func(context.Context, []string, func(string)) error { return nil })
	d, path, err := short(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, text := range []string{"", "not json\n", strings.Repeat("x", 2*maxRequest)} {
		ask(t, path, text)
	}
	if err := Call(t.Context(), dir, []string{"heal"}, func(string) {}); err != nil {
		t.Error(err)
	}
}
