package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// How long processes of an earlier run may take to end after SIGINT and after SIGKILL.
const (
	fastWait   = 10 * time.Second
	orphanWait = 5 * time.Second
)

// settle ends the processes that an earlier run left in the data directory, and removes its files that
// would keep a new server from starting. The caller must hold the directory's lock, so any such process
// has lost its parent.
func (l *launcher) settle(ctx context.Context) error {
	data := l.dir.data()
	pidFile := filepath.Join(data, "postmaster.pid")
	content, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return removeSockets(data)
	}
	if err != nil {
		return err
	}
	pid := pidIn(string(content))
	if pid != 0 && worksIn(pid, data) {
		l.cfg.Log.Warn("shutting down the PostgreSQL of an earlier run", "pid", pid, "dir", l.cfg.Dir)
		_ = syscall.Kill(pid, syscall.SIGINT)
		if !poll(ctx, fastWait, func() bool { return !worksIn(pid, data) }) {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("wait for PostgreSQL process %d of an earlier run to end: %w", pid, err)
			}
			_ = syscall.Kill(pid, syscall.SIGQUIT)
			poll(ctx, immediateWait, func() bool { return !worksIn(pid, data) })
		}
	}
	if err := endOrphans(ctx, data); err != nil {
		return err
	}
	// PostgreSQL removes a stale file by itself, unless its pid is that of a living process or it contains
	// no pid, for example after a write to a full disk. Then PostgreSQL would never start again. At this
	// point no process of the earlier run is left here. If this package cannot see one, PostgreSQL still
	// finds its shared memory by the directory, not by this file.
	reason := ""
	switch {
	case pid == 0:
		reason = "it contains no process id"
	case !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH):
		reason = "its process id belongs to another program now"
	}
	if reason != "" {
		l.cfg.Log.Warn("removing a stale postmaster.pid: "+reason, "pid", pid, "dir", l.cfg.Dir)
		if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return removeSockets(data)
}

// pidIn returns the process id in a postmaster.pid, or 0 if there is none. A single-user server writes
// its pid negated.
func pidIn(content string) int {
	line, _, _ := strings.Cut(content, "\n")
	pid, err := strconv.ParseInt(strings.TrimSpace(line), 10, 32)
	if err != nil || pid == math.MinInt32 {
		return 0
	}
	return int(max(pid, -pid))
}

// endOrphans ends PostgreSQL processes in the data directory: a postmaster that ignored weaker signals,
// and backends whose postmaster was killed during a long statement.
func endOrphans(ctx context.Context, data string) error {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		left := orphans(data)
		for _, pid := range left {
			_ = syscall.Kill(pid, signal)
		}
		if len(left) == 0 || poll(ctx, orphanWait, func() bool { return len(orphans(data)) == 0 }) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("wait for PostgreSQL processes %v of an earlier run to end: %w", left, err)
		}
	}
	return fmt.Errorf("PostgreSQL processes %v of an earlier run do not exit: kill them manually", orphans(data))
}

// removeSockets removes the sockets of killed servers and their lock files. A stale lock file can
// prevent a start like a stale postmaster.pid.
func removeSockets(dir string) error {
	left, _ := filepath.Glob(filepath.Join(escapeGlob(dir), ".s.PGSQL.*")) // the pattern is well-formed
	for _, path := range left {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
