package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/cmd/quern/internal/rehearse"
	"quern/pgtest"
)

// rehearseBase is the schema before the rehearsed migration. All tables are large.
const rehearseBase = `-- +goose Up
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, age int, code varchar(10), amount numeric(8, 2), mood mood NOT NULL DEFAULT 'sad'
);
CREATE INDEX users_code_idx ON users (code);
CREATE TABLE posts (id bigint NOT NULL, user_id bigint NOT NULL REFERENCES users, title varchar(20) NOT NULL, editor_id bigint);
CREATE INDEX posts_title_idx ON posts (title);
CREATE UNIQUE INDEX posts_id_idx ON posts (id);
CREATE TABLE events (id bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 (id bigint NOT NULL, at date NOT NULL);
-- +goose Down
DROP TABLE users, posts, events, events_2026; DROP TYPE mood;
`

const noTx = "-- +goose NO TRANSACTION\n"

// rehearsed are migrations, their locks, and the rules that they break.
var rehearsed = map[string]struct {
	head     string // above Up
	up, down string
	lock     string   // a line of the output
	rules    []string // of the findings
	says     string   // a pattern of the output
}{
	"Column":              {"", "ALTER TABLE users ADD COLUMN x int;", "ALTER TABLE users DROP COLUMN x;", "ACCESS EXCLUSIVE: public.users", nil, "Down undoes it"},
	"ColumnConstant":      {"", "ALTER TABLE users ADD COLUMN x int NOT NULL DEFAULT 3;", "ALTER TABLE users DROP COLUMN x;", "ACCESS EXCLUSIVE: public.users", nil, ""},
	"ColumnStable":        {"", "ALTER TABLE users ADD COLUMN x timestamptz NOT NULL DEFAULT now();", "ALTER TABLE users DROP COLUMN x;", "", nil, ""},
	"ColumnVolatile":      {"", "ALTER TABLE users ADD COLUMN x float DEFAULT random();", "ALTER TABLE users DROP COLUMN x;", "rewritten: public.users", []string{"rewrite"}, "add the column without a default"},
	"ColumnIdentity":      {"", "ALTER TABLE posts ADD COLUMN x bigint GENERATED ALWAYS AS IDENTITY;", "ALTER TABLE posts DROP COLUMN x;", "", []string{"rewrite"}, "make it an identity"},
	"ColumnGenerated":     {"", "ALTER TABLE users ADD COLUMN x int GENERATED ALWAYS AS (age + 1) STORED;", "ALTER TABLE users DROP COLUMN x;", "", []string{"rewrite"}, "by a trigger"},
	"ColumnDropped":       {"", "ALTER TABLE users DROP COLUMN age;", "ALTER TABLE users ADD COLUMN age int;", "ACCESS EXCLUSIVE: public.users", nil, ""},
	"ColumnRenamed":       {"", "ALTER TABLE users RENAME COLUMN age TO years;", "ALTER TABLE users RENAME COLUMN years TO age;", "ACCESS EXCLUSIVE: public.users", nil, ""},
	"TypeWider":           {"", "ALTER TABLE users ALTER COLUMN age TYPE bigint;", "ALTER TABLE users ALTER COLUMN age TYPE int;", "rewritten: public.users", []string{"rewrite"}, "add a column of the new type"},
	"TypeLonger":          {"", "ALTER TABLE users ALTER COLUMN code TYPE varchar(20);", "ALTER TABLE users ALTER COLUMN code TYPE varchar(10);", "ACCESS EXCLUSIVE: public.users", nil, ""},
	"TypeText":            {"", "ALTER TABLE users ALTER COLUMN code TYPE text;", "ALTER TABLE users ALTER COLUMN code TYPE varchar(10);", "", nil, ""},
	"TypeShorter":         {"", "ALTER TABLE posts ALTER COLUMN title TYPE varchar(19);", "ALTER TABLE posts ALTER COLUMN title TYPE varchar(20);", "", []string{"rewrite"}, ""},
	"TypeNumericLonger":   {"", "ALTER TABLE users ALTER COLUMN amount TYPE numeric(12, 2);", "ALTER TABLE users ALTER COLUMN amount TYPE numeric(8, 2);", "", nil, ""},
	"TypeCollation":       {"", `ALTER TABLE users ALTER COLUMN code TYPE varchar(10) COLLATE "POSIX";`, `ALTER TABLE users ALTER COLUMN code TYPE varchar(10);`, "", []string{"index"}, "builds public.users_code_idx under ACCESS EXCLUSIVE"},
	"NotNull":             {"", "ALTER TABLE posts ALTER COLUMN editor_id SET NOT NULL;", "ALTER TABLE posts ALTER COLUMN editor_id DROP NOT NULL;", "ACCESS EXCLUSIVE: public.posts", []string{"scan"}, `measured on empty tables|CHECK \(… IS NOT NULL\) NOT VALID`},
	"NotNullChecked":      {"", "ALTER TABLE posts ADD CONSTRAINT c CHECK (title IS NOT NULL) NOT VALID;", "ALTER TABLE posts DROP CONSTRAINT c;", "ACCESS EXCLUSIVE: public.posts", nil, ""},
	"Check":               {"", "ALTER TABLE users ADD CONSTRAINT c CHECK (age > -1000);", "ALTER TABLE users DROP CONSTRAINT c;", "ACCESS EXCLUSIVE: public.users", []string{"scan"}, "NOT VALID, and VALIDATE CONSTRAINT in a later migration"},
	"CheckNotValid":       {"", "ALTER TABLE users ADD CONSTRAINT c CHECK (age > -1000) NOT VALID;", "ALTER TABLE users DROP CONSTRAINT c;", "", nil, ""},
	"CheckValidatedSoon":  {"", "ALTER TABLE users ADD CONSTRAINT c CHECK (age > -1000) NOT VALID;\nALTER TABLE users VALIDATE CONSTRAINT c;", "ALTER TABLE users DROP CONSTRAINT c;", "", []string{"scan"}, "put VALIDATE CONSTRAINT into a migration after"},
	"CheckValidatedApart": {noTx, "ALTER TABLE users ADD CONSTRAINT c CHECK (age > -1000) NOT VALID;\nALTER TABLE users VALIDATE CONSTRAINT c;", "ALTER TABLE users DROP CONSTRAINT c;", "SHARE UPDATE EXCLUSIVE: public.users", nil, ""},
	"CheckImpossible":     {"", "ALTER TABLE users ADD CONSTRAINT c CHECK (name = 'nobody');", "ALTER TABLE users DROP CONSTRAINT c;", "", []string{"scan"}, "note: measured on empty tables, because the generated rows break it"},
	"ForeignKey":          {"", "ALTER TABLE posts ADD CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users;", "ALTER TABLE posts DROP CONSTRAINT f;", "SHARE ROW EXCLUSIVE: public.posts, public.users", []string{"scan"}, "NOT VALID"},
	"ForeignKeyNotValid":  {"", "ALTER TABLE posts ADD CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users NOT VALID;", "ALTER TABLE posts DROP CONSTRAINT f;", "SHARE ROW EXCLUSIVE: public.posts, public.users", nil, ""},
	"Index":               {"", "CREATE INDEX i ON users (name);", "DROP INDEX i;", "SHARE: public.users", []string{"index"}, "CREATE INDEX CONCURRENTLY in a migration with -- .goose NO TRANSACTION"},
	"IndexConcurrently":   {noTx, "CREATE INDEX CONCURRENTLY i ON users (name);", "DROP INDEX CONCURRENTLY i;", "SHARE UPDATE EXCLUSIVE: public.users", nil, ""},
	"IndexDropped":        {noTx, "DROP INDEX CONCURRENTLY users_code_idx;", "CREATE INDEX CONCURRENTLY users_code_idx ON users (code);", "SHARE UPDATE EXCLUSIVE: public.users", nil, ""},
	"Unique":              {"", "ALTER TABLE users ADD CONSTRAINT u UNIQUE (id, name);", "ALTER TABLE users DROP CONSTRAINT u;", "ACCESS EXCLUSIVE: public.users", []string{"index"}, "ADD CONSTRAINT … USING INDEX"},
	"UniqueByIndex":       {"", "ALTER TABLE posts ADD CONSTRAINT posts_id_key UNIQUE USING INDEX posts_id_idx;", "ALTER TABLE posts DROP CONSTRAINT posts_id_key;\nCREATE UNIQUE INDEX posts_id_idx ON posts (id);", "", nil, ""},
	"NewTable":            {"", "CREATE TABLE notes (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users);\nCREATE INDEX notes_user ON notes (user_id);\nALTER TABLE notes ADD CONSTRAINT c CHECK (id > 0);", "DROP TABLE notes;", "SHARE ROW EXCLUSIVE: public.users", nil, ""},
	"Attach":              {"", "ALTER TABLE events ATTACH PARTITION events_2026 FOR VALUES FROM ('2020-01-01') TO ('2025-01-01');", "ALTER TABLE events DETACH PARTITION events_2026;", "", []string{"scan"}, "CHECK constraint equal to the bounds"},
	"BackfillUnderLock":   {"", "ALTER TABLE users ADD COLUMN x int;\nUPDATE users SET x = 1;", "ALTER TABLE users DROP COLUMN x;", "", []string{"scan"}, "put it into a separate migration"},
	"Backfill":            {"", "UPDATE users SET age = 1;", "SELECT 1;", "ROW EXCLUSIVE: public.users", nil, ""},
	"EnumValue":           {"", "ALTER TYPE mood ADD VALUE 'glad';", "SELECT 1;", "", nil, ""},
	"LockTooLong":         {"", "ALTER TABLE users ADD COLUMN x int;\nSELECT pg_sleep(0.3);", "ALTER TABLE users DROP COLUMN x;", "", []string{"lock", "lock"}, "holds ACCESS EXCLUSIVE on public.users .* for about"},
	"LockNotHeld":         {noTx, "ALTER TABLE users ADD COLUMN x int;\nSELECT pg_sleep(0.3);", "ALTER TABLE users DROP COLUMN x;", "", nil, ""},
	"VacuumFull":          {noTx, "VACUUM FULL users;", "SELECT 1;", "ACCESS EXCLUSIVE: public.users", []string{"rewrite"}, "pg_repack"},
	"Vacuum":              {noTx, "VACUUM users;", "SELECT 1;", "SHARE UPDATE EXCLUSIVE: public.users", nil, ""},
	"Reindex":             {"", "REINDEX INDEX users_code_idx;", "SELECT 1;", "SHARE: public.users", []string{"index"}, "REINDEX … CONCURRENTLY"},
	"ReindexConcurrently": {noTx, "REINDEX INDEX CONCURRENTLY users_code_idx;", "SELECT 1;", "SHARE UPDATE EXCLUSIVE: public.users", nil, ""},
	"DetachConcurrently":  {noTx, "ALTER TABLE events DETACH PARTITION events_2025 CONCURRENTLY;", "ALTER TABLE events ATTACH PARTITION events_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');\nALTER TABLE events_2025 DROP CONSTRAINT events_2025_at_check;", "ACCESS EXCLUSIVE: public.events_2025", nil, ""},
	"Truncate":            {"", "TRUNCATE posts;", "SELECT 1;", "ACCESS EXCLUSIVE: public.posts", nil, ""},
	"OwnTransaction":      {noTx, "BEGIN;\nALTER TABLE users ADD COLUMN x int;\nCOMMIT;", "ALTER TABLE users DROP COLUMN x;", "ACCESS EXCLUSIVE: public.users", nil, ""},
	"Function":            {"", "-- +goose StatementBegin\nDO $$ BEGIN\n  ALTER TABLE users ALTER COLUMN age TYPE bigint;\nEND $$;\n-- +goose StatementEnd", "ALTER TABLE users ALTER COLUMN age TYPE int;", "", []string{"rewrite"}, ""},
	"NoDown":              {"", "ALTER TABLE users ADD COLUMN x int;", "", "", []string{"down"}, "Down does not bring the schema back: column public.users.x, which should not be there"},
	"HalfDown":            {"", "ALTER TABLE users ADD COLUMN x int, ADD COLUMN y int;", "ALTER TABLE users DROP COLUMN x;", "", []string{"down"}, "public.users.y"},
	"OtherDown":           {"", "ALTER TABLE users DROP COLUMN age;", "ALTER TABLE users ADD COLUMN age bigint;", "", []string{"down"}, "whose type is bigint and not integer"},
	"DownFails":           {"", "ALTER TABLE users ADD COLUMN x int;", "ALTER TABLE users DROP COLUMN z;", "", []string{"down"}, "Down fails: line"},
	"UpOnce":              {"", "CREATE TABLE IF NOT EXISTS n (id int);\nCOMMENT ON TABLE n IS 'x';", "DROP TABLE n;", "", nil, ""},
	"Allowed":             {"", "-- quern:allow rewrite: a hundred rows\nALTER TABLE users ALTER COLUMN age TYPE bigint;", "ALTER TABLE users ALTER COLUMN age TYPE int;", "", nil, "allowed .rewrite.: a hundred rows: rewrites public.users"},
	"AllowedOtherRule":    {"", "-- quern:allow scan: a hundred rows\nALTER TABLE users ALTER COLUMN age TYPE bigint;", "ALTER TABLE users ALTER COLUMN age TYPE int;", "", []string{"rewrite"}, ""},
	"AllowedNextOnly":     {"", "-- quern:allow rewrite: this one\nALTER TABLE users ADD COLUMN x int;\nALTER TABLE users ALTER COLUMN age TYPE bigint;", "ALTER TABLE users ALTER COLUMN age TYPE int;\nALTER TABLE users DROP COLUMN x;", "", []string{"rewrite"}, ""},
	"AllowedDown":         {"-- quern:allow down: the rows are gone\n", "ALTER TABLE users DROP COLUMN age;", "", "", nil, "allowed .down.: the rows are gone"},
	"Fails":               {"", "ALTER TABLE nowhere ADD COLUMN x int;", "", "", []string{"FAILS"}, `FAILS: line 2: ERROR: relation "nowhere" does not exist`},
	"FailsInTransaction":  {"", "CREATE INDEX CONCURRENTLY i ON users (name);", "DROP INDEX i;", "", []string{"FAILS"}, "cannot run inside a transaction block"},
}

