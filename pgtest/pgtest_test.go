package pgtest

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/localpg"
	"quern/postgres"
)

// query returns the first column of the first row.
func query(t *testing.T, url, sql string) (value string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// Each test has its own database, and one server can have several schemas.
func TestURL(t *testing.T) {
	t.Parallel()
	pages := fstest.MapFS{"00001_create_pages.sql": {Data: []byte("-- +goose Up\nCREATE TABLE pages (n int);\n")}}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			url := URL(t, notes)
			if got := query(t, url, "INSERT INTO notes VALUES ('mine') RETURNING (SELECT count(*) FROM notes)::text"); got != "1" {
				t.Errorf("%s notes were there, want the 1 of the migrations", got)
			}
			if got := query(t, URL(t, pages), "SELECT (to_regclass('notes') IS NULL AND to_regclass('pages') IS NOT NULL)::text"); got != "true" {
				t.Error("the database of another schema has the tables of this one")
			}
		})
	}
	wg.Wait()
	if got := query(t, EmptyURL(t), "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'"); got != "0" {
		t.Errorf("the empty database has %s tables", got)
	}
}

// An invalid schema makes each test that uses it fail with the reason.
func TestCreate_Refused(t *testing.T) {
	t.Parallel()
	for want, migrations := range map[string]fstest.MapFS{
		"use fs.Sub":      {"migrations/00001_x.sql": {Data: []byte("-- +goose Up\nSELECT 1;\n")}},
		"00001_wrong.sql": {"00001_wrong.sql": {Data: []byte("-- +goose Up\nCREATE TABEL x (n int);\n")}},
	} {
		for range 2 {
			if _, _, err := Create(t.Context(), migrations); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("err = %v, want it to contain %q", err, want)
			}
		}
	}
}

// A database is dropped at the end of its test, together with its remaining
// connections.
func TestURL_Dropped(t *testing.T) {
	t.Parallel()
	var name string
	t.Run("Test", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), URL(t, notes))
		if err != nil {
			t.Fatal(err)
		}
		name = conn.Config().Database
	})
	if got := query(t, EmptyURL(t), "SELECT count(*)::text FROM pg_database WHERE datname = '"+name+"'"); got != "0" {
		t.Errorf("the database %s of a test that has ended is still there", name)
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	var r *postgres.Router
	url := ""
	t.Run("Test", func(t *testing.T) {
		r = Connect(t, notes, postgres.Config{})
		if _, err := r.Exec(t.Context(), "INSERT INTO notes VALUES ('second')"); err != nil {
			t.Fatal(err)
		}
		url = r.Pool().Config().ConnString()
		again := Connect(t, nil, postgres.Config{URL: url, MaxConns: 1})
		var n int
		if err := again.QueryRow(t.Context(), "SELECT count(*) FROM notes").Scan(&n); err != nil || n != 2 {
			t.Errorf("%d notes, %v; want 2 by the URL that was given", n, err)
		}
	})
	if n := r.Pool().Stat().TotalConns(); n != 0 {
		t.Errorf("the Router has %d connections after its test", n)
	}
	if _, err := postgres.Connect(t.Context(), postgres.Config{URL: url, ConnectRetries: -1}); err == nil {
		t.Error("the database outlives its test")
	}
}

// The databases of a failed test are kept, and the output says how to inspect
// them.
func TestMain_Kept(t *testing.T) {
	t.Parallel()
	output, err := child(t, "Fails").CombinedOutput()
	found := keptIn.FindSubmatch(output)
	if err == nil || found == nil {
		t.Fatalf("%v, want a failure that names the directory of the databases:\n%s", err, output)
	}
	dir := string(found[1])
	name := regexp.MustCompile(`kept: postgres://\S+/(pgtest_\w+)`).FindSubmatch(output)
	if name == nil {
		t.Fatalf("the output does not name the database:\n%s", output)
	}
	s, err := localpg.Start(t.Context(), localpg.Config{Dir: filepath.Join(dir, "postgres"), Database: "postgres"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	if got := query(t, databaseURL(s.URL(), string(name[1])), "SELECT current_database()"); got != string(name[1]) {
		t.Errorf("connected to %s", got)
	}
}

// Main leaves the server of TEST_DATABASE_URL as it was.
func TestMain_Foreign(t *testing.T) {
	t.Parallel()
	sum, err := hash(foreign)
	if err != nil {
		t.Fatal(err)
	}
	url := EmptyURL(t)
	cmd := child(t, "Foreign")
	cmd.Env = append(cmd.Env, "TEST_DATABASE_URL="+url)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, output)
	}
	if got := query(t, url, "SELECT count(*)::text FROM pg_database WHERE datname LIKE '"+templateName(sum)+"%'"); got != "0" {
		t.Errorf("%s template databases are left", got)
	}
}

// A role without CREATEDB gets an error that says so.
func TestCreate_Role(t *testing.T) {
	t.Parallel()
	cmd := child(t, "Foreign")
	cmd.Env = append(cmd.Env, "TEST_DATABASE_URL="+EmptyURL(t)+"&options=-c%20role%3Dpg_read_all_data")
	output, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "CREATEDB") {
		t.Errorf("%v, want a failure that names CREATEDB:\n%s", err, output)
	}
}

// The next process that starts a server removes the files of a killed process.
func TestMain_Killed(t *testing.T) {
	t.Parallel()
	cmd := child(t, "Waits")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	url := ""
	for lines := bufio.NewScanner(stdout); url == "" && lines.Scan(); {
		_, url, _ = strings.Cut(lines.Text(), "database: ")
	}
	dir := query(t, url, "SELECT current_setting('data_directory')")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("the killed process has left nothing: %v", err)
	}
	base := filepath.Dir(filepath.Dir(filepath.Dir(dir)))
	// PostgreSQL exits shortly after its parent.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		sweep(base)
		left, err := filepath.Glob(filepath.Join(base, "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v is left", left)
		}
	}
}

func TestDatabaseURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"postgres://u:p@h:1/d":                      "postgres://u:p@h:1/x",
		"postgres://u:p@h:1":                        "postgres://u:p@h:1/x",
		"postgres://u@/d?host=/tmp&sslmode=disable": "postgres://u@/x?host=%2Ftmp&sslmode=disable",
		"postgres://u@h/?dbname=d&sslmode=disable":  "postgres://u@h/x?sslmode=disable",
		"host=h user=u dbname=d":                    "host=h user=u dbname=d dbname=x",
	} {
		got := databaseURL(in, "x")
		if config, err := pgx.ParseConfig(got); got != want || err != nil || config.Database != "x" {
			t.Errorf("%s became %s, want %s (%v)", in, got, want, err)
		}
	}
}
