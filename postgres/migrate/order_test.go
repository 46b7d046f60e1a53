package migrate_test

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3/lock"

	"quern/pgtest"
	"quern/postgres/migrate"
)

func TestMigrator_OutOfOrder(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	table := func(name string) *fstest.MapFile {
		return file("CREATE TABLE "+name+" (id int);", "DROP TABLE "+name+";")
	}
	files := fstest.MapFS{"00001_a.sql": table("a"), "00003_c.sql": table("c")}
	if _, err := migrator(t, address, files).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	files["00002_b.sql"], files["00004_d.sql"] = table("b"), table("d")
	m := migrator(t, address, files)
	for name, act := range map[string]func() ([]migrate.Result, error){
		"up": func() ([]migrate.Result, error) { return m.Up(t.Context()) },
		"to": func() ([]migrate.Result, error) { return m.To(t.Context(), 4) },
	} {
		results, err := act()
		if err == nil || len(results) > 0 || !strings.Contains(err.Error(), "00002_b.sql: out of order: version 3 is already applied: ") || !strings.Contains(err.Error(), "--allow-out-of-order") {
			t.Errorf("%s: %v, %v; want the file and the flag", name, results, err)
		}
	}
	status, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range status {
		if s.OutOfOrder {
			out = append(out, s.File)
		}
	}
	if diff := cmp.Diff([]string{"00002_b.sql"}, out); diff != "" {
		t.Errorf("out of order (-want +got):\n%s", diff)
	}
	free, err := migrate.New(migrate.Config{URL: address, FS: files, Logger: quiet, AllowOutOfOrder: true})
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	results, err := free.Up(t.Context())
	if diff := cmp.Diff([]string{"up 00002_b.sql", "up 00004_d.sql"}, steps(results)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// Any other error does not mention the order.
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "DELETE FROM goose_db_version WHERE version_id = 4"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Up(t.Context()); err == nil || strings.Contains(err.Error(), "out of order") || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a table that exists: %v", err)
	}
}