func TestRehearse(t *testing.T) {
	t.Parallel()
	finding := regexp.MustCompile(`(?m)^ +(?:! (\w+):|(FAILS):)`)
	for name, tt := range rehearsed {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeMigrations(t, map[string]string{
				"00001_base.sql": rehearseBase, "00002_change.sql": tt.head + "-- +goose Up\n" + tt.up + "\n-- +goose Down\n" + tt.down + "\n",
			})
			limit := "200s" // long, because the speed of the machine is not tested
			if strings.HasPrefix(name, "Lock") {
				limit = "250ms"
			}
			code, out, errs := quern("rehearse", "--from", "1", "--rows", "300", "--large", "300", "--max-lock", limit, "--migrations", dir, "--scratch", pgtest.EmptyURL(t))
			var rules []string
			for _, m := range finding.FindAllStringSubmatch(out, -1) {
				rules = append(rules, m[1]+m[2])
			}
			if got, want := strings.Join(rules, " "), strings.Join(tt.rules, " "); got != want && !(strings.HasPrefix(name, "LockToo") && rules != nil) {
				t.Errorf("findings %q, want %q:\n%s%s", got, want, out, errs)
			}
			if want := map[bool]int{true: exitFailure}[len(tt.rules) > 0]; code != want {
				t.Errorf("exit %d, want %d:\n%s%s", code, want, out, errs)
			}
			if tt.lock != "" && !strings.Contains(out, "        "+tt.lock+"\n") {
				t.Errorf("no %q in\n%s", tt.lock, out)
			}
			if !regexp.MustCompile(tt.says).MatchString(out) {
				t.Errorf("no %q in\n%s", tt.says, out)
			}
		})
	}
}

