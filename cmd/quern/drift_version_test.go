package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/cmd/quern/internal/catalog"
	"quern/pgtest"
	"quern/postgres"
)

// writeMigrations writes goose files, by name, and returns their folder.
func writeMigrations(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func gooseFile(up, down string) string {
	return "-- +goose Up\n" + up + "\n-- +goose Down\n" + down + "\n"
}

// TestDrift_Versions: the version in goose's table is printed first, and the database is
// compared with the migrations up to that version.
func TestDrift_Versions(t *testing.T) {
	t.Parallel()
	one := gooseFile("CREATE TABLE a (id int);", "DROP TABLE a;")
	two := gooseFile("CREATE TABLE b (id int);", "DROP TABLE b;")
	three := gooseFile("CREATE TABLE c (id int);", "DROP TABLE c;")
	both := writeMigrations(t, map[string]string{"00001_a.sql": one, "00002_b.sql": two})
	for name, tt := range map[string]struct {
		disk map[string]string
		by   []string
		code int
		want string // how the output begins
	}{
		"Same":    {map[string]string{"00001_a.sql": one, "00002_b.sql": two}, nil, exitSuccess, "-- No drift.\n"},
		"Pending": {map[string]string{"00001_a.sql": one, "00002_b.sql": two, "00003_c.sql": three}, nil, exitSuccess, "-- 1 migrations are pending: 00003_c.sql. "},
		"PendingAndDrift": {
			map[string]string{"00001_a.sql": one, "00002_b.sql": two, "00003_c.sql": three},
			[]string{"DROP TABLE b"},
			exitFailure, "-- 1 migrations are pending: 00003_c.sql. Compared with those that are applied.\n-- table public.b: missing in the database\n",
		},
		"NotOnDisk": {map[string]string{"00001_a.sql": one}, nil, exitFailure, "-- Version 2 is applied and has no file in "},
		"OutOfOrder": {
			map[string]string{"00001_a.sql": one, "00002_b.sql": two},
			[]string{"DELETE FROM goose_db_version WHERE version_id = 1", "DROP TABLE a"},
			exitSuccess, "-- 1 migrations are pending: 00001_a.sql. ",
		},
		"NotByGoose": {map[string]string{"00001_a.sql": one, "00002_b.sql": two}, []string{"DROP TABLE goose_db_version"}, exitSuccess, "-- goose has applied no migration here: compared with all of them.\n-- No drift.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t, os.DirFS(both))
			apply(t, url, tt.by...)
			code, out, errs := quern("drift", "--database", url, "--migrations", writeMigrations(t, tt.disk), "--scratch", pgtest.EmptyURL(t))
			if code != tt.code || !strings.HasPrefix(out, tt.want) {
				t.Errorf("exit %d: %s%s\nwant exit %d: %s", code, out, errs, tt.code, tt.want)
			}
		})
	}
}

