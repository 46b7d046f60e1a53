package localpg

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGarbledPidFile has postmaster.pid files as a full disk or a crash can leave them.
func TestGarbledPidFile(t *testing.T) {
	t.Parallel()
	dir := layout(filepath.Join(reachableDir(t), "postgres"))
	log := &logBuffer{}
	cfg := Config{Dir: string(dir), Log: slog.New(slog.NewTextHandler(log, nil))}
	mustStop(t, mustStart(t, cfg))
	l := newLauncher(t, dir)
	for name, content := range map[string]string{
		"empty": "", "newline": "\n", "spaces": "   \n", "zeros": strings.Repeat("\x00", 80), "text": "garbage\nmore\n", "zero": "0\n",
		"huge": "99999999999999999999\n/data\n", "beyond": "4294967297\n", "sign": "-\n",
	} {
		path := filepath.Join(dir.data(), "postmaster.pid")
		if err := writeFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.account.own(path); err != nil {
			t.Fatal(err)
		}
		s, err := Start(testContext(t), cfg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			os.Remove(path)
			continue
		}
		query(t, s.URL(), "SELECT 'back'")
		mustStop(t, s)
	}
	if n := strings.Count(log.String(), "removing a stale postmaster.pid: it contains no process id"); n != 9 {
		t.Errorf("%d of 9 repairs were logged: %s", n, log)
	}
}

// TestGarbledPidFile_Running garbles the file of a running server. The server must be ended before
// another one starts, because two servers in one directory destroy it.
func TestGarbledPidFile_Running(t *testing.T) {
	t.Parallel()
	dir := layout(filepath.Join(reachableDir(t), "postgres"))
	s := mustStart(t, Config{Dir: string(dir)})
	mustExec(t, s.URL(), "CREATE TABLE kept AS SELECT 42 AS v")
	mustStop(t, s)
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
	path := filepath.Join(dir.data(), "postmaster.pid")
	if err := writeFile(path, "", 0o600); err != nil {
		t.Fatal(err)
	}
	again := mustStart(t, Config{Dir: string(dir)})
	select {
	case <-orphan.done:
	default:
		t.Error("two servers run in one directory")
	}
	if got := query(t, again.URL(), "SELECT v::text FROM kept"); got != "42" {
		t.Errorf("got %s, want 42", got)
	}
}

// TestDamaged truncates files that cannot be repaired. The error must name the file, and nothing may
// be deleted.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ content, want string }{
		"PG_VERSION":        {"", "data/PG_VERSION does not contain a version"},
		"global/pg_control": {"", "pg_control"},
		"quern.password":    {"", "quern.password is empty: write the password of the role quern into it"},
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			dir := layout(filepath.Join(reachableDir(t), "postgres"))
			mustStop(t, mustStart(t, Config{Dir: string(dir)}))
			path := filepath.Join(dir.data(), name)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err = Start(testContext(t), Config{Dir: string(dir)})
				if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrDiskFull) {
					t.Errorf("err = %v, want it to say %q", err, test.want)
				}
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			s := mustStart(t, Config{Dir: string(dir)})
			query(t, s.URL(), "SELECT 'whole again'")
		})
	}

	t.Run("port", func(t *testing.T) {
		t.Parallel()
		dir := layout(filepath.Join(reachableDir(t), "postgres"))
		mustStop(t, mustStart(t, Config{Dir: string(dir)}))
		if err := os.WriteFile(dir.port(), []byte("no port"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Running(string(dir)); err == nil || !strings.Contains(err.Error(), "restart the server") {
			t.Errorf("Running: %v", err)
		}
		s := mustStart(t, Config{Dir: string(dir)})
		query(t, s.URL(), "SELECT 'another port'")
	})
}
