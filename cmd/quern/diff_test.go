package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/pgtest"
	"quern/postgres"
)

// diffBefore is the schema that the migrations in TestDiff create.
const diffBefore = `
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, mood mood NOT NULL DEFAULT 'sad', age smallint);
CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint NOT NULL, title varchar(20) NOT NULL);
CREATE INDEX posts_user_idx ON posts (user_id);
`

// TestDiff writes the migrations for a change. Each case then does what a user would do: it
// applies them and runs drift against the desired schema, which must find nothing.
func TestDiff(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change string   // from diffBefore to the desired schema
		files  int      // that are written
		want   []string // patterns of their text
		never  string   // a pattern that it does not have
		out    string   // a part of the output
		left   bool     // one difference remains
	}{
		"Nothing": {out: "The migrations give the desired schema.\n"},
		"Column": {"ALTER TABLE users ADD COLUMN mail text", 1, []string{
			`(?s)^-- a change: written by .quern diff.*-- \+goose Up\nALTER TABLE "public"."users" ADD COLUMN "mail" text[^;]*;\n\n-- \+goose Down\n.*DROP COLUMN "mail";\n$`,
		}, "NO TRANSACTION|Not undone", "00002_a_change.sql\n", false},
		"Index": {"CREATE INDEX posts_title_idx ON posts (title)", 1, []string{
			`(?s)INDEX_BUILD.*-- \+goose NO TRANSACTION\n-- \+goose Up\nCREATE INDEX CONCURRENTLY posts_title_idx .*\n\n-- \+goose Down\n.*DROP INDEX CONCURRENTLY "public"."posts_title_idx";`,
		}, "", "hazard: INDEX_BUILD", false},
		"IndexAndColumn": {"ALTER TABLE posts ADD COLUMN x int; CREATE INDEX posts_x_idx ON posts (x); CREATE INDEX posts_x2_idx ON posts (x, id)", 3, []string{
			`(?s)^[^+]*\+goose Up\nALTER TABLE "public"."posts" ADD COLUMN "x"`, `(?s)step 2.*NO TRANSACTION.*step 3.*NO TRANSACTION`,
		}, `CONCURRENTLY[^;]*;\nCREATE INDEX`, "", false},
		"NotNull": {"ALTER TABLE users ALTER COLUMN name SET NOT NULL", 3, []string{
			`(?s)CHECK\("name" IS NOT NULL\) NOT VALID;.*step 2.*VALIDATE CONSTRAINT .*step 3.*ALTER COLUMN "name" SET NOT NULL;`,
		}, "", "", false},
		"ForeignKey": {"ALTER TABLE posts ADD CONSTRAINT posts_user_fkey FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE", 2, []string{
			`(?s)NOT VALID;.*step 2.*VALIDATE CONSTRAINT`,
		}, "", "", false},
		"NewTable": {
			"CREATE TABLE notes (id bigint PRIMARY KEY, post_id bigint REFERENCES posts); CREATE INDEX notes_post_idx ON notes (post_id)", 1,
			[]string{"DROP TABLE"},
			"CONCURRENTLY|NO TRANSACTION", "", false,
		},
		"DropColumn":   {"ALTER TABLE users DROP COLUMN age", 1, []string{`-- DELETES_DATA: `}, "", "hazard: DELETES_DATA", false},
		"RenameColumn": {"ALTER TABLE users RENAME COLUMN age TO years", 1, []string{`-- RENAMED\? public.users.age is dropped and public.users.years is added`}, "", "RENAME COLUMN age TO years instead", false},
		"RenameTable":  {"ALTER TABLE posts RENAME TO articles", -1, []string{`-- RENAMED\? public.posts is dropped and public.articles is added`}, "", "", false},
		"Type":         {"ALTER TABLE users ALTER COLUMN age TYPE bigint", 1, []string{`ALTER COLUMN "age" SET DATA TYPE bigint`, "ACQUIRES_ACCESS_EXCLUSIVE_LOCK"}, "", "", false},
		"EnumValue":    {"ALTER TYPE mood ADD VALUE 'glad' BEFORE 'happy'", 1, []string{`ADD VALUE 'glad' BEFORE 'happy'`, `-- Not undone: enum public.mood, whose labels`}, "", "", false},
		"EnumValueUsed": {"ALTER TYPE mood ADD VALUE 'glad'; COMMIT; ALTER TABLE users ALTER COLUMN mood SET DEFAULT 'glad'", 2, []string{
			`(?s)ADD VALUE 'glad'.*step 2.*SET DEFAULT 'glad'`,
		}, "", "", false},
		"EnumValueDropped": {"ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", 0, nil, "", "not covered: enum public.mood, whose labels is 'sad', 'happy' and not 'blue', 'happy'\n", true},
		"Function": {
			"CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS 'BEGIN\n  RETURN 1;\nEND'", 1,
			[]string{`(?s)-- \+goose StatementBegin\nCREATE OR REPLACE FUNCTION public.one.*;\n-- \+goose StatementEnd\n`},
			"", "", false,
		},
		"Trigger":   {"CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER tr BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION t()", 1, []string{"CREATE TRIGGER tr"}, "", "", false},
		"View":      {"CREATE VIEW v AS SELECT id FROM users; CREATE VIEW v2 AS SELECT id FROM v; CREATE MATERIALIZED VIEW m AS SELECT id FROM v2", 1, nil, "", "", false},
		"Partition": {"CREATE TABLE e (id int, at date) PARTITION BY RANGE (at); CREATE TABLE e1 PARTITION OF e FOR VALUES FROM ('2025-01-01') TO ('2026-01-01'); CREATE INDEX e_at ON e (at)", -1, nil, "", "", false},
		// Kinds of objects that pg-schema-diff does not know.
		"Domain":     {"CREATE DOMAIN mail AS text CHECK (VALUE LIKE '%@%'); ALTER TABLE users ADD COLUMN mail mail", 1, []string{"(?s)CREATE DOMAIN public.mail.*ADD COLUMN"}, "", "", false},
		"Composite":  {"CREATE TYPE pair AS (a int, b text); CREATE TABLE pairs (p pair)", 1, []string{"CREATE TYPE public.pair AS"}, "", "", false},
		"Comment":    {"COMMENT ON COLUMN users.age IS 'in years; full ones'", 1, []string{`COMMENT ON COLUMN public.users.age IS 'in years; full ones';`, "COMMENT ON COLUMN public.users.age IS NULL;"}, "", "", false},
		"Rule":       {"CREATE RULE r AS ON DELETE TO users DO INSTEAD NOTHING", 1, []string{"CREATE RULE r"}, "", "", false},
		"Statistics": {"CREATE STATISTICS users_stats ON name, age FROM users", 1, []string{"CREATE STATISTICS public.users_stats"}, "", "", false},
		"Operator":   {"CREATE FUNCTION eq(int, text) RETURNS bool LANGUAGE sql AS 'SELECT true'; CREATE OPERATOR === (LEFTARG = int, RIGHTARG = text, FUNCTION = eq)", 1, nil, "", "not covered: operator public.===(integer,pg_catalog.text), which is missing\n", true},
		"Grant":      {"GRANT SELECT ON users TO PUBLIC", 1, []string{"GRANT SELECT ON"}, "", "", false},
		"Policy":     {"ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON users USING (name = current_user)", 1, []string{"CREATE POLICY"}, "", "", false},
		"Sequence":   {"CREATE SEQUENCE tickets INCREMENT BY 5; ALTER TABLE posts ADD COLUMN n serial", 1, []string{"CREATE SEQUENCE"}, "", "", false},
		"Schema":     {"CREATE SCHEMA shop; CREATE TABLE shop.t (id int PRIMARY KEY)", 1, []string{`CREATE SCHEMA`}, "", "", false},
		"Goose":      {"CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied bool NOT NULL, tstamp timestamp DEFAULT now())", 0, nil, "", "The migrations give the desired schema.\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeMigrations(t, map[string]string{"00001_before.sql": gooseFile(diffBefore, "DROP TABLE users, posts; DROP TYPE mood;")})
			desired := filepath.Join(t.TempDir(), "schema.sql")
			if err := os.WriteFile(desired, []byte(diffBefore+tt.change+";"), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, errs := quern("diff", "a change", "--to", desired, "--migrations", dir, "--scratch", pgtest.EmptyURL(t))
			if want := map[bool]int{true: exitFailure}[tt.left]; code != want {
				t.Fatalf("exit %d, want %d: %s%s", code, want, out, errs)
			}
			if !strings.Contains(out, tt.out) {
				t.Errorf("no %q in %s", tt.out, out)
			}
			text, files := newFiles(t, dir)
			if tt.files >= 0 && files != tt.files {
				t.Errorf("%d files, want %d:\n%s", files, tt.files, text)
			}
			for _, want := range tt.want {
				if !regexp.MustCompile(want).MatchString(text) {
					t.Errorf("no %s in\n%s", want, text)
				}
			}
			if tt.never != "" && regexp.MustCompile(tt.never).MatchString(text) {
				t.Errorf("%s in\n%s", tt.never, text)
			}
			if tt.left {
				return
			}
			url := pgtest.EmptyURL(t)
			for sql := range strings.SplitSeq(diffBefore+tt.change, "COMMIT;") {
				apply(t, url, sql)
			}
			if code, out, errs := quern("drift", "--comments", "--database", url, "--migrations", dir, "--scratch", pgtest.EmptyURL(t)); code != exitSuccess {
				t.Errorf("drift after diff: %s%s\n%s", out, errs, text)
			}
		})
	}
}

