package dev

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
)

// command runs `firebreak dev` in this process.
func command(t *testing.T, args ...string) (stdout string, code int, errText string) {
	t.Helper()
	cmd := Command("test")
	var out, progress bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&progress)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	if err != nil {
		errText = err.Error()
	}
	if t.Failed() || testing.Verbose() {
		t.Log(progress.String())
	}
	return out.String(), exit.Code(err), errText
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
