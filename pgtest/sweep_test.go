package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Of the databases of failed tests, those of the last run are kept, and those in
// which a server runs.
func TestSweepFailed(t *testing.T) {
	t.Parallel()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	for name, pid := range map[string]int{
		failedName(11, "pgtest-server-20-a"): 0, failedName(11, "pgtest-server-21-b"): 0, // this run
		failedName(1, "pgtest-server-20-c"): 0, failedName(12, "pgtest-server-11-d"): 0, "pgtest-failed-4711-e": 0, // others
		failedName(12, "pgtest-server-30-f"): os.Getpid(), failedName(12, "pgtest-server-31-g"): ended.Process.Pid,
		"pgtest-server-11-h": 0, "else": 0,
	} {
		data := filepath.Join(base, name, "postgres", "data")
		if err := os.MkdirAll(data, 0o700); err != nil {
			t.Fatal(err)
		}
		if pid == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(data, "postmaster.pid"), fmt.Appendf(nil, "%d\n/data\n", pid), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sweepFailed(base, 11)
	left, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range left {
		got = append(got, d.Name())
	}
	if diff := cmp.Diff([]string{"else", "pgtest-failed-11-20-a", "pgtest-failed-11-21-b", "pgtest-failed-12-30-f", "pgtest-server-11-h"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
