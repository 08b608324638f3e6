package region

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// follower is a schemaFollower over a directory with one file, and a database
// that refuses it for a reason that the test gives.
type follower struct {
	*schemaFollower
	path string

	mu    sync.Mutex // a bubble orders goroutines by time, which the race detector does not see
	why   error
	loads int
	log   strings.Builder
}

// Write implements io.Writer, for the log.
func (f *follower) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(p)
}

func (f *follower) load(context.Context, []sqlite.SchemaFile) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loads++
	return f.why
}

// refuse has loads fail from now on, or succeed.
func (f *follower) refuse(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.why = why
}

func (f *follower) loaded() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loads
}

func (f *follower) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
}

// follow runs a follower in the current bubble.
func follow(t *testing.T) *follower {
	dir := t.TempDir()
	f := &follower{path: filepath.Join(dir, "a.sql")}
	f.schemaFollower = newSchemaFollower(dir, f.load, slog.New(slog.NewTextHandler(f, nil)))
	f.write(t, "CREATE TABLE a (id TEXT NOT NULL PRIMARY KEY)")
	if err := f.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return f
}

func (f *follower) write(t *testing.T, sql string) {
	t.Helper()
	if err := os.WriteFile(f.path, []byte(sql), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSchemaKeptOutByAFullDiskIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.refuse(errors.New("database or disk is full"))
		f.write(t, "CREATE TABLE b (id TEXT NOT NULL PRIMARY KEY)")
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.loaded() < 5 || f.loaded() > 8 || !strings.Contains(f.refused(), "full") {
			t.Errorf("%d loads in a minute, refused %q: want one each 10 s", f.loaded(), f.refused())
		}
		if n := strings.Count(f.said(), "not loaded"); n != 1 {
			t.Errorf("said %d times, want once:\n%s", n, f.said())
		}
		f.refuse(nil)
		time.Sleep(retrySchema + lookSchema)
		synctest.Wait()
		if f.refused() != "" || !strings.Contains(f.said(), "were loaded") {
			t.Errorf("with room on the disk: refused %q\n%s", f.refused(), f.said())
		}
		loads := f.loaded()
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.loaded() != loads {
			t.Errorf("what is loaded was loaded %d times more", f.loaded()-loads)
		}
	})
}

func TestSchemaAgainstARuleIsTriedWhenItChangesOrSomebodyAsks(t *testing.T) {
	for name, why := range map[string]error{"rule": &schema.Refusal{Rule: schema.RuleNameTaken}, "text": textError{errors.New("line 2")}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := follow(t)
				f.refuse(why)
				f.write(t, "CREATE TABLE b (id TEXT NOT NULL PRIMARY KEY)")
				time.Sleep(time.Minute)
				synctest.Wait()
				if f.loaded() != 2 {
					t.Errorf("%d loads, want that of the start and one more", f.loaded())
				}
				if loaded, err := f.ask(t.Context()); loaded || !errors.Is(err, why) || f.loaded() != 3 {
					t.Errorf("asked: loaded %v, %v, after %d loads", loaded, err, f.loaded())
				}
				f.refuse(nil)
				if loaded, err := f.ask(t.Context()); !loaded || err != nil {
					t.Errorf("asked when nothing is against it any more: %v, %v", loaded, err)
				}
				if loaded, err := f.ask(t.Context()); loaded || err != nil {
					t.Errorf("asked when all is loaded: %v, %v", loaded, err)
				}
			})
		})
	}
}

// Files that cannot be read are no schema without tables.
func TestSchemaFilesThatCannotBeReadChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		if err := os.RemoveAll(f.dir); err != nil {
			t.Fatal(err)
		}
		if loaded, err := f.ask(t.Context()); loaded || err == nil || f.loaded() != 1 || f.refused() == "" {
			t.Errorf("loaded %v, %v, after %d loads, refused %q", loaded, err, f.loaded(), f.refused())
		}
		if err := os.Mkdir(f.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		f.write(t, "CREATE TABLE a (id TEXT NOT NULL PRIMARY KEY)")
		time.Sleep(2 * lookSchema)
		synctest.Wait()
		if f.loaded() != 2 || f.refused() != "" {
			t.Errorf("%d loads, refused %q", f.loaded(), f.refused())
		}
	})
}