// TestRehearse_Statistics: with the statistics of a live database only its large tables count, the migrations
// pending there are rehearsed, and it is not changed.
func TestRehearse_Statistics(t *testing.T) {
	t.Parallel()
	base := map[string]string{"00001_base.sql": rehearseBase}
	live := pgtest.URL(t, os.DirFS(writeMigrations(t, base)))
	apply(t, live, "INSERT INTO users (name) SELECT 'u' || g FROM generate_series(1, 2000) AS g",
		"INSERT INTO posts SELECT g, 1, 't' FROM generate_series(1, 10) AS g", "ANALYZE")
	for name, tt := range map[string]struct {
		up   string
		code int
		says string
	}{
		"Small": {"ALTER TABLE posts ALTER COLUMN title TYPE char(30);", exitSuccess, "rewritten: public.posts"},
		"Large": {"ALTER TABLE users ALTER COLUMN age TYPE bigint;", exitFailure, `rewrites public.users \(2000 rows\)`},
	} {
		dir := writeMigrations(t, map[string]string{"00001_base.sql": rehearseBase, "00002_change.sql": "-- quern:allow down: not here\n-- +goose Up\n" + tt.up + "\n-- +goose Down\n"})
		code, out, errs := quern("rehearse", "--database", live, "--rows", "100", "--large", "1000", "--migrations", dir, "--scratch", pgtest.EmptyURL(t))
		if code != tt.code || !regexp.MustCompile(tt.says).MatchString(out) {
			t.Errorf("%s: exit %d: %s%s", name, code, out, errs)
		}
	}
	code, out, errs := quern("rehearse", "--database", live, "--migrations", writeMigrations(t, base), "--scratch", pgtest.EmptyURL(t))
	if code != exitSuccess || out != "No migration is pending.\n" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	conn, err := pgx.Connect(t.Context(), live)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM users) + (SELECT max(version_id) FROM goose_db_version)").Scan(&n); err != nil || n != 2001 {
		t.Errorf("the live database was changed: %d, %v", n, err)
	}
}

