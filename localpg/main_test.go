package localpg

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// helperDir makes the test binary run a server in that directory until it is killed.
const helperDir = "LOCALPG_TEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		s, err := Start(context.Background(), Config{Dir: dir, Settings: map[string]string{"fsync": "off"}})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready", s.PID())
		<-s.Done()
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// reachableDir returns a directory that every account may enter, unlike t.TempDir. At the end of the test
// it checks that the servers below it left no processes.
func reachableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "localpg-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func mustStart(t *testing.T, cfg Config) *Server {
	t.Helper()
	if cfg.Settings == nil {
		cfg.Settings = map[string]string{"fsync": "off"}
	}
	s, err := Start(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mustStop(t, s)
		recoverShared(t, cfg)
		if left := orphans(layout(s.Dir()).data()); len(left) > 0 {
			t.Errorf("processes %v still run in %s", left, s.Dir())
		}
	})
	return s
}

// recoverShared makes PostgreSQL release the shared memory of a killed server, which only the next server
// in the same directory can find.
func recoverShared(t *testing.T, cfg Config) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(layout(cfg.Dir).data(), "postmaster.pid")); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Start(ctx, cfg)
	if err != nil {
		return // the server cannot be started in this test
	}
	mustStop(t, s)
}

func mustStop(t *testing.T, s *Server) {
	t.Helper()
	// The test's own context has ended when cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// newLauncher returns the state that Start has before it runs programs in dir, which must exist.
func newLauncher(t *testing.T, dir layout) *launcher {
	t.Helper()
	l := &launcher{cfg: Config{Dir: string(dir)}, dir: dir}
	var err error
	if l.build, err = chooseBuild(testContext(t), "", 0); err != nil {
		t.Fatal(err)
	}
	if l.account, err = chooseAccount(testContext(t), dir, nil, l.build); err != nil {
		t.Fatal(err)
	}
	return l
}

// query runs one statement and returns its single text value.
func query(t *testing.T, url, sql string) string {
	t.Helper()
	ctx := testContext(t)
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var answer string
	if err := conn.QueryRow(ctx, sql).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

func execute(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}

func mustExec(t *testing.T, url, sql string) {
	t.Helper()
	if err := execute(testContext(t), url, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// logBuffer collects the output of a server's logger.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
