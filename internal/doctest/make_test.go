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