func TestRehearse_Usage(t *testing.T) {
	t.Parallel()
	dir := writeMigrations(t, map[string]string{"00001_a.sql": gooseFile("SELECT 1;", "")})
	for want, tt := range map[string]struct {
		code int
		file string
		args []string
	}{
		"the pending migrations are unknown: pass --database URL": {exitUsage, "", []string{"--migrations", dir, "--database="}},
		"has no .sql file": {exitUsage, "", []string{"--migrations", t.TempDir(), "--from", "0"}},
		"line 2: quern:allow speed: not a rule: write":      {exitFailure, "-- +goose Up\n-- quern:allow speed: x\nSELECT 1;\n", nil},
		"line 2: quern:allow lock: no reason: write":        {exitFailure, "-- +goose Up\n-- quern:allow lock\nSELECT 1;\n", nil},
		"00001_a.sql: no line `-- +goose Up`":               {exitFailure, "SELECT 1;\n", nil},
		"line 2: the statement has no semicolon at its end": {exitFailure, "-- +goose Up\nSELECT 1\n", nil},
	} {
		args := tt.args
		if args == nil {
			args = []string{"--from", "0", "--migrations", writeMigrations(t, map[string]string{"00001_a.sql": tt.file})}
		}
		if code, out, errs := quern(append([]string{"rehearse"}, args...)...); code != tt.code || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d: %s%s, want %s", args, code, out, errs, want)
		}
	}
}

// TestRehearse_Statements: files are split into statements in the same way as by goose.
func TestRehearse_Statements(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"../../migrations", "../../examples/bookshop/migrations", "../../postgres/testdata/migrations"} {
		files, err := rehearse.Files(os.DirFS(dir), 0)
		if err != nil {
			t.Fatal(err)
		}
		want := gooseStatements(t, dir)
		var got []string
		for _, f := range files {
			for _, s := range f.Up {
				got = append(got, s.SQL)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d statements, goose sends %d", dir, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: %q, goose sends %q", dir, got[i], want[i])
			}
		}
	}
}
