package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// startHelper runs the test binary as a program that runs a server in dir.
func startHelper(t *testing.T, dir string) (helper *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	helper = exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), helperDir+"="+dir)
	out, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = helper.Process.Kill()
		_ = helper.Wait()
	})
	return helper, bufio.NewScanner(out)
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	if !poll(testContext(t), 30*time.Second, cond) {
		t.Fatalf("timed out waiting until %s", what)
	}
}

func TestParentKilled(t *testing.T) {
	t.Parallel()
	dir := layout(filepath.Join(reachableDir(t), "postgres"))
	helper, lines := startHelper(t, string(dir))
	if !lines.Scan() {
		t.Fatal("the helper printed nothing")
	}
	var pid int
	if _, err := fmt.Sscanf(lines.Text(), "ready %d", &pid); err != nil {
		t.Fatalf("the helper printed %q", lines.Text())
	}
	_, err := Start(testContext(t), Config{Dir: string(dir)})
	if want := fmt.Sprintf("process %d (", helper.Process.Pid); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want ErrInUse by %s", err, want)
	}
	if !worksIn(pid, dir.data()) {
		t.Fatalf("process %d does not look like a postmaster of %s", pid, dir.data())
	}
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" {
		eventually(t, "PostgreSQL ends after its parent", func() bool { return len(orphans(dir.data())) == 0 })
		if _, err := os.Stat(filepath.Join(dir.data(), "postmaster.pid")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the shutdown was not clean: postmaster.pid: %v", err)
		}
	}
	s := mustStart(t, Config{Dir: string(dir)})
	query(t, s.URL(), "SELECT 'back'")
}

func TestParentKilled_StartAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachableDir(t), "postgres")
	helper, lines := startHelper(t, dir)
	lines.Scan()
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The lock is released when the helper ends. Until then the directory is in
	// use.
	var s *Server
	eventually(t, "the directory is free", func() bool {
		var err error
		if s, err = Start(testContext(t), Config{Dir: dir}); err != nil && !errors.Is(err, ErrInUse) {
			t.Fatal(err)
		}
		return err == nil
	})
	defer mustStop(t, s)
	query(t, s.URL(), "SELECT 'back'")
}

func TestPostmasterKilled(t *testing.T) {
	t.Parallel()
	dir := layout(filepath.Join(reachableDir(t), "postgres"))
	s := mustStart(t, Config{Dir: string(dir)})
	mustExec(t, s.URL(), "CREATE TABLE kept AS SELECT 42 AS v")
	query(t, s.URL(), "SELECT 'made'")

	// A backend in the middle of a statement does not notice that its postmaster
	// has exited.
	busy := make(chan error, 1)
	go func() { busy <- execute(testContext(t), s.URL(), "SELECT count(*) FROM generate_series(1, 1e12)") }()
	var backend int
	eventually(t, "the long statement runs", func() bool {
		pid := query(t, s.URL(), "SELECT coalesce(max(pid), 0)::text FROM pg_stat_activity WHERE query LIKE '%1e12)' AND state = 'active'")
		backend, _ = strconv.Atoi(pid)
		return backend > 0
	})
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-testContext(t).Done():
		t.Fatal("Done stays open after the end of the server")
	}
	if s.Err() == nil || !strings.Contains(s.Err().Error(), "killed") {
		t.Errorf("Err is %v, want it to say: killed", s.Err())
	}
	if runtime.GOOS == "linux" && len(orphans(dir.data())) == 0 {
		// As Start's error says, such a backend must be killed manually.
		_ = syscall.Kill(backend, syscall.SIGKILL)
		t.Log("this process may not inspect processes of other accounts, so the test ended the busy backend")
	}
	again := mustStart(t, Config{Dir: string(dir)})
	if got := query(t, again.URL(), "SELECT v::text FROM kept"); got != "42" {
		t.Errorf("after recovery: got %s, want 42", got)
	}
	if err := <-busy; err == nil {
		t.Error("the long statement came to an end")
	}
	if err := s.Stop(testContext(t)); err != nil {
		t.Errorf("Stop of a server that has ended: %v", err)
	}
	query(t, again.URL(), "SELECT 'unharmed'")
}

