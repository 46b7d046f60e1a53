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

// attributes makes a child run as a, in its own process group. These systems cannot end a child with its
// parent. If this process is killed, the server runs until the next Start ends it.
func attributes(a account, _ syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a.kind != asIs {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// writeBack makes the kernel write its buffers to disk.
func writeBack() { _ = syscall.Sync() }

const haveNamespaces = false

// maxSocketPath is sizeof(sun_path) without the final zero byte.
const maxSocketPath = 103

// worksIn reports whether pid is a postmaster that this package started in the data directory.
func worksIn(pid int, data string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), " -D "+data+" ")
}

// orphans should return the backends of a killed postmaster. These systems do not show the directory in
// which a process runs. Backends end by themselves after their postmaster has ended, and launch waits for
// that.
func orphans(string) []int { return nil }
