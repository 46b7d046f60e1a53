package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	testPrefix   = "pgtest-server-" // followed by the pid of the test process
	failedPrefix = "pgtest-failed-" // followed by the pid of its parent, go test
)

// NewDir creates a directory for the servers of this test process, in memory if the system supports
// it. It first removes such directories of killed processes. The caller must remove its own.
func NewDir() (string, error) {
	sweep(base)
	// The pid tells a later sweep whether the directory is still in use.
	return os.MkdirTemp(base, fmt.Sprintf("%s%d-*", testPrefix, os.Getpid()))
}

// sweep removes the directories of killed test processes. Their servers ended with them, except those
// that a test had stopped (SIGSTOP).
func sweep(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, testPrefix+"*-*"))
	for _, dir := range dirs {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), testPrefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && gone(pid) {
			for _, server := range workingBelow(dir) {
				_ = syscall.Kill(server, syscall.SIGKILL)
			}
			os.RemoveAll(dir)
		}
	}
}

// workingBelow returns the processes whose working directory is below dir, which includes
// PostgreSQL's processes. It finds none on a system without /proc.
func workingBelow(dir string) (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir+"/") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// failedName returns the name under which the databases of failed tests are kept. It contains the pid
// of `go test`, which is the parent of all packages of one run.
func failedName(run int, name string) string {
	return fmt.Sprintf("%s%d-%s", failedPrefix, run, strings.TrimPrefix(name, testPrefix))
}

// sweepFailed removes the directories that earlier failed runs have kept, because each takes 77 to
// 108 MB, mostly of memory. A directory in which a server runs is kept.
func sweepFailed(base string, run int) {
	dirs, _ := filepath.Glob(filepath.Join(base, failedPrefix+"*"))
	for _, dir := range dirs {
		if !strings.HasPrefix(filepath.Base(dir), failedName(run, "")) && !inUse(dir) {
			os.RemoveAll(dir)
		}
	}
}

// inUse reports whether a PostgreSQL runs in a kept directory.
func inUse(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "postgres", "data", "postmaster.pid"))
	if err != nil {
		return false
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	return err == nil && !gone(pid)
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
