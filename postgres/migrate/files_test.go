package migrate_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/pgtest"
	"quern/postgres/migrate"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	a, b := file("CREATE TABLE a ();", "DROP TABLE a;"), file("CREATE TABLE b ();", "DROP TABLE b;")
	edited := file("CREATE TABLE a (id int);", "DROP TABLE a;")
	windows := &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(a.Data), "\n", "\r\n"))}
	sum := func(files fstest.MapFS) []byte {
		t.Helper()
		text, err := migrate.Sum(files)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	sums, one := sum(fstest.MapFS{"00001_a.sql": a, "00002_b.sql": b}), sum(fstest.MapFS{"00001_a.sql": a})
	for name, tt := range map[string]struct {
		files fstest.MapFS
		sums  []byte
		want  []string // of each problem, a part
		up    string   // a part of Up's error, or "" if it succeeds
	}{
		"right":         {fstest.MapFS{"00001_a.sql": a, "00002_b.sql": b}, sums, nil, ""},
		"by date":       {fstest.MapFS{"20260101000000_a.sql": a, "20260301000000_b.sql": b}, nil, []string{"there is no "}, ""},
		"line ends":     {fstest.MapFS{"00001_a.sql": windows, "00002_b.sql": b}, sums, nil, ""},
		"edited":        {fstest.MapFS{"00001_a.sql": edited, "00002_b.sql": b}, sums, []string{"00001_a.sql: it was edited"}, "00001_a.sql: it was edited"},
		"gone":          {fstest.MapFS{"00001_a.sql": a}, sums, []string{"00002_b.sql: it has a checksum, but the file is gone"}, "00002_b.sql"},
		"new":           {fstest.MapFS{"00001_a.sql": a, "00002_b.sql": b}, one, []string{"00002_b.sql: it is not in "}, ""},
		"without sums":  {fstest.MapFS{"00001_a.sql": a}, nil, []string{"migrations.sum, so that an edited file is not noticed"}, ""},
		"damaged sums":  {fstest.MapFS{"00001_a.sql": a}, []byte("<<<<<<< HEAD\n"), []string{"is not a file name and a checksum"}, "is not a file name and a checksum"},
		"double number": {fstest.MapFS{"00001_a.sql": a, "00001_b.sql": b}, one, []string{"00001_b.sql: it has the number of 00001_a.sql"}, "00001"},
		"gap":           {fstest.MapFS{"00001_a.sql": a, "00003_b.sql": b}, one, []string{"00003_b.sql: number 2 is missing", "00003_b.sql: it is not in "}, ""},
		"unpadded":      {fstest.MapFS{"1_a.sql": a, "2_b.sql": b}, sum(fstest.MapFS{"1_a.sql": a, "2_b.sql": b}), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "migrations")
			if err := os.CopyFS(dir, tt.files); err != nil {
				t.Fatal(err)
			}
			if tt.sums != nil {
				if err := os.WriteFile(migrate.SumFile(dir), tt.sums, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			lines := []string{}
			if err := migrate.Check(dir); err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if len(lines) != len(tt.want) {
				t.Errorf("%q, want %d problems", lines, len(tt.want))
			}
			for _, want := range tt.want {
				if !strings.Contains(strings.Join(lines, "\n"), want) {
					t.Errorf("%q, want %q", lines, want)
				}
			}
			if err := migrate.AddSums(dir); (err == nil) != (tt.up == "" || name == "double number") {
				t.Errorf("the checksums of new files: %v", err)
			}
			if len(lines) == 0 {
				if written, err := os.ReadFile(migrate.SumFile(dir)); err != nil || string(written) != string(tt.sums) {
					t.Errorf("written again: %q, %v", written, err)
				}
			}
			m, err := migrate.New(migrate.Config{URL: pgtest.EmptyURL(t), FS: tt.files, Sums: tt.sums, Logger: quiet})
			if err == nil {
				defer m.Close()
				_, err = m.Up(t.Context())
			}
			if (tt.up == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.up) {
				t.Errorf("up: %v, want %q", err, tt.up)
			}
		})
	}
}