// goose does not go back past a migration that was applied late.
func TestMigrator_BackOutOfOrder(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	all := fstest.MapFS{"00001_a.sql": file("SELECT 1;", "SELECT 1;"), "00003_c.sql": file("SELECT 1;", "SELECT 1;")}
	if _, err := migrator(t, address, all).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	all["00002_b.sql"] = file("SELECT 1;", "SELECT 1;")
	m, err := migrate.New(migrate.Config{URL: address, FS: all, Logger: quiet, AllowOutOfOrder: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.To(t.Context(), 2); err == nil || !strings.Contains(err.Error(), "version 3 is still applied") {
		t.Errorf("to 2, with 3 applied before it: %v", err)
	}
}

// Versions are compared as numbers, with or without leading zeros.
func TestMigrator_Unpadded(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for _, name := range []string{"1_a.sql", "00002_b.sql", "9_c.sql", "10_d.sql", "0011_e.sql"} {
		files[name] = file("SELECT 1;", "SELECT 1;")
	}
	m := migrator(t, pgtest.EmptyURL(t), files)
	results, err := m.To(t.Context(), 9)
	if diff := cmp.Diff([]string{"up 1_a.sql", "up 00002_b.sql", "up 9_c.sql"}, steps(results)); err != nil || diff != "" {
		t.Errorf("to 9: %v (-want +got):\n%s", err, diff)
	}
	if current, latest, err := m.Version(t.Context()); err != nil || current != 9 || latest != 11 {
		t.Errorf("version %d of %d, %v; want 9 of 11", current, latest, err)
	}
	if n, err := m.Pending(t.Context()); err != nil || n != 2 {
		t.Errorf("%d pending, %v; want 2", n, err)
	}
}

// syncBuffer is a log that is read while the Migrator writes it.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// While another session holds the lock, the log names that session. If the wait times out, the
// error names it, too.
func TestMigrator_LockHolder(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["application_name"] = "deploy42"
	holder, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(context.Background())
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock($1)", lock.DefaultLockID); err != nil {
		t.Fatal(err)
	}
	log := &syncBuffer{}
	const patience = time.Minute // for a busy machine; normally it takes milliseconds
	open := func(wait time.Duration) *migrate.Migrator {
		m, err := migrate.New(migrate.Config{
			URL: address, FS: fstest.MapFS{"00001_a.sql": file("SELECT 1;", "")}, LockWait: wait,
			Logger: slog.New(slog.NewTextHandler(log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	who := fmt.Sprintf(`process %d \(application "deploy42", user \S+, client \S+, connected since 20\S+Z\)`, holder.PgConn().PID())
	if _, err := open(50 * time.Millisecond).Up(t.Context()); err == nil || !regexp.MustCompile(who+` after 50ms: .*pg_terminate_backend`).MatchString(err.Error()) {
		t.Errorf("timed out: %v, want %s", err, who)
	}
	said := fmt.Sprintf(`another session holds the migration lock.* pid=%d application=deploy42 user=\S+ client=\S+ since=20\S+Z`, holder.PgConn().PID())
	if !regexp.MustCompile(said).MatchString(log.String()) {
		t.Errorf("no %s in:\n%s", said, log.String())
	}
	done := make(chan error, 1)
	m := open(patience)
	ctx, cancel := context.WithTimeout(t.Context(), patience/2) // of the attempts that wait for the lock
	defer cancel()
	if n, err := m.Pending(ctx); n != 1 || err != nil {
		t.Errorf("%d pending, %v: want 1 without a wait for the lock", n, err)
	}
	if status, err := m.Status(ctx); len(status) != 1 || status[0].Applied || err != nil {
		t.Errorf("%+v, %v: want one that is pending, without a wait for the lock", status, err)
	}
	go func() {
		_, err := m.Up(context.Background())
		done <- err
	}()
	for deadline := time.Now().Add(patience); strings.Count(log.String(), "another session holds") < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the second wait is not logged")
		}
	}
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_unlock($1)", lock.DefaultLockID); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the lock was released: %v", err)
	}
}

// A file that goose would not read, or would split at the wrong places, is
// refused before any migration is applied.
func TestMigrator_Files(t *testing.T) {
	t.Parallel()
	const cut = "is cut here"
	for name, tt := range map[string]struct{ up, want string }{
		"BOM":              {"\xef\xbb\xbf-- +goose Up\nSELECT 1;\n", "byte order mark"},
		"no annotation":    {"CREATE TABLE t ();\n", "it has no line -- +goose Up"},
		"UTF-16":           {"\xff\xfe-\x00-\x00", "UTF-16"},
		"UTF-16, no BOM":   {"-\x00-\x00", "UTF-16"},
		"latin1":           {"-- +goose Up\nSELECT 'caf\xe9';\n", "not UTF-8"},
		"long line":        {"-- +goose Up\n\nSELECT '" + strings.Repeat("x", 5<<20) + "';\n", "line 3 has 52428"},
		"function":         {"-- +goose Up\n\nCREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1;\nEND $$;\n", "line 5: the statement that begins in line 3 " + cut + ", inside the body"},
		"tagged":           {"-- +goose Up\nCREATE PROCEDURE p() LANGUAGE sql AS $body$\n  SELECT '$$';\n$body$;\n", cut},
		"DO":               {"-- +goose Up\nDO $$ BEGIN\nNULL; -- done\nEND $$;\n", cut},
		"ATOMIC":           {"-- +goose Up\nCREATE FUNCTION f() RETURNS int BEGIN ATOMIC\nSELECT CASE WHEN true THEN 1 END;\nEND;\n", cut},
		"string body":      {"-- +goose Up\nCREATE FUNCTION f() RETURNS int LANGUAGE sql AS '\nSELECT 1;\n';\n", "inside a string"},
		"string":           {"-- +goose Up\nCOMMENT ON TABLE t IS E'it\\'s\nthis;\n';\n", "inside a string"},
		"comment":          {"-- +goose Up\nSELECT 1 /* one;\n two */;\n", "inside a comment"},
		"rule":             {"-- +goose Up\nCREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1;\nSELECT 2);\n", "inside parentheses"},
		"in Down":          {"-- +goose Up\nSELECT 1;\n-- +goose Down\nDO $$ BEGIN\nNULL;\nEND $$;\n", "line 5"},
		"after a good one": {"-- +goose Up\n-- +goose StatementBegin\nDO $$ BEGIN\nNULL;\nEND $$;\n-- +goose StatementEnd\nDO $$ BEGIN\nNULL;\nEND $$;\n", "line 8"},

		"good":             {"-- +goose Up\n-- +goose StatementBegin\nCREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1;\nEND $$;\n-- +goose StatementEnd\n", ""},
		"one line":         {"-- +goose Up\nDO $$ BEGIN NULL; END $$;\nSELECT ';', $a$;$a$ \"a;b\", 'it''s;' /* ; /* */\n */ -- ;\n, E 'x\\', 1;\n", ""},
		"several lines":    {"-- +goose Up\nDO $$ BEGIN NULL; NULL -- x\n; END $$\n;\n", ""},
		"dollars in names": {"-- +goose Up\nSELECT 1 AS a$b$, E'\\\\', 'x\\';\nSELECT 2;\n", ""},
		"CRLF":             {"-- +goose Up\r\nCREATE TABLE t (\r\n  a text DEFAULT ';',\r\n  b int\r\n);\r\n", ""},
		"case and end":     {"-- +goose Up\nSELECT CASE WHEN true THEN 1\nEND;\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := fstest.MapFS{"00007_x.sql": {Data: []byte(tt.up)}, "README.sql": {Data: []byte("\xef\xbb\xbf")}}
			m, err := migrate.New(migrate.Config{URL: "postgres://u@127.0.0.1:1/x", FS: files, Logger: quiet})
			if m != nil {
				m.Close()
			}
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "read the migrations: 00007_x.sql: ") || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("err = %v, want the file and %q", err, tt.want)
			}
		})
	}
}