func TestDrift_InvalidIndex(t *testing.T) {
	t.Parallel()
	dir := writeMigrations(t, map[string]string{"00001_a.sql": gooseFile("CREATE TABLE a (id int);\nCREATE UNIQUE INDEX a_id ON a (id);", "DROP TABLE a;")})
	url := pgtest.URL(t, os.DirFS(dir))
	apply(t, url, "DROP INDEX a_id", "INSERT INTO a VALUES (1), (1)")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, name := range []string{"a_id", "a_other"} {
		if _, err := conn.Exec(t.Context(), "CREATE UNIQUE INDEX CONCURRENTLY "+name+" ON a (id)"); err == nil {
			t.Fatal("a unique index on rows that are equal")
		}
	}
	code, out, _ := quern("drift", "--database", url, "--migrations", dir, "--scratch", pgtest.EmptyURL(t))
	for _, want := range []string{
		"-- index public.a_other: INVALID and not in the migrations", "DROP INDEX public.a_other;",
		"-- index public.a_id: INVALID: a CREATE INDEX CONCURRENTLY failed", "REINDEX INDEX CONCURRENTLY public.a_id;",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if code != exitFailure {
		t.Errorf("exit %d", code)
	}
}

// TestDrift_OwnServer: without --scratch, drift starts a server, creates the roles that the
// migrations name and the server lacks, and leaves nothing behind.
func TestDrift_OwnServer(t *testing.T) {
	t.Parallel()
	name := "quern_drift_" + strings.ToLower(t.Name()[:4])
	dir := writeMigrations(t, map[string]string{
		"00001_a.sql": gooseFile("CREATE TABLE a (id int);\nGRANT SELECT, INSERT ON a TO "+name+";", "DROP TABLE a;"),
	})
	empty := pgtest.EmptyURL(t)
	apply(t, empty, "DO $$ BEGIN CREATE ROLE "+name+"; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	url := pgtest.URL(t, os.DirFS(dir))
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), url)
		if err == nil {
			_, err = conn.Exec(context.Background(), "DROP OWNED BY "+name)
			conn.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
	args := []string{"drift", "--database", url, "--migrations", dir}
	if code, out, errs := quern(args...); code != exitSuccess {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	apply(t, url, "REVOKE INSERT ON a FROM "+name)
	if code, out, _ := quern(args...); code != exitFailure || !strings.Contains(out, "GRANT INSERT ON TABLE public.a TO "+name+";\n") {
		t.Errorf("exit %d without a grant: %s", code, out)
	}
}

// TestDrift_Projects compares the schema of a project without Quern's conventions, and that of
// the example.
func TestDrift_Projects(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"../../migrations", "../../examples/bookshop/migrations"} {
		url := pgtest.URL(t, os.DirFS(dir))
		if code, out, errs := quern("drift", "--database", url, "--migrations", dir, "--scratch", pgtest.EmptyURL(t)); code != exitSuccess || out != "-- No drift.\n" {
			t.Errorf("%s: exit %d: %s%s", dir, code, out, errs)
		}
	}
}

// TestDrift_RuntimeTables: tables of the runtime that were created by hand are expected. If a
// migration creates them, they must exist.
func TestDrift_RuntimeTables(t *testing.T) {
	t.Parallel()
	dir := writeMigrations(t, map[string]string{"00001_a.sql": gooseFile("CREATE TABLE a (id int);", "DROP TABLE a;")})
	url := pgtest.URL(t, os.DirFS(dir))
	up, _, _ := strings.Cut(postgres.Config{}.TablesMigration(), "-- +goose Down")
	apply(t, url, up)
	args := []string{"drift", "--database", url, "--scratch", pgtest.EmptyURL(t), "--migrations"}
	code, out, errs := quern(append(args, dir)...)
	if code != exitSuccess || !strings.Contains(out, "-- table public.commit_markers: the runtime's own") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	with := writeMigrations(t, map[string]string{
		"00001_a.sql": gooseFile("CREATE TABLE a (id int);", "DROP TABLE a;"), "00002_runtime.sql": postgres.Config{}.TablesMigration(),
	})
	apply(t, url, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (2, true)", "DROP TABLE commit_markers")
	code, out, _ = quern(append(args, with)...)
	if code != exitFailure || !strings.Contains(out, "-- table public.commit_markers: missing in the database: without it a COMMIT whose answer is lost") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// TestDrift_Statements: drift prints the missing grants that the statements of the registry
// need.
func TestDrift_Statements(t *testing.T) {
	t.Parallel()
	dir := "../../examples/bookshop/migrations"
	url := pgtest.URL(t, os.DirFS(dir))
	const role = "quern_drift_reader"
	apply(t, url, "DO $$ BEGIN CREATE ROLE "+role+"; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	args := []string{"drift", "--database", url, "--migrations", dir, "--scratch", pgtest.EmptyURL(t), "--statements", "../../examples/bookshop/db/statements.json"}
	if code, out, errs := quern(args...); code != exitSuccess {
		t.Errorf("as the owner: exit %d: %s%s", code, out, errs)
	}
	code, out, errs := quern(append(args, "--role", role)...)
	if code != exitFailure || !strings.Contains(out, "GRANT USAGE ON SCHEMA catalog TO "+role+";\n") {
		t.Errorf("as a role without grants: exit %d: %s%s", code, out, errs)
	}
	if code, _, errs := quern(append(args, "--role", "nobody_of_that_name")...); code != exitFailure || !strings.Contains(errs, "set role nobody_of_that_name: ") {
		t.Errorf("as no role: exit %d: %s", code, errs)
	}
}

func TestDrift_Usage(t *testing.T) {
	t.Parallel()
	dir := writeMigrations(t, map[string]string{"00001_a.sql": gooseFile("SELECT 1;", "")})
	for want, args := range map[string][]string{
		"no database: name it with": {"--migrations", dir, "--database="},
		"has no .sql file":          {"--migrations", t.TempDir(), "--database", "postgres://127.0.0.1:1/x"},
		"no such file or directory": {"--migrations", filepath.Join(dir, "nowhere"), "--database", "postgres://127.0.0.1:1/x"},
	} {
		if code, _, errs := quern(append([]string{"drift"}, args...)...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
	code, _, errs := quern("drift", "--migrations", dir, "--database", "postgres://ann:secret@127.0.0.1:1/x")
	if code != exitFailure || strings.Contains(errs, "secret") || !strings.Contains(errs, "127.0.0.1") {
		t.Errorf("no server: exit %d: %s", code, errs)
	}
}

// readSchemaForTest reads the whole schema, so that a test can check that quern has left nothing
// in it.
func readSchemaForTest(t *testing.T, url string) (map[string]*catalog.Object, error) {
	t.Helper()
	s, err := readSchema(t.Context(), url, catalog.Options{Comments: true})
	if err != nil {
		return nil, err
	}
	return s.Objects, nil
}
