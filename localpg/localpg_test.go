package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachableDir(t), "made", "postgres")
	var logged logBuffer
	cfg := Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&logged, nil))}

	begun := time.Now()
	s := mustStart(t, cfg)
	query(t, s.URL(), "SELECT 'first'")
	t.Logf("cold: %v", time.Since(begun))

	mustExec(t, s.URL(), "CREATE TABLE kept AS SELECT 42 AS v")
	if got := query(t, s.URL(), "SELECT current_setting('timezone')"); got != "UTC" {
		t.Errorf("timezone is %s, want UTC", got)
	}
	if got := query(t, s.SocketURL(), "SELECT current_database() || ' ' || upper('é') || (inet_client_addr() IS NULL)::text"); got != "quern Étrue" {
		t.Errorf("over the socket: got %q", got)
	}
	if got := query(t, s.URL(), "SELECT current_setting('server_version')"); !strings.HasPrefix(got, s.Version()) {
		t.Errorf("Version is %s, but the server reports %s", s.Version(), got)
	}
	if s.Dir() != dir {
		t.Errorf("Dir is %s, want %s", s.Dir(), dir)
	}
	if s.Err() != nil {
		t.Errorf("Err of a running server: %v", s.Err())
	}
	checkSecrets(t, s, &logged)

	begun = time.Now()
	mustStop(t, s)
	t.Logf("stop: %v", time.Since(begun))
	select {
	case <-s.Done():
	default:
		t.Error("Done is open after Stop")
	}
	if s.Err() != nil {
		t.Errorf("Err after Stop: %v", s.Err())
	}
	mustStop(t, s) // stopping it again is not an error

	begun = time.Now()
	again := mustStart(t, cfg)
	if got := query(t, again.URL(), "SELECT v::text FROM kept"); got != "42" {
		t.Errorf("after a restart: got %s, want 42", got)
	}
	t.Logf("warm: %v", time.Since(begun))
	if again.URL() != s.URL() {
		t.Error("the address changed although its port was free")
	}
}

// checkSecrets checks that the password is only where it may be.
func checkSecrets(t *testing.T, s *Server, logged fmt.Stringer) {
	t.Helper()
	path := filepath.Join(s.Dir(), "data", passwordFile)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v, want 0600", path, info.Mode().Perm())
	}
	if len(s.password) < 20 || !strings.Contains(s.URL(), s.password) {
		t.Errorf("the URL has no password, or one of %d characters", len(s.password))
	}
	if strings.Contains(s.MaskedURL(), s.password) || strings.Contains(logged.String(), s.password) {
		t.Error("the password shows in MaskedURL or in the log")
	}
	if !strings.Contains(logged.String(), "accepts connections") {
		t.Error("the start was not logged")
	}
	wrong := strings.Replace(s.URL(), s.password, "wrong", 1)
	if conn, err := pgx.Connect(testContext(t), wrong); err == nil {
		conn.Close(context.Background())
		t.Error("a wrong password was accepted")
	}
}

func TestStart_SecondIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachableDir(t), "postgres")
	s := mustStart(t, Config{Dir: dir})
	_, err := Start(testContext(t), Config{Dir: dir})
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v, want ErrInUse", err)
	}
	if want := fmt.Sprintf("%s is in use by process %d (", dir, os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not contain %q", err, want)
	}
	query(t, s.URL(), "SELECT 'unharmed'")
	if url, err := Running(dir); err != nil || url != s.URL() {
		t.Errorf("Running returned %v and a URL that differs from the server's", err)
	}
}

// TestLock_Copied releases a lock of which a copy of the descriptor remains, as in a process that
// is being started at that moment.
func TestLock_Copied(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := syscall.Dup(int(first.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(copied)
	first.release()
	second, err := lockFile(path)
	if err != nil {
		t.Fatalf("the lock was not released: %v", err)
	}
	second.release()
}

func TestStart_AnotherDatabase(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachableDir(t), "postgres")
	mustStop(t, mustStart(t, Config{Dir: dir, Database: "postgres"}))
	for range 2 {
		s := mustStart(t, Config{Dir: dir, Database: `a "b" ü`})
		if got := query(t, s.URL(), "SELECT current_database()"); got != `a "b" ü` {
			t.Errorf("got %q", got)
		}
		mustStop(t, s)
	}
}

func TestStart_PortTaken(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachableDir(t), "postgres")
	holder := mustStart(t, Config{Dir: filepath.Join(reachableDir(t), "postgres")})
	first := mustStart(t, Config{Dir: dir})
	mustStop(t, first)

	if err := writeFile(layout(dir).port(), fmt.Sprint(holder.port), 0o644); err != nil {
		t.Fatal(err)
	}
	s := mustStart(t, Config{Dir: dir})
	if s.port == holder.port {
		t.Fatal("took a port that is in use")
	}
	mustStop(t, s)

	// Another program takes the port between the check that it is free and
	// PostgreSQL's bind.
	l := newLauncher(t, layout(dir))
	log, err := openLog(l.dir, l.account)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	log.mark()
	if _, err := l.serve(testContext(t), holder.port, l.dir.data(), log); err == nil {
		t.Fatal("started on a port that is in use")
	}
	if said := log.sinceMark(); !strings.Contains(said, addressTaken) {
		t.Errorf("launch waits for %q, but PostgreSQL logged %q", addressTaken, said)
	}
}

func TestStart_BadSetting(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachableDir(t), "made", "postgres")
	_, err := Start(testContext(t), Config{Dir: dir, Settings: map[string]string{"work_memory": "1"}})
	if err == nil || !strings.Contains(err.Error(), `FATAL: unrecognized configuration parameter "work_memory"`) {
		t.Fatalf("got %v, want PostgreSQL's message", err)
	}
	if strings.ContainsAny(err.Error(), "\n") {
		t.Errorf("the error has several lines: %q", err)
	}
	for name, value := range map[string]string{"port": "5432", "two words": "1", "search_path": "a\x00b"} {
		if _, err := Start(testContext(t), Config{Dir: dir, Settings: map[string]string{name: value}}); err == nil {
			t.Errorf("%s=%q was accepted", name, value)
		}
	}
	// The directory is complete, and the lock is free.
	mustStart(t, Config{Dir: dir})
}

func TestStart_LongPath(t *testing.T) {
	t.Parallel()
	long := filepath.Join(reachableDir(t), strings.Repeat("long", 30), "postgres")
	s := mustStart(t, Config{Dir: long})
	if got := query(t, s.SocketURL(), "SELECT (inet_client_addr() IS NULL)::text"); got != "true" {
		t.Errorf("not over a socket: %s", got)
	}
	if s.socket == layout(long).data() {
		t.Fatalf("the socket is in %s", s.socket)
	}
	mustStop(t, s)
	if _, err := os.Lstat(s.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", s.socket, err)
	}
}

func TestStart_LogIsBounded(t *testing.T) {
	t.Parallel()
	dir := layout(filepath.Join(reachableDir(t), "postgres"))
	mustStop(t, mustStart(t, Config{Dir: string(dir)}))
	if err := os.Truncate(dir.log(), maxLog+1); err != nil {
		t.Fatal(err)
	}
	mustStart(t, Config{Dir: string(dir)})
	now, err1 := os.Stat(dir.log())
	old, err2 := os.Stat(dir.oldLog())
	if err1 != nil || err2 != nil || now.Size() > 1<<20 || old.Size() != maxLog+1 {
		t.Errorf("log %v, %v; old log %v, %v", now, err1, old, err2)
	}
}