// newFiles returns the texts of all files but the first, and their number.
func newFiles(t *testing.T, dir string) (text string, n int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names[1:] {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text += string(b)
	}
	return text, len(names) - 1
}

// TestDiff_ToDatabase: a table altered by hand becomes a migration. The database itself is not
// changed, and roles that only it has are left to its operator.
func TestDiff_ToDatabase(t *testing.T) {
	t.Parallel()
	dir := writeMigrations(t, map[string]string{"20250102030405_before.sql": gooseFile(diffBefore, "DROP TABLE users, posts; DROP TYPE mood;")})
	live := pgtest.URL(t, os.DirFS(dir))
	apply(t, live,
		"ALTER TABLE users ADD COLUMN mail text", "CREATE INDEX posts_title_idx ON posts (title)",
		"DO $$ BEGIN CREATE ROLE quern_diff_operator; EXCEPTION WHEN duplicate_object THEN NULL; END $$", "GRANT SELECT ON users TO quern_diff_operator",
	)
	before, err := readSchemaForTest(t, live)
	if err != nil {
		t.Fatal(err)
	}
	// A server that quern starts by itself has no such role.
	code, out, errs := quern("diff", "keep", "--to-database", live, "--migrations", dir)
	if code != exitSuccess {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	text, files := newFiles(t, dir)
	if files != 2 || !strings.Contains(text, `ADD COLUMN "mail"`) || !strings.Contains(text, "CONCURRENTLY posts_title_idx") || strings.Contains(text, "quern_diff_operator") {
		t.Errorf("%d files:\n%s", files, text)
	}
	if !regexp.MustCompile(`/20\d{12}_keep\.sql\n`).MatchString(out) {
		t.Errorf("the numbers of the new files do not go on as those before: %s", out)
	}
	after, err := readSchemaForTest(t, live)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the live database was changed:\n%s", diff)
	}
	apply(t, live, "REVOKE SELECT ON users FROM quern_diff_operator")
}

