//go:build unix && !linux

package localpg

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// attributes makes a child run as a, in a process group of its own. These systems cannot end a child with
// its parent: when we are killed, the server lives on until the next Start, which ends it.
func attributes(a account, _ syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a.kind != asIs {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// writeBack has the kernel write everything it still holds in memory.
func writeBack() { _ = syscall.Sync() }

const haveNamespaces = false

// maxSocketPath is sizeof(sun_path) without the closing zero byte.
const maxSocketPath = 103

// worksIn says whether pid is a postmaster which was started, with our arguments, in the data directory.
func worksIn(pid int, data string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), " -D "+data+" ")
}

// orphans would be the backends of a killed postmaster. Nothing here shows in which directory a process
// works; backends end by themselves when their postmaster has gone, and the launch waits for that.
func orphans(string) []int { return nil }
