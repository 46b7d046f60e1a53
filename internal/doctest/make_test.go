package doctest

import (
	"os"
	"os/exec"
	"path/filepath"
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
		{"client lang=java", "make client: unknown lang java: use ts or go, or none for both\n"},
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

// TestMake_Client checks that make client without npm names it, and writes nothing.
func TestMake_Client(t *testing.T) {
	t.Parallel()
	command, err := exec.LookPath("make")
	if err != nil {
		t.Fatal(err)
	}
	for _, lang := range []string{"", "ts"} {
		out := filepath.Join(t.TempDir(), "clients")
		cmd := exec.CommandContext(t.Context(), command, "--no-print-directory", "client", "lang="+lang, "out="+out)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "PATH="+t.TempDir())
		text, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(text), "make client: npm is not installed, which the TypeScript client needs: run apt-get install npm (Debian)") {
			t.Errorf("make client lang=%s: %v, %q, want an error that names npm", lang, err, text)
		}
		if _, err := os.Stat(out); !os.IsNotExist(err) {
			t.Errorf("make client lang=%s has written %s (%v)", lang, out, err)
		}
	}
}
