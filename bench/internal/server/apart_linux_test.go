package server

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestApart keeps a child process and this one on different processors, and then on all again.
func TestApart(t *testing.T) {
	before := processors(t, 0)
	server, other := child(t), child(t)
	together, err := apart(server)
	if err != nil {
		t.Fatal(err)
	}
	if before.Count() > 1 {
		ours, theirs := processors(t, os.Getpid()), processors(t, server)
		if ours.Count() != 1 || theirs.Count() != 1 || ours == theirs || ours != processors(t, other) {
			t.Errorf("this process may use %v, its other child %v, and the server %v", ours, processors(t, other), theirs)
		}
	}
	if err := together(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{os.Getpid(), server, other} {
		if got := processors(t, pid); got != before {
			t.Errorf("after together, process %d may use %v, want %v", pid, got, before)
		}
	}
}

func processors(t *testing.T, pid int) (set unix.CPUSet) {
	t.Helper()
	if err := unix.SchedGetaffinity(pid, &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// child starts a process that does nothing until the end of the test.
func child(t *testing.T) (pid int) {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