func TestMigrator_Plan(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"00001_a.sql": file("CREATE TABLE a ();", "DROP TABLE a;"),
		"00002_b.sql": {Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE b ();\n-- +goose Down\nDROP TABLE b;\n")},
		"00003_c.sql": file("CREATE TABLE c ();", "DROP TABLE c;"),
	}
	m := migrator(t, pgtest.EmptyURL(t), files)
	planned := func(steps []migrate.Step, err error) (got []string) {
		t.Helper()
		if err != nil {
			return []string{err.Error()}
		}
		for _, s := range steps {
			got = append(got, s.Direction+" "+s.File+" "+s.SQL)
		}
		return got
	}
	up := []string{
		"up 00001_a.sql CREATE TABLE a ();\n", "up 00002_b.sql -- +goose NO TRANSACTION\nCREATE TABLE b ();\n", "up 00003_c.sql CREATE TABLE c ();\n",
	}
	ctx := t.Context()
	for range 2 { // it runs nothing
		if diff := cmp.Diff(up, planned(m.PlanUp(ctx))); diff != "" {
			t.Errorf("up:\n%s", diff)
		}
	}
	if diff := cmp.Diff(up[:2], planned(m.PlanTo(ctx, 2))); diff != "" {
		t.Errorf("to 2:\n%s", diff)
	}
	if got := planned(m.PlanDown(ctx)); !strings.Contains(got[0], "nothing to undo") {
		t.Errorf("down: %q", got)
	}
	if _, err := m.Up(ctx); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"down 00003_c.sql DROP TABLE c;\n", "down 00002_b.sql -- +goose NO TRANSACTION\nDROP TABLE b;\n"}, planned(m.PlanTo(ctx, 1))); diff != "" {
		t.Errorf("to 1:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"down 00003_c.sql DROP TABLE c;\n"}, planned(m.PlanDown(ctx))); diff != "" {
		t.Errorf("down:\n%s", diff)
	}
	if got := planned(m.PlanTo(ctx, 9)); !strings.Contains(got[0], "no such version") {
		t.Errorf("to 9: %q", got)
	}
	if current, _, err := m.Version(ctx); err != nil || current != 3 {
		t.Errorf("version %d, %v", current, err)
	}
}

func TestMigrator_Baseline(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"00001_a.sql": file("CREATE TABLE a ();", "DROP TABLE a;"), "00002_b.sql": file("CREATE TABLE b ();", "DROP TABLE b;"),
		"00003_c.sql": file("CREATE TABLE c ();", "DROP TABLE c;"),
	}
	url := pgtest.EmptyURL(t)
	m := migrator(t, url, files)
	ctx := t.Context()
	for version, want := range map[int64]string{0: "version 0 is an empty schema", 9: "no such version"} {
		if _, err := m.Baseline(ctx, version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("to %d: %v, want %q", version, err, want)
		}
	}
	got, err := m.Baseline(ctx, 2)
	if diff := cmp.Diff([]int64{1, 2}, got); diff != "" || err != nil {
		t.Fatalf("%v\n%s", err, diff)
	}
	results, err := m.Up(ctx) // the tables a and b do not exist
	if diff := cmp.Diff([]string{"up 00003_c.sql"}, steps(results)); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := m.Baseline(ctx, 3); err == nil || !strings.Contains(err.Error(), "is recorded as applied") {
		t.Errorf("again: %v", err)
	}
}

