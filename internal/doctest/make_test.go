package doctest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMake_Compiles checks that make says that it compiles, the first time and not again.
func TestMake_Compiles(t *testing.T) {
	t.Parallel()
	targets := []string{"build"}
	if os.Getenv("SQLC") != "" { // sqlc takes a minute if nothing is cached
		targets = append(targets, "generate")
	}
	dir := clone(t)
	for _, target := range targets {
		for i, want := range []bool{true, false} {
			cmd := exec.CommandContext(t.Context(), "make", target)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if said := strings.Contains(string(out), "make: compiling "); err != nil || said != want {
				t.Errorf("make %s, run %d: %v, it said that it compiles: %t, want %t:\n%s", target, i+1, err, said, want, out)
			}
		}
	}
}

// TestMake_Missing checks that a target without its variables names them.
func TestMake_Missing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"migration", "make migration: give it a name: make migration name=add_posts_index\n"},
		{"scaffold", "make scaffold: name the table: make scaffold table=comments\n"},
		{"new", "make new: missing dir= module= noun=: make new dir=../shop module=example.com/shop noun=order\n"},
		{"new dir=../shop noun=order", "make new: missing module=: make new dir=../shop module=example.com/shop noun=order\n"},
	} {
		// Within another make, which runs the tests, make also prints the directory.
		args := append([]string{"--no-print-directory"}, strings.Fields(test.args)...)
		cmd := exec.CommandContext(t.Context(), "make", args...)
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.HasPrefix(string(out), test.want) {
			t.Errorf("make %s: %v, %q, want exit code 2 and %q", test.args, err, out, test.want)
		}
	}
}
