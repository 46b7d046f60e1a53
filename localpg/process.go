package localpg

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is a child that is forked and waited for on one dedicated thread.
type process struct {
	cmd  *exec.Cmd
	pid  int
	done chan struct{} // closed when the process has ended and err is set
	err  error
}

// spawn starts cmd. The kernel sends the parent-death signal when the forking *thread* ends, so
// spawn keeps that thread until the child has ended. Otherwise the Go runtime could end it early.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// command prepares a program of PostgreSQL to run as a. It gets its own process group, so that
// Ctrl-C reaches only this process, which then shuts it down in order. It gets the signal death if
// this process ends first.
func command(a account, death syscall.Signal, dir, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = environment()
	cmd.SysProcAttr = attributes(a, death)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// environment returns the variables that PostgreSQL needs, and no others. This process's environment
// may contain secrets, which any database superuser could read, and PG… variables, which would
// change the programs' behaviour.
func environment() []string {
	// With TZ set, initdb need not compare the machine's time zone with all known ones.
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// run runs a short command and returns its output. If ctx ends, it kills the command with all its
// descendants and waits until they have ended.
func run(ctx context.Context, cmd *exec.Cmd) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := spawn(cmd)
	if err != nil {
		return "", err
	}
	select {
	case <-p.done:
		return out.String(), p.err
	case <-ctx.Done():
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	<-p.done
	poll(context.Background(), 5*time.Second, func() bool {
		return errors.Is(syscall.Kill(-p.pid, 0), syscall.ESRCH)
	})
	return "", ctx.Err()
}

// failure returns a one-line description of a command that failed.
func failure(cmd *exec.Cmd, out string, err error) error {
	what := filepath.Base(cmd.Path)
	if lines := lastLines(out, 4); lines != "" {
		return &commandError{what: what, err: err, output: lines}
	}
	return &commandError{what: what, err: err}
}

type commandError struct {
	what, output string
	err          error
}

func (e *commandError) Error() string {
	if e.output == "" {
		return e.what + ": " + e.err.Error()
	}
	return e.what + ": " + e.err.Error() + ": " + e.output
}

func (e *commandError) Unwrap() error { return e.err }

func (p *process) state() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// immediateWait is how long a server may take for an immediate shutdown, without a checkpoint, after
// the caller's context has ended.
const immediateWait = 2 * time.Second

// end shuts a postmaster down: fast until ctx ends, then immediate, and finally by SIGKILL together
// with the processes that remain in its data directory. It returns when the process has ended, and
// whether SIGKILL was not needed.
func (p *process) end(ctx context.Context, data string) (clean bool) {
	select {
	case <-p.done:
		return true
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
	}
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(immediateWait):
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.done
		endOrphans(context.Background(), data)
	}
	return false
}

// poll calls cond every few milliseconds until it is true, limit has passed or ctx ends, and returns
// its result. Use it for files and processes that cannot be waited for.
func poll(ctx context.Context, limit time.Duration, cond func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return cond()
		case <-ctx.Done():
			return cond()
		}
	}
	return true
}

// lastLines joins the last n non-empty lines of s with "; ".
func lastLines(s string, n int) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
