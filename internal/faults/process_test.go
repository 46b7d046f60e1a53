//go:build linux

package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lab is shared by the tests of this process. It has the directory of
// PostgreSQL's programs, the account that they run as, and a directory for all
// files.
type lab struct {
	dir, bin   string
	credential *syscall.Credential // nil for the account of the tests
	password   string
}

func (l *lab) command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = l.dir
	// No variables of this process, because PG… variables would change the
	// programs' behaviour.
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + os.Getenv("PATH")}
	// SIGQUIT makes a postmaster end itself and its children at once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT, Credential: l.credential}
	return cmd
}

// program returns the path of one of PostgreSQL's programs.
func (l *lab) program(name string) string { return filepath.Join(l.bin, name) }

// run runs a short program to its end.
func (l *lab) run(path string, args ...string) error {
	cmd := l.command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := spawn(cmd)
	if err != nil {
		return err
	}
	<-p.done
	if p.err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(path), p.err, strings.TrimSpace(out.String()))
	}
	return nil
}

// process is a child process that is waited for.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended and err is set
	err  error
}

// spawn starts cmd from a thread that stays until cmd has ended, because the
// kernel sends the parent-death signal when the forking thread ends.
func spawn(cmd *exec.Cmd) (*process, error) { return spawnOn(nil, cmd) }

// spawnOn starts cmd on a host of a network, or like spawn if the host is nil.
func spawnOn(h *host, cmd *exec.Cmd) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if h == nil || h.space == nil {
			defer runtime.UnlockOSThread()
		} else if err := h.space.enter(); err != nil { // the thread stays locked, so it ends with the goroutine
			started <- err
			return
		}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, <-started
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the process and waits for its end.
func (p *process) kill() {
	if p.running() {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
		<-p.done
	}
}

// family returns the pids of the process and its children, such as a postmaster
// and its backends.
func (p *process) family() []int {
	pids := []int{p.pid}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// The format is "pid (name) state ppid …", and the name may contain any
		// character.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(p.pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func alive(pid int) bool {
	s := state(pid)
	return s != "" && s != "Z" // a zombie is no longer running
}

// stopped returns whether SIGSTOP has taken effect.
func stopped(pid int) bool { return state(pid) == "T" }

// state returns the letter for a process in its file in /proc, or "" if it has ended.
func state(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))[0]
}

// eventually calls cond every few milliseconds until it is true. It fails the
// test if cond is not true within limit.
func eventually(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	if !poll(limit, cond) {
		t.Fatalf("not within %v: %s", limit, what)
	}
}

func poll(limit time.Duration, cond func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return cond()
		}
	}
	return true
}
