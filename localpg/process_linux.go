package localpg

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// attributes makes a child run as a, in its own process group. The kernel sends it death when the thread
// that forked it ends. Go requests that after the change of user, which would have cleared it.
func attributes(a account, death syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death}
	if a.kind != asIs {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	if a.kind == inNamespace {
		// The namespace contains one user. Outside it, that user is root and so has access to root's
		// files. Inside it is an ordinary account. The change of user drops all capabilities, also
		// those in the namespace.
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: a.uid, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: a.gid, HostID: os.Getegid(), Size: 1}}
		attr.GidMappingsEnableSetgroups = true
	}
	return attr
}

// writeBack makes the kernel write its buffers to disk.
func writeBack() { syscall.Sync() }

const haveNamespaces = true

// maxSocketPath is sizeof(sun_path) without the final zero byte.
const maxSocketPath = 107

// worksIn reports whether pid is a PostgreSQL process that runs in the data directory. It is the working
// directory of all PostgreSQL processes, however they were started.
func worksIn(pid int, data string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	exe, err := os.Readlink(filepath.Join(proc, "exe"))
	if errors.Is(err, fs.ErrPermission) {
		// Root in a container may not inspect other accounts' processes. A postmaster still shows its
		// arguments.
		args, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		return err == nil && strings.Contains("\x00"+string(args), "\x00-D\x00"+data+"\x00")
	}
	if err != nil || filepath.Base(strings.TrimSuffix(exe, " (deleted)")) != "postgres" {
		return false
	}
	cwd, err1 := os.Stat(filepath.Join(proc, "cwd"))
	dir, err2 := os.Stat(data)
	return err1 == nil && err2 == nil && os.SameFile(cwd, dir)
}

// orphans returns the PostgreSQL processes that run in the data directory.
func orphans(data string) (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && worksIn(pid, data) {
			pids = append(pids, pid)
		}
	}
	return pids
}
