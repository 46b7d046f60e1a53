package pgtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Of the databases of failed tests, only those of the last run and those with a
// running server are kept.
func TestSweepFailed(t *testing.T) {
	t.Parallel()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	for name, pid := range map[string]int{
		failedName(11, "pgtest-server-20-a"): 0, failedName(11, "pgtest-server-21-b"): 0, // this run
		failedName(1, "pgtest-server-20-c"): 0, failedName(12, "pgtest-server-11-d"): 0, "pgtest-failed-4711-e": 0, // other runs
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

// A sweep removes the directories of ended test processes, even with a server that
// one of them had stopped. It keeps those of running processes.
func TestSweep(t *testing.T) {
	t.Parallel()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	of := func(pid int) string { return filepath.Join(base, fmt.Sprintf("pgtest-server-%d-a", pid)) }
	servers := map[int]*exec.Cmd{}
	for _, pid := range []int{os.Getpid(), ended.Process.Pid} {
		data := filepath.Join(of(pid), "postgres", "data")
		if err := os.MkdirAll(data, 0o700); err != nil {
			t.Fatal(err)
		}
		server := exec.Command("sleep", "60")
		server.Dir = data
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		servers[pid] = server
		if err := server.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	sweep(base)
	if err := servers[os.Getpid()].Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = servers[os.Getpid()].Wait() // killed
	if _, err := os.Stat(of(os.Getpid())); err != nil {
		t.Errorf("the directory of a process that runs: %v", err)
	}
	if _, err := os.Stat(of(ended.Process.Pid)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of a process that has ended: %v", err)
	}
	if runtime.GOOS != "linux" {
		_ = servers[ended.Process.Pid].Process.Kill()
	}
	// This ends when the sweep has killed the server.
	waited := make(chan error, 1)
	go func() { waited <- servers[ended.Process.Pid].Wait() }()
	select {
	case <-waited:
	case <-time.After(10 * time.Second):
		_ = servers[ended.Process.Pid].Process.Kill()
		t.Error("a server of a process that has ended still runs")
	}
}
