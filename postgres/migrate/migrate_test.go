package migrate_test

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/pgtest"
	"quern/postgres/migrate"
	"quern/postgres/testdata"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

func migrator(t *testing.T, url string, files fs.FS) *migrate.Migrator {
	t.Helper()
	m, err := migrate.New(migrate.Config{URL: url, FS: files, Logger: quiet, LockTimeout: 50 * time.Millisecond, LockRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func steps(results []migrate.Result) (s []string) {
	for _, r := range results {
		s = append(s, r.Direction+" "+r.File)
	}
	return s
}

func file(up, down string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("-- +goose Up\n" + up + "\n-- +goose Down\n" + down + "\n")}
}

func TestMigrator(t *testing.T) {
	t.Parallel()
	three := fstest.MapFS{
		"00001_a.sql": file("CREATE TABLE a (id int);", "DROP TABLE a;"),
		"00002_b.sql": file("CREATE TABLE b (id int);", "DROP TABLE b;"),
		"00003_c.sql": file("CREATE TABLE c (id int);", "DROP TABLE c;"),
	}

	t.Run("Steps", func(t *testing.T) {
		t.Parallel()
		m := migrator(t, pgtest.EmptyURL(t), three)
		ctx := t.Context()
		up, down := func() ([]migrate.Result, error) { return m.Up(ctx) }, func() ([]migrate.Result, error) { return m.Down(ctx) }
		to := func(v int64) func() ([]migrate.Result, error) {
			return func() ([]migrate.Result, error) { return m.To(ctx, v) }
		}
		for i, step := range []struct {
			do      func() ([]migrate.Result, error)
			want    []string
			current int64
		}{
			{up, []string{"up 00001_a.sql", "up 00002_b.sql", "up 00003_c.sql"}, 3},
			{up, nil, 3},
			{down, []string{"down 00003_c.sql"}, 2},
			{func() ([]migrate.Result, error) { return m.Redo(ctx) }, []string{"down 00002_b.sql", "up 00002_b.sql"}, 2},
			{to(0), []string{"down 00002_b.sql", "down 00001_a.sql"}, 0},
			{to(2), []string{"up 00001_a.sql", "up 00002_b.sql"}, 2},
			{to(2), nil, 2},
			{to(1), []string{"down 00002_b.sql"}, 1},
		} {
			results, err := step.do()
			if err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			if diff := cmp.Diff(step.want, steps(results)); diff != "" {
				t.Errorf("step %d (-want +got):\n%s", i, diff)
			}
			current, latest, err := m.Version(ctx)
			if err != nil || current != step.current || latest != 3 {
				t.Errorf("step %d: version %d of %d, %v; want %d of 3", i, current, latest, err, step.current)
			}
			if n, err := m.Pending(ctx); err != nil || int64(n) != 3-step.current {
				t.Errorf("step %d: %d pending, %v", i, n, err)
			}
		}
		if _, err := m.To(ctx, 7); err == nil || !strings.Contains(err.Error(), "no such version") {
			t.Errorf("to an unknown version: %v", err)
		}
		if _, err := m.To(ctx, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Down(ctx); err == nil || !strings.Contains(err.Error(), "nothing to undo") {
			t.Errorf("down with nothing applied: %v", err)
		}
	})

	t.Run("StatusShowsWhatIsNotOnDisk", func(t *testing.T) {
		t.Parallel()
		url := pgtest.EmptyURL(t)
		if _, err := migrator(t, url, three).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		fewer := fstest.MapFS{"00001_a.sql": three["00001_a.sql"], "00004_d.sql": file("SELECT 1;", "")}
		status, err := migrator(t, url, fewer).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range status {
			switch {
			case s.Missing:
				got = append(got, "missing")
			case s.Applied && !s.AppliedAt.IsZero() && s.AppliedAt.Location() == time.UTC:
				got = append(got, s.File+" applied")
			default:
				got = append(got, s.File+" pending")
			}
		}
		if diff := cmp.Diff([]string{"00001_a.sql applied", "missing", "missing", "00004_d.sql pending"}, got); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
	})

	t.Run("FailureKeepsWhatCameBefore", func(t *testing.T) {
		t.Parallel()
		m := migrator(t, pgtest.EmptyURL(t), fstest.MapFS{
			"00001_a.sql": three["00001_a.sql"], "00002_bad.sql": file("CREATE TABLE x (id int); SELECT 1/0;", ""),
		})
		results, err := m.Up(t.Context())
		if err == nil || !strings.Contains(err.Error(), "00002_bad.sql") || !strings.Contains(err.Error(), "division by zero") {
			t.Errorf("err = %v, want the file and the cause", err)
		}
		if diff := cmp.Diff([]string{"up 00001_a.sql"}, steps(results)); diff != "" {
			t.Errorf("applied (-want +got):\n%s", diff)
		}
	})

	t.Run("SeveralAtOnce", func(t *testing.T) {
		t.Parallel()
		url := pgtest.EmptyURL(t)
		files := fstest.MapFS{
			// It takes long enough for the others to start in the meantime.
			"00001_a.sql": file("SELECT pg_sleep(0.5); CREATE TABLE a (id int);", "DROP TABLE a;"),
			"00002_i.sql": {Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY a_id ON a (id);\n-- +goose Down\nDROP INDEX a_id;\n")},
		}
		var mu sync.Mutex
		var all []string
		var starts sync.WaitGroup
		for range 3 {
			m := migrator(t, url, files)
			starts.Go(func() {
				results, err := m.Up(context.Background())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				all = append(all, steps(results)...)
				mu.Unlock()
			})
		}
		starts.Wait()
		if diff := cmp.Diff([]string{"up 00001_a.sql", "up 00002_i.sql"}, all); diff != "" {
			t.Errorf("applied by all together (-want +got):\n%s", diff)
		}
	})

	t.Run("GivesUpWaitingForALock", func(t *testing.T) {
		t.Parallel()
		url := pgtest.EmptyURL(t)
		m := migrator(t, url, fstest.MapFS{
			"00001_a.sql": three["00001_a.sql"], "00002_alter.sql": file("ALTER TABLE a ADD COLUMN n int;", ""),
		})
		if _, err := m.To(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE a IN ACCESS SHARE MODE"); err != nil {
			t.Fatal(err)
		}
		bounded, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if _, err = m.Up(bounded); err == nil || !strings.Contains(err.Error(), "00002_alter.sql: it waited too long for a lock") {
			t.Errorf("err = %v, want it to name the migration that waited for a lock", err)
		}
		if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Up(t.Context()); err != nil {
			t.Errorf("again, without the lock: %v", err)
		}
	})

	t.Run("OursGoDownAndUpAgain", func(t *testing.T) {
		t.Parallel()
		m := migrator(t, pgtest.EmptyURL(t), testdata.Migrations())
		for range 2 {
			if _, err := m.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := m.To(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestCreate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct{ name, want string }{
		{"Add posts index", "00001_add_posts_index.sql"},
		{"drop_it", "00002_drop_it.sql"},
	} {
		path, err := migrate.Create(dir, tt.name)
		if err != nil || filepath.Base(path) != tt.want {
			t.Fatalf("Create(%q) = %q, %v; want %s", tt.name, path, err, tt.want)
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "-- +goose Up\n") || !strings.Contains(string(text), "-- +goose Down\n") {
			t.Errorf("%s holds %q, %v", path, text, err)
		}
	}
	for _, name := range []string{"", "…", "../"} {
		if _, err := migrate.Create(dir, name); err == nil {
			t.Errorf("Create(%q): no error", name)
		}
	}
	if _, err := migrate.Create(filepath.Join(dir, "nowhere"), "x"); err == nil {
		t.Error("in no directory: no error")
	}
	m := migrator(t, pgtest.EmptyURL(t), os.DirFS(dir))
	results, err := m.Up(t.Context())
	if err != nil || len(results) != 2 || !results[0].Empty {
		t.Errorf("the created migration does not apply: %+v, %v", results, err)
	}
}
