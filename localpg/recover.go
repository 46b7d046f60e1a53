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

// How long processes of an earlier run may take to end, politely and less so.
const (
	fastWait   = 10 * time.Second
	orphanWait = 5 * time.Second
)

// settle leaves no process of an earlier run at work in the data directory, and no trace of one that
// would keep a new one from starting. The caller holds the directory's lock, so whatever is there has
// lost its owner.
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
		l.cfg.Log.Warn("shutting down the PostgreSQL which an earlier run left behind", "pid", pid, "dir", l.cfg.Dir)
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
	// PostgreSQL clears a stale file away by itself, unless the pid in it lives or it holds none, as after a
	// write to a full disk: then it never starts again. No process of it works here by now, and where this
	// package cannot see them, PostgreSQL finds their shared memory by the directory, not by this file.
	reason := ""
	switch {
	case pid == 0:
		reason = "it holds no process id"
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

// pidIn returns the process id in a postmaster.pid, or 0 if it holds none. A single-user server writes
// its own negated.
func pidIn(content string) int {
	line, _, _ := strings.Cut(content, "\n")
	pid, err := strconv.ParseInt(strings.TrimSpace(line), 10, 32)
	if err != nil || pid == math.MinInt32 {
		return 0
	}
	return int(max(pid, -pid))
}

// endOrphans ends PostgreSQL processes at work in the data directory: a postmaster that ignored kinder
// signals, and backends whose postmaster was killed in the middle of a long statement.
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
	return fmt.Errorf("PostgreSQL processes %v of an earlier run do not end: end them by hand", orphans(data))
}

// removeSockets takes away the sockets and their lock files of servers that were killed. A stale lock
// file can block like a stale postmaster.pid does.
func removeSockets(dir string) error {
	left, _ := filepath.Glob(filepath.Join(escapeGlob(dir), ".s.PGSQL.*")) // a well-formed pattern
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
