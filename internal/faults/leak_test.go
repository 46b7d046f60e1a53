//go:build linux

package faults

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// leakLimit is how long the resources of a test may take to be released. pgx
// waits up to 15 s for a silent server when it closes a cancelled connection.
const leakLimit = 20 * time.Second

// checkLeaks fails the test if, after all its other clean-up, there are
// goroutines of this module or of pgx, open files or sockets that do not exist
// now. It must be the first call of a test, and the test must not run in
// parallel.
func checkLeaks(t *testing.T) {
	t.Helper()
	useLab(t) // not a leak, because all tests share it
	before, open := goroutines(), descriptors()
	t.Cleanup(func() {
		var routines, files []string
		if poll(leakLimit, func() bool {
			routines, files = added(before, goroutines()), added(open, descriptors())
			return len(routines) == 0 && len(files) == 0
		}) || t.Failed() {
			return
		}
		if len(routines) > 0 {
			t.Errorf("%d goroutines are left:\n%s", len(routines), strings.Join(routines, "\n\n"))
		}
		if len(files) > 0 {
			t.Errorf("%d descriptors are left: %s", len(files), strings.Join(files, ", "))
		}
	})
}

func added(before, now map[string]string) (list []string) {
	for id, what := range now {
		if _, ok := before[id]; !ok {
			list = append(list, what)
		}
	}
	return list
}

var (
	suspect   = regexp.MustCompile(`jackc/|quern/|database/sql|net\.\(\*`)
	goroutine = regexp.MustCompile(`^goroutine (\d+) `)
)

// goroutines returns the stacks, by goroutine number, of goroutines that run
// code of this module or of pgx. It leaves out the caller.
func goroutines() map[string]string {
	stacks := make([]byte, 1<<20)
	for {
		n := runtime.Stack(stacks, true)
		if n < len(stacks) {
			stacks = stacks[:n]
			break
		}
		stacks = make([]byte, 2*len(stacks))
	}
	found := map[string]string{}
	for i, stack := range strings.Split(string(stacks), "\n\n") {
		if m := goroutine.FindStringSubmatch(stack); i > 0 && m != nil && suspect.MatchString(stack) {
			found[m[1]] = stack
		}
	}
	return found
}

// descriptors returns the open files, pipes and sockets, by number and target.
func descriptors() map[string]string {
	found := map[string]string{}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		// The runtime opens some descriptors once when it needs them, and reading the
		// directory uses one.
		if err != nil || strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/proc/") {
			continue
		}
		found[filepath.Base(link)+" "+target] = target
	}
	return found
}