// TestDiff_RuntimeTables: a desired schema that does not mention the runtime's tables does not drop them.
func TestDiff_RuntimeTables(t *testing.T) {
	t.Parallel()
	dir := writeMigrations(t, map[string]string{"00001_runtime.sql": postgres.Config{}.TablesMigration()})
	desired := filepath.Join(t.TempDir(), "schema.sql")
	if err := os.WriteFile(desired, []byte("\\restrict x\nCREATE TABLE a (id int);\n\\unrestrict x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := quern("diff", "add_a", "--to", desired, "--migrations", dir, "--scratch", pgtest.EmptyURL(t))
	text, files := newFiles(t, dir)
	if code != exitSuccess || files != 1 || strings.Contains(text, "commit_markers") || strings.Contains(text, "server_histories") {
		t.Errorf("exit %d: %s%s%s", code, out, errs, text)
	}
}

func TestDiff_Usage(t *testing.T) {
	t.Parallel()
	dir := writeMigrations(t, map[string]string{"00001_a.sql": gooseFile("CREATE TABLE a (id int);", "DROP TABLE a;")})
	bad := filepath.Join(t.TempDir(), "schema.sql")
	if err := os.WriteFile(bad, []byte("CREATE TABEL a (id int);"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, tt := range map[string]struct {
		code int
		args []string
	}{
		"no desired schema: name it with --to": {exitUsage, []string{"x"}},
		`"…": not a name: use letters`:         {exitUsage, []string{"…", "--to", bad}},
		"can't be used together":               {exitUsage, []string{"x", "--to", bad, "--to-database", "postgres://127.0.0.1:1/x"}},
		`syntax error at or near "TABEL"`:      {exitFailure, []string{"x", "--to", bad}},
	} {
		code, out, errs := quern(append([]string{"diff", "--migrations", dir, "--scratch", pgtest.EmptyURL(t)}, tt.args...)...)
		if code != tt.code || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d: %s%s", tt.args, code, out, errs)
		}
	}
	if _, files := newFiles(t, dir); files != 0 {
		t.Errorf("%d files were written", files)
	}
}

// TestDiff_Rehearsed: the files that diff writes for large tables break no rule of rehearse.
func TestDiff_Rehearsed(t *testing.T) {
	t.Parallel()
	dir := writeMigrations(t, map[string]string{"00001_before.sql": gooseFile(diffBefore, "DROP TABLE users, posts; DROP TYPE mood;")})
	desired := filepath.Join(t.TempDir(), "schema.sql")
	change := `
		CREATE INDEX posts_title_idx ON posts (title);
		ALTER TABLE posts ADD CONSTRAINT posts_title_key UNIQUE (title, id);
		ALTER TABLE posts ADD CONSTRAINT posts_user_fkey FOREIGN KEY (user_id) REFERENCES users;
		ALTER TABLE users ADD CONSTRAINT users_age_range CHECK (age > -1000000), ADD COLUMN mail text NOT NULL DEFAULT '', ALTER COLUMN age SET NOT NULL;`
	if err := os.WriteFile(desired, []byte(diffBefore+change), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := quern("diff", "a change", "--to", desired, "--migrations", dir, "--scratch", pgtest.EmptyURL(t)); code != exitSuccess {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	code, out, errs := quern("rehearse", "--from", "1", "--rows", "200", "--large", "200", "--max-lock", "200s", "--migrations", dir, "--scratch", pgtest.EmptyURL(t))
	if code != exitSuccess {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}
