package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"quern/pgtest"
)

// copyRepository copies this repository. It also works in the copy that `make mutate` makes, which
// is not under git.
func copyRepository(t *testing.T) folder {
	t.Helper()
	root, f := mustAbs(t, "../.."), folder{t, t.TempDir()}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", ".data", "bin", "node_modules"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		to := filepath.Join(f.dir, strings.TrimPrefix(name, root))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, text, info.Mode())
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestScaffold adds comments to the example service, and tables of other kinds. The
// statements pass the checks of TestStatements, and the service's own tests still pass.
func TestScaffold(t *testing.T) {
	t.Parallel()
	needSQLC(t)
	f := copyRepository(t)
	f.addMigration("testdata/comments.sql", "create_comments")
	f.addMigration("testdata/odd.sql", "create_odd")
	// These are the changes to be made by hand for comments, at most 30 lines.
	n, notes := f.scaffold("s.registerPosts()", "comments")
	if n != 1 {
		t.Errorf("%d lines remain to be added by hand, want 1", n)
	}
	if want := "comments.reply_to has no index, so there is no list by it: CREATE INDEX ON comments (reply_to, id)\n"; notes != want {
		t.Errorf("the notes are %q, want %q", notes, want)
	}
	// The bounds of the requests are those of the table. One of them depends on another column,
	// so it is none of the request's.
	text := f.read("internal/api/comment.go")
	for tag, want := range map[string]int{
		`json:"body" minLength:"1" maxLength:"2000" example`: 1, `json:"body,omitzero" minLength:"1" maxLength:"2000" example`: 1,
		`json:"edited_by,omitzero" minLength:"1" maxLength:"40" example`: 2,
		`json:"stars,omitzero" minimum:"1" maximum:"5" example`:          2,
		`json:"rank,omitzero" example`:                                   2,
	} {
		if got := strings.Count(text, tag); got != want {
			t.Errorf("the tag %s is in comment.go %d times, want %d", tag, got, want)
		}
	}
	if want := "is s.registerComments() in newServer, internal/api/api.go?"; !strings.Contains(f.read("internal/api/comment_test.go"), want) {
		t.Errorf("the test of comments does not ask: %s", want)
	}
	f.scaffold("s.registerPosts()", "catalog.books", "catalog.reviews", "parcels", "readings", "people")
	if out := f.run("go", "tool", "-modfile=tools/go.mod", "gofumpt", "-modpath", runtimeModule(), "-l", "internal"); out != "" {
		t.Errorf("not formatted: %s", out)
	}
	f.run("go", "vet", "./internal/api", "./internal/db")
	f.run("go", "tool", "-modfile=tools/go.mod", "staticcheck", "./internal/api")
	f.run("go", "test", ".")
	f.run("go", "test", "./internal/store", "-run", "TestStatements|TestPlans")
	f.run("go", "test", "./internal/api", "-run", "Comment|Book|Review|Parcel|Reading|People|Limits|OpenAPI|TestIdempotencyKey_Documented")
}

// refused are tables for which no API can be generated.
const refused = `-- +goose Up
CREATE TABLE keyless (a integer, b integer);
CREATE TABLE lonely (a integer PRIMARY KEY);
CREATE TABLE visits (day date PRIMARY KEY, n integer NOT NULL);
CREATE TABLE fines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer NOT NULL);
CREATE VIEW totals AS SELECT 1 AS id;
-- +goose Down
`

func TestScaffold_Refused(t *testing.T) {
	t.Parallel()
	f := folder{t, t.TempDir()}
	for _, name := range []string{"migrations", "queries", "internal/api"} {
		if err := os.MkdirAll(filepath.Join(f.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f.write("migrations/00001_create.sql", refused)
	f.write("queries/taken.sql", "")
	f.write("internal/api/other.go", "package api\n\ntype Widget struct{}\n\nvar gadgets int\n")
	url := pgtest.URL(t, fs.FS(fstest.MapFS{"00001_create.sql": {Data: []byte(refused)}}))
	for _, test := range []struct{ args, want string }{
		{"--table nothing", "the migrations create no such table: write its migration first"},
		{"--table commit_markers", "table commit_markers: it belongs to the runtime and has no API"},
		{"--table quern.server_histories", "table quern.server_histories: it belongs to the runtime and has no API"},
		{"--table goose_db_version --noun version", "table goose_db_version: it belongs to the runtime and has no API"},
		{"--table migration_history", "table migration_history: it belongs to the runtime and has no API"},
		{"--table keyless", "has no primary key: add one"},
		{"--table lonely", "has one column"},
		{"--table totals", "is no table but a view"},
		{"--table takens", "file queries/taken.sql: exists already: remove it, pass --force to replace it, or choose another name with --noun"},
		{"--table widgets", "Widget is already declared in internal/api/other.go: choose another name with --noun"},
		{"--table gadgets", "gadgets is already declared in internal/api/other.go"},
		{"--table fines --noun type", "a word of Go"},
		{"--table fines --queries sql", "folder sql: does not exist in the project"},
		{"--table fines --generate false", "false: exit status 1"},
		{"--table fines --generate true", "internal/db has no queries"},
	} {
		args := append([]string{"scaffold", "--dir", f.dir, "--database", url}, strings.Fields(test.args)...)
		code, out, errs := quern(args...)
		if code != exitFailure || out != "" || !strings.HasPrefix(errs, "quern scaffold: ") || !strings.Contains(errs, test.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d, %q, want %q", test.args, code, errs, test.want)
		}
	}
	for name, want := range map[string]int{"queries": 1, "internal/api": 1} {
		if entries, err := os.ReadDir(filepath.Join(f.dir, name)); err != nil || len(entries) != want {
			t.Errorf("%v are left in %s, %v", entries, name, err)
		}
	}
	if code, _, errs := quern("scaffold", "--table", "x", "--dir", f.dir, "--database", "postgres://u:secret@h:bad/d"); code != exitFailure || strings.Contains(errs, "secret") {
		t.Errorf("%d, %s", code, errs)
	}
}

// A table with a type that cannot be served is refused, with a hint what to change.
func TestScaffold_Types(t *testing.T) {
	t.Parallel()
	needSQLC(t)
	f := newProject(t)
	f.write("migrations/00003_create.sql", refused)
	f.replace("sqlc.yaml", "emit_result_struct_pointers: true", "emit_result_struct_pointers: false")
	url := pgtest.URL(t, os.DirFS(filepath.Join(f.dir, "migrations")))
	run := func(table, want string) {
		t.Helper()
		code, _, errs := quern("scaffold", "--dir", f.dir, "--table", table, "--database", url, "--generate", `"$SQLC" generate`)
		if code != exitFailure || !strings.Contains(errs, want) {
			t.Errorf("%s: %d, %q, want %q", table, code, errs, want)
		}
	}
	run("fines", "set emit_result_struct_pointers: true in sqlc.yaml")
	f.replace("sqlc.yaml", "emit_result_struct_pointers: false", "emit_result_struct_pointers: true")
	run("visits", "key column day is a pgtype.Date in Go, which cannot be part of a path: use a key of type bigint, integer, text or uuid")
	// The written files are gone, including the generated code.
	f.run("go", "vet", "./...")
	if text := f.read("internal/db/registry.go"); strings.Contains(text, "Visit") || strings.Contains(text, "Fine") {
		t.Error("statements of a table that was refused are left in internal/db")
	}
}
