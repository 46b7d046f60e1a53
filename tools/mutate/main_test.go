package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// repository returns a repository with one break, whose test blocks after it has
// written its pid to the file "started" beside the repository.
func repository(t *testing.T) (root string) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "root")
	for name, text := range map[string]string{
		"go.mod": "module blocks\n\ngo 1.24\n",
		"a.go":   "package blocks\n\nconst a = 1\n",
		"a_test.go": "package blocks\n\nimport (\n\t\"fmt\"\n\t\"os\"\n\t\"testing\"\n\t\"time\"\n)\n\nfunc TestA(t *testing.T) {\n" +
			"\tos.WriteFile(os.Getenv(\"STARTED\"), fmt.Appendln(nil, os.Getpid()), 0o644)\n\ttime.Sleep(time.Minute)\n}\n",
		"tools/mutate/breaks/a.txt": "# Another number.\ntest . TestA\nfile a.go\n-const a = 1\n+const a = 2\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("git", "init", "-q", root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return root
}

// TestMain_Terminated ends a run during its test, by a signal and by the end of its
// parent. Neither the copy of the repository nor the test may remain.
func TestMain_Terminated(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "mutate")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, command := range map[string][]string{
		"Signal": {bin},
		"Parent": {"sh", "-c", `"$0"; true`, bin}, // forwards no signal, like go run
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, temp := repository(t), t.TempDir()
			started := filepath.Join(filepath.Dir(root), "started")
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Dir = filepath.Join(root, "tools")
			cmd.Env = append(os.Environ(), "TMPDIR="+temp, "GOTMPDIR="+t.TempDir(), "STARTED="+started)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var pid int
			eventually(t, "the test runs", func() bool {
				text, err := os.ReadFile(started)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
				return err == nil && bytes.HasSuffix(text, []byte("\n"))
			})
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // ended by a signal
			eventually(t, "the copy is removed", func() bool {
				left, err := os.ReadDir(temp)
				return err == nil && len(left) == 0
			})
			eventually(t, "the test has ended", func() bool { return syscall.Kill(pid, 0) != nil })
		})
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