func TestStalePidFile(t *testing.T) {
	t.Parallel()
	dir := layout(filepath.Join(reachableDir(t), "postgres"))
	s := mustStart(t, Config{Dir: string(dir)})
	pidFile := filepath.Join(dir.data(), "postmaster.pid")
	content, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	mustStop(t, s)

	// sleep must run under the server's own account, because PostgreSQL ignores
	// the pid of a process that it may not signal.
	l := newLauncher(t, dir)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := spawn(command(l.account, syscall.SIGKILL, "/", sleep, "600"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.cmd.Process.Kill(); <-stranger.done })

	for name, pid := range map[string]int{"stranger": stranger.pid, "single-user": -stranger.pid, "nobody": 1 << 30, "nonsense": 0} {
		_, rest, _ := strings.Cut(string(content), "\n")
		for path, text := range map[string]string{
			pidFile: strconv.Itoa(pid) + "\n" + rest,
			filepath.Join(dir.data(), fmt.Sprintf(".s.PGSQL.%d.lock", s.port)): strconv.Itoa(pid) + "\n" + rest,
		} {
			if pid == 0 {
				text = "!" + rest // PostgreSQL itself refuses to start then
				if path == pidFile {
					continue
				}
			}
			if err := writeFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := l.account.own(path); err != nil {
				t.Fatal(err)
			}
		}
		again := mustStart(t, Config{Dir: string(dir)})
		query(t, again.URL(), "SELECT 'back'")
		mustStop(t, again)
		select {
		case <-stranger.done:
			t.Fatalf("%s: another program's process was ended", name)
		default:
		}
	}
}

func TestOrphanedPostmaster(t *testing.T) {
	t.Parallel()
	dir := layout(filepath.Join(reachableDir(t), "postgres"))
	s := mustStart(t, Config{Dir: string(dir)})
	mustStop(t, s)

	// This server has no parent. On a system where the kernel does not end the server, it is in this
	// state after its parent was killed.
	l := newLauncher(t, dir)
	log, err := openLog(dir, l.account)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	orphan, err := l.serve(testContext(t), s.port, dir.data(), log)
	if err != nil {
		t.Fatal(err)
	}
	again := mustStart(t, Config{Dir: string(dir)})
	query(t, again.URL(), "SELECT 'mine'")
	select {
	case <-orphan.done:
	default:
		t.Error("two servers run in one directory")
	}
}

func TestStop_Impatient(t *testing.T) {
	t.Parallel()
	dir := layout(filepath.Join(reachableDir(t), "postgres"))
	s := mustStart(t, Config{Dir: string(dir)})
	mustExec(t, s.URL(), "CREATE TABLE kept AS SELECT 42 AS v")
	query(t, s.URL(), "SELECT 'made'")
	// A stopped postmaster reacts only to SIGKILL.
	if err := syscall.Kill(s.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it to wrap the context's error", err)
	}
	if left := orphans(dir.data()); len(left) > 0 {
		t.Errorf("processes %v still run", left)
	}
	again := mustStart(t, Config{Dir: string(dir)})
	if got := query(t, again.URL(), "SELECT v::text FROM kept"); got != "42" {
		t.Errorf("after recovery: got %s, want 42", got)
	}
}

func TestFirstStartInterrupted(t *testing.T) {
	t.Parallel()
	dir := layout(filepath.Join(reachableDir(t), "postgres"))
	helper, _ := startHelper(t, string(dir))
	eventually(t, "initdb is at work", func() bool {
		found, _ := filepath.Glob(filepath.Join(string(dir), freshPrefix+"*", "PG_VERSION"))
		return len(found) > 0
	})
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait()
	if dir.initialized() {
		t.Fatal("a half-made data directory is in place")
	}
	fill(t, string(dir), map[string]string{freshPrefix + "X/base/1": "older", freshPrefix + "X.password": "older"})
	s := mustStart(t, Config{Dir: string(dir)})
	query(t, s.URL(), "SELECT 'whole'")
	if left := dir.leftovers(); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestFirstStartCancelled(t *testing.T) {
	t.Parallel()
	parent := reachableDir(t)
	dir := layout(filepath.Join(parent, "made", "postgres"))
	for wait := 20 * time.Millisecond; ; wait = wait * 3 / 2 {
		ctx, cancel := context.WithTimeout(testContext(t), wait)
		s, err := Start(ctx, Config{Dir: string(dir), Settings: map[string]string{"fsync": "off"}})
		cancel()
		if err == nil {
			// The context of Start does not bound the server.
			query(t, s.URL(), "SELECT 'unharmed'")
			mustStop(t, s)
			return
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if left := orphans(dir.data()); len(left) > 0 {
			t.Fatalf("after %v: processes %v are left", wait, left)
		}
		if left := dir.leftovers(); len(left) > 0 {
			t.Fatalf("after %v: %v is left", wait, left)
		}
		if entries, _ := os.ReadDir(parent); len(entries) > 0 && !dir.initialized() {
			t.Fatalf("after %v: %v is left", wait, entries)
		}
	}
}
