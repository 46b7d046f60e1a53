package pgtest

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	// asChild is set in a test binary that runs as another package's tests. Its value selects the branch
	// of TestChild.
	asChild = "PGTEST_CHILD"

	// childBase is set to the directory for the child's server.
	childBase = "PGTEST_CHILD_BASE"
)

func TestMain(m *testing.M) {
	if os.Getenv(asChild) == "WithoutMain" {
		os.Exit(m.Run())
	}
	if dir := os.Getenv(childBase); dir != "" {
		base = dir
	}
	Main(m)
}

// notes is a schema for tests.
var notes = fstest.MapFS{"00001_create_notes.sql": {Data: []byte(
	"-- +goose Up\nCREATE TABLE notes (text text NOT NULL);\nINSERT INTO notes VALUES ('first');\n-- +goose Down\nDROP TABLE notes;\n")}}

// foreign is a schema that no test of this process uses.
var foreign = fstest.MapFS{"00001_create_foreign.sql": {Data: []byte("-- +goose Up\nCREATE TABLE elsewhere (n int);\n")}}

// child prepares a run of TestChild in another process.
func child(t *testing.T, what string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestChild$", "-test.v")
	// It must not share the directory of other runs, because a failed run removes the databases that
	// others have kept.
	cmd.Env = append(os.Environ(), asChild+"="+what, childBase+"="+t.TempDir(), "TEST_DATABASE_URL=", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// TestChild contains the code that other tests run in child processes.
func TestChild(t *testing.T) {
	switch os.Getenv(asChild) {
	case "WithoutMain":
		EmptyURL(t)
	case "Foreign":
		URL(t, foreign)
	case "Fails":
		EmptyURL(t)
		t.Error("it fails on purpose")
	case "Waits":
		t.Log("database:", URL(t, notes))
		// Wait until the parent closes it.
		_, _ = os.Stdin.Read(make([]byte, 1))
	}
}

// Main stops the server, so a package that does not call it must get an error.
func TestCreate_WithoutMain(t *testing.T) {
	t.Parallel()
	output, err := child(t, "WithoutMain").CombinedOutput()
	if err == nil || !strings.Contains(string(output), "func TestMain(m *testing.M) { pgtest.Main(m) }") {
		t.Errorf("%v, want a failure that names the missing function:\n%s", err, output)
	}
}

// keptIn matches the directory that a failed run names.
var keptIn = regexp.MustCompile(`the databases of the failed tests are kept in (\S+)`)
