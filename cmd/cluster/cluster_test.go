//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/internal/localcluster"
	"quern/localpg"
)

// output is what a program has printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// TestCluster starts a cluster like a user, uses it as the output says, and presses Ctrl-C.
// Nothing may be left.
func TestCluster(t *testing.T) {
	t.Parallel()
	binaries, err := localpg.Binaries(t.Context(), func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	if err := localcluster.Missing(binaries, false, false); err != nil {
		t.Skip(err)
	}
	temporary := t.TempDir()
	if err := os.Chmod(temporary, 0o755); err != nil { // another account runs PostgreSQL
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(temporary), 0o755); err != nil {
		t.Fatal(err)
	}
	printed := &output{}
	cmd := exec.Command("make", "--no-print-directory", "cluster")
	cmd.Dir, cmd.Stdout, cmd.Stderr = "../..", printed, printed
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as in a terminal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	interrupt := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	defer interrupt()

	await(t, "the cluster runs: "+printed.String(), func() bool {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v:\n%s", err, printed)
		default:
		}
		return strings.Contains(printed.String(), "Ctrl-C stops the cluster")
	})
	text := printed.String()
	url := regexp.MustCompile(`DATABASE_URL='(.+?)'`).FindStringSubmatch(text)
	discovery := regexp.MustCompile(`REPLICA_DISCOVERY='(\S+) `).FindStringSubmatch(text)
	dir := regexp.MustCompile(`Logs and data are in (\S+)\.`).FindStringSubmatch(text)
	if url == nil || discovery == nil || dir == nil || filepath.Dir(dir[1]) != temporary {
		t.Fatalf("the output does not say how to use the cluster:\n%s", text)
	}
	if n := len(members(t, discovery[1])); n != 3 {
		t.Errorf("the cluster has %d members, want 3:\n%s", n, text)
	}
	write(t, url[1])
	segments := sharedMemory(t, dir[1])
	if len(segments) != 3 {
		t.Errorf("there are %d segments of shared memory, want one for each member", len(segments))
	}

	interrupt()
	select {
	case <-ended:
	case <-time.After(startLimit):
		t.Fatalf("Ctrl-C does not end it:\n%s", printed)
	}
	for _, cwd := range cwds() {
		if strings.HasPrefix(cwd, temporary) {
			t.Errorf("a process is left in %s", cwd)
		}
	}
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
	all, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range segments {
		if regexp.MustCompile(`(?m)^\s*-?\d+\s+` + id + `\s`).Match(all) {
			t.Errorf("the segment %s of shared memory is left", id)
		}
	}
}

// startLimit is long because the machine may be busy.
const startLimit = 2 * time.Minute

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(startLimit); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for this: %s", what)
		}
	}
}

func members(t *testing.T, rest string) []localcluster.State {
	t.Helper()
	response, err := http.Get(rest + "/cluster")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct{ Members []localcluster.State }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer.Members
}

// write writes and reads a row. Dynamic shared memory must be in files, because a server that
// is killed leaves it.
func write(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var n int
	var memory string
	if _, err := conn.Exec(t.Context(), "CREATE TABLE t AS SELECT 42 AS n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT n, current_setting('dynamic_shared_memory_type') FROM t").Scan(&n, &memory); err != nil || n != 42 || memory != "mmap" {
		t.Errorf("read back %d, with shared memory in %s (%v)", n, memory, err)
	}
}

// sharedMemory returns the segments of the members, which the seventh line of postmaster.pid
// names.
func sharedMemory(t *testing.T, dir string) (ids []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*/data/postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var key, id int
		if _, err := fmt.Sscan(strings.Split(string(text), "\n")[6], &key, &id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, fmt.Sprint(id))
	}
	return ids
}

// cwds returns the working directories of all processes.
func cwds() (dirs []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if dir, err := os.Readlink(link); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := localcluster.Missing(t.TempDir(), true, true)
	if want := "not installed: patroni, etcd, createdb, haproxy, pgbouncer: apt-get install patroni etcd-server postgresql haproxy pgbouncer"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
