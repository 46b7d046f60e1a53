//go:build linux

package localcluster

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// Guard ends all processes that run below a directory when it is closed, or when this process
// ends in any way. Agents start PostgreSQL in another session, so neither a signal to a group
// nor a parent-death signal reaches it.
type Guard struct {
	cmd  *exec.Cmd
	hold io.Closer
}

// script waits for the end of its input. SIGQUIT lets PostgreSQL remove its shared memory.
const script = `cat >/dev/null
signal=QUIT
while
	left=
	for process in /proc/[0-9]*; do
		case "$(readlink "$process/cwd")" in "$0"/*) kill -$signal "${process#/proc/}" && left=1 ;; esac
	done
	[ -n "$left" ]
do sleep 0.2; signal=KILL; done 2>/dev/null
[ -z "$1" ] || rm -rf "$0"`

// NewGuard starts a guard of a directory, which it removes at the end if remove is set.
func NewGuard(dir string, remove bool) (*Guard, error) {
	args := []string{"-c", script, dir}
	if remove {
		args = append(args, "remove")
	}
	g := &Guard{cmd: exec.Command("/bin/sh", args...)}
	g.cmd.Dir = "/"
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	hold, err := g.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	g.hold = hold
	return g, g.cmd.Start()
}

// Close ends the processes, and returns when they have ended.
func (g *Guard) Close() error {
	_ = g.hold.Close()
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("end the processes of the cluster: %w", err)
	}
	return nil
}
