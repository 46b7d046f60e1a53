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

// process is a child, forked and waited for on one thread of its own.
type process struct {
	cmd  *exec.Cmd
	pid  int
	done chan struct{} // closed when the process has ended and err is set
	err  error
}

// spawn starts cmd. The kernel sends the parent-death signal when the forking *thread* ends, so that
// thread is held until the child has ended; the runtime would otherwise be free to end it early.
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

// command prepares a program of PostgreSQL to run as a. It gets a process group of its own, so that
// Ctrl-C reaches only us, who then end it in order; and death when this process dies first.
func command(a account, death syscall.Signal, dir, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = environment()
	cmd.SysProcAttr = attributes(a, death)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// environment is what PostgreSQL needs from ours and no more: ours may hold secrets, which any
// database superuser could read, and PG… variables, which would change what the programs do.
func environment() []string {
	// The time zone is named so that initdb need not compare this machine's with all there are.
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// run runs a short command to its end and returns what it wrote. When ctx ends it kills the command
// with all its descendants and returns when they have gone.
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

// failure is the one-line account of a command that failed.
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

// immediateWait is what a server gets to quit without a checkpoint, once its caller's patience ended.
const immediateWait = 2 * time.Second

// end shuts a postmaster down: fast until ctx ends, then immediate, then by force together with what
// it left running in its data directory. It returns when the process has ended, and whether it
// ended before force was needed.
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

// poll asks cond every few milliseconds until it holds, limit has passed or ctx ends, and returns
// whether it holds. It is for what no one can be waited for: files and processes of others.
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

// lastLines joins the last n non-empty lines of s to one.
func lastLines(s string, n int) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
