package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quern/tools/internal/worktree"
)

// A copy with another path must build. The plugin must write the new path into the code
// that it generates, and a project that requires the module must work. Paths that end
// in /v2 have matching versions.
func TestRename(t *testing.T) {
	const to = "example.com/acme/data/v2"
	root := t.TempDir()
	if err := worktree.Copy(t.Context(), "../..", root); err != nil {
		t.Fatal(err)
	}
	run := func(dir, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = filepath.Join(root, dir)
		cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
		}
		return string(output)
	}
	run(".", "git", "init", "-q")
	run(".", "git", "add", "-A")
	if err := rename(root, to); err != nil {
		t.Fatal(err)
	}
	run(".", "go", "vet", "./...")
	run(".", "go", "test", ".", "./cmd/sqlc-gen-quern", "./internal/db", "./postgres/migrate")
	run("examples/bookshop", "go", "test", "./...")
	run(".", "go", "test", "./internal/doctest", "-run=TestAdopt")
	run("cmd/quern", "go", "vet", "./...")
	run("cmd/quern", "go", "test", "-run", "TestTables|TestNew_Refused", ".")
	if out := run("bench", "go", "list", "-m"); out != to+"/bench\n" {
		t.Errorf("the bench is module %s", out)
	}
	if text, err := os.ReadFile(filepath.Join(root, "internal/db/registry.go")); err != nil || !strings.Contains(string(text), `"`+to+`/postgres"`) {
		t.Errorf("internal/db imports another runtime (%v)", err)
	}
}

func TestRename_Refused(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"", "data", "data/x", "https://example.com/data", "example.com", "example.com/a b", "example.com/"} {
		if err := rename("../..", wrong); err == nil || !strings.Contains(err.Error(), "is not a module path") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
