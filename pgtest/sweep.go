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
	testPrefix   = "pgtest-server-" // and the number of the test process
	failedPrefix = "pgtest-failed-" // and the number of the process that started it
)

// sweep removes the directories of test processes that were killed.
func sweep(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, testPrefix+"*-*"))
	for _, dir := range dirs {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), testPrefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && gone(pid) {
			os.RemoveAll(dir)
		}
	}
}

// failedName is the name under which the databases of failed tests are kept. It has the number of `go
// test`, which is the parent of all packages of one run.
func failedName(run int, name string) string {
	return fmt.Sprintf("%s%d-%s", failedPrefix, run, strings.TrimPrefix(name, testPrefix))
}

// sweepFailed removes the directories that earlier failed runs have kept, because each takes 77 to 108
// MB, mostly of memory. One in which a server runs stays.
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
