package postgres_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/migrate"
	"quern/postgres/testdata"
)

// ownRouter opens a Router that closes with the test.
func ownRouter(t *testing.T, cfg postgres.Config) *postgres.Router {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r, err := postgres.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// logBuffer is a log that a test can read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// applyTo applies a migration to the database of a URL.
func applyTo(t *testing.T, url, text string) {
	t.Helper()
	m, err := migrate.New(migrate.Config{
		URL: url, FS: fstest.MapFS{"00001_tables.sql": {Data: []byte(text)}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A project without the runtime's tables can write nevertheless, and gets one warning. Once
// the table exists, transactions write their markers.
func TestTables_Missing(t *testing.T) {
	t.Parallel()
	var said logBuffer
	url := pgtest.EmptyURL(t)
	r := ownRouter(t, postgres.Config{URL: url, MaxConns: 2, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	write := func() error {
		return postgres.InTx(t.Context(), r, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			_, err := tx.Exec(t.Context(), "CREATE TEMPORARY TABLE IF NOT EXISTS x (a int)")
			return err
		})
	}
	for range 3 {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	if r.FindMarkers(t.Context()) {
		t.Error("it found a table that does not exist")
	}
	const warning = "table commit_markers does not exist: a COMMIT whose answer is lost ends in ErrCommitUnknown: " +
		"create it with the migration that Config.TablesMigration returns"
	if n := strings.Count(said.String(), warning); n != 1 {
		t.Errorf("it warned %d times, want once: %s", n, &said)
	}
	if _, err := r.Exec(t.Context(), "SELECT * FROM missing"); err == nil || strings.Contains(err.Error(), "commit_markers") {
		t.Errorf("another table that is missing: %v", err)
	}
	applyTo(t, url, postgres.Config{}.TablesMigration())
	if !r.FindMarkers(t.Context()) {
		t.Error("it did not find the table")
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, r, "SELECT count(*) FROM commit_markers"); n != 1 {
		t.Errorf("%d markers, want 1", n)
	}
}

// A process that connects and then applies the migrations writes markers from the start,
// and gets no warning.
func TestTables_Late(t *testing.T) {
	t.Parallel()
	var said logBuffer
	url := pgtest.EmptyURL(t)
	r := ownRouter(t, postgres.Config{URL: url, MaxConns: 2, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	applyTo(t, url, postgres.Config{}.TablesMigration())
	err := postgres.InTx(t.Context(), r, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		_, err := tx.Exec(t.Context(), "CREATE TEMPORARY TABLE x (a int)")
		return err
	})
	if n := count(t, r, "SELECT count(*) FROM commit_markers"); n != 1 || err != nil {
		t.Errorf("%d markers, want 1, %v", n, err)
	}
	if strings.Contains(said.String(), "does not exist") {
		t.Errorf("it warned: %s", &said)
	}
}

func count(t *testing.T, r *postgres.Router, sql string) (n int) {
	t.Helper()
	if err := r.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// The tables, sessions and savepoints may have other names, and the tables another schema.
func TestTables_Named(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	cfg := postgres.Config{URL: url, MaxConns: 2, Name: "shop", MarkerTable: "app.markers", HistoryTable: "app.histories"}
	applyTo(t, url, strings.Replace(cfg.TablesMigration(), "-- +goose Up\n", "-- +goose Up\nCREATE SCHEMA app;\n", 1))
	r := ownRouter(t, cfg)
	id := pgtype.UUID{Bytes: [16]byte{1}, Valid: true}
	if taken, err := r.Mark(t.Context(), id); taken || err != nil {
		t.Errorf("a new marker: %t, %v", taken, err)
	}
	if taken, err := r.Mark(t.Context(), id); !taken {
		t.Errorf("an existing marker: %t, %v", taken, err)
	}
	err := postgres.InTx(t.Context(), r, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		return postgres.InTx(t.Context(), tx, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			_, err := tx.Exec(t.Context(), "ROLLBACK TO shop_1")
			return err
		})
	})
	if err != nil {
		t.Error(err)
	}
	if n := count(t, r, "SELECT count(*) FROM app.markers"); n != 2 {
		t.Errorf("%d markers, want 2", n)
	}
	var name string
	if err := r.QueryRow(t.Context(), "SHOW application_name").Scan(&name); err != nil || name != "shop" {
		t.Errorf("the application is named %q, %v", name, err)
	}
	for _, wrong := range []string{"a.b.c", `"a"`, "A", "a-b", "a; DROP TABLE b", "a."} {
		_, err := postgres.Connect(t.Context(), postgres.Config{URL: url, MarkerTable: wrong})
		if err == nil || !strings.Contains(err.Error(), "Config.MarkerTable is ") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

// TablesMigration creates the same tables as the service's migrations.
func TestTables_Migration(t *testing.T) {
	t.Parallel()
	const shape = `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
		SELECT concat_ws(' ', a.attrelid::regclass, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid)) AS line
		FROM pg_attribute a LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
		WHERE attrelid IN ('commit_markers'::regclass, 'server_histories'::regclass) AND attnum > 0
		UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
		WHERE conrelid IN ('commit_markers'::regclass, 'server_histories'::regclass)
		UNION ALL SELECT concat_ws(' ', relname, reloptions) FROM pg_class WHERE relname IN ('commit_markers', 'server_histories')) AS lines`
	url := pgtest.EmptyURL(t)
	applyTo(t, url, postgres.Config{}.TablesMigration())
	var shapes [2]string
	for i, url := range []string{pgtest.URL(t, testdata.Migrations()), url} {
		r := ownRouter(t, postgres.Config{URL: url, MaxConns: 2})
		if err := r.QueryRow(t.Context(), shape).Scan(&shapes[i]); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(shapes[0], shapes[1]); diff != "" {
		t.Error(diff)
	}
}