func TestMigrator_History(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"00001_a.sql": file("CREATE TABLE a ();", "DROP TABLE a;"),
		"00002_b.sql": file("CREATE TABLE b (); SELECT pg_sleep(0.02);", "DROP TABLE b;"),
	}
	url := pgtest.EmptyURL(t)
	ctx := t.Context()
	history := func(files fstest.MapFS) []migrate.Run {
		t.Helper()
		m := migrator(t, url, files)
		runs, err := m.History(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return runs
	}
	if runs := history(files); len(runs) > 0 {
		t.Errorf("before the first: %v", runs)
	}
	if _, err := migrator(t, url, files).To(ctx, 1); err != nil { // not recorded, like a run of goose
		t.Fatal(err)
	}
	if runs := history(files); len(runs) != 1 || runs[0].Version != 1 || runs[0].Duration >= 0 || runs[0].FinishedAt.IsZero() {
		t.Errorf("not recorded: %+v", runs)
	}
	m, err := migrate.New(migrate.Config{URL: url, FS: files, Logger: quiet, History: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Up(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Redo(ctx); err != nil {
		t.Fatal(err)
	}
	runs := history(fstest.MapFS{"00001_a.sql": files["00001_a.sql"], "00002_b.sql": file("CREATE TABLE c ();", "DROP TABLE c;")})
	var got []string
	for _, r := range runs {
		got = append(got, r.Direction+" "+r.File)
	}
	if diff := cmp.Diff([]string{"up ", "up 00002_b.sql", "down 00002_b.sql", "up 00002_b.sql"}, got); diff != "" {
		t.Fatal(diff)
	}
	last := runs[3]
	if last.Duration < 20_000_000 || !last.Edited || last.Role == "" || last.Version != 2 || runs[0].Edited {
		t.Errorf("%+v", last)
	}
}

// TestMigrator_LockRetries: a migration that times out waiting for a lock is tried again until
// the lock is free. One without a transaction is not.
func TestMigrator_LockRetries(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"00001_a.sql":     file("CREATE TABLE a ();", "DROP TABLE a;"),
		"00002_alter.sql": file("ALTER TABLE a ADD id int;", "ALTER TABLE a DROP id;"),
		"00003_index.sql": {Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE half ();\nALTER TABLE a ADD other int;\n")},
	}
	url := pgtest.EmptyURL(t)
	ctx := t.Context()
	if _, err := migrator(t, url, files).To(ctx, 1); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	lock := func() {
		t.Helper()
		if _, err := conn.Exec(ctx, "BEGIN; LOCK TABLE a IN ACCESS SHARE MODE"); err != nil {
			t.Fatal(err)
		}
	}
	retried := make(chan string, 9)
	m, err := migrate.New(migrate.Config{URL: url, FS: files, Logger: messages(retried), LockTimeout: 20_000_000})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	lock()
	done := make(chan error, 1)
	go func() {
		_, err := m.To(ctx, 2)
		done <- err
	}()
	select {
	case said := <-retried:
		if !strings.Contains(said, "waited too long for a lock") {
			t.Errorf("the log says %q", said)
		}
	case err := <-done:
		t.Fatalf("it was not tried again: %v", err)
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the lock was released: %v", err)
	}
	lock()
	_, err = m.Up(ctx)
	if err == nil || !strings.Contains(err.Error(), "00003_index.sql") || !strings.Contains(err.Error(), "the statements before this one stay") || strings.Contains(err.Error(), "rolled back") {
		t.Errorf("without a transaction: %v", err)
	}
	if len(retried) > 0 {
		t.Errorf("it was tried again: %s", <-retried)
	}
}

// TestMigrator_Killed ends the session of a migration, as a killed server or process
// does. The next run finishes it, or says what is left to do.
func TestMigrator_Killed(t *testing.T) {
	t.Parallel()
	const wait = "SELECT pg_sleep(60);"
	for name, tt := range map[string]struct{ annotation, want string }{
		"InTransaction": {"", ""},
		"NoTransaction": {"-- +goose NO TRANSACTION\n", `the statements before this one stay: undo them, or write them with IF NOT EXISTS`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			url := pgtest.EmptyURL(t)
			migration := func(sql string) fstest.MapFS {
				return fstest.MapFS{"00001_a.sql": {Data: []byte(tt.annotation + "-- +goose Up\nCREATE TABLE a ();\n" + sql + "\n")}}
			}
			done := make(chan error, 1)
			first := migrator(t, url, migration(wait))
			go func() {
				_, err := first.Up(ctx)
				done <- err
			}()
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(ctx)
			const kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
			for killed := 0; killed == 0; {
				if err := conn.QueryRow(ctx, kill).Scan(&killed); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-done; err == nil {
				t.Error("the killed run succeeded")
			}
			_, err = migrator(t, url, migration("")).Up(ctx)
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the next run: %v, want %q", err, tt.want)
			}
		})
	}
}

// warnings is a slog.Handler that sends the messages of warnings.
type warnings chan string

func (warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (w warnings) Handle(_ context.Context, r slog.Record) error {
	w <- r.Message
	return nil
}
func (w warnings) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w warnings) WithGroup(string) slog.Handler      { return w }

// messages is a logger whose warnings are sent.
func messages(to chan string) *slog.Logger { return slog.New(warnings(to)) }
