package postgres_test

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/migrate"
)

// databaseOf returns the quoted name of the database of an address.
func databaseOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return `"` + u.Path[1:] + `"`
}

// TestClientEncoding sets LATIN1 in every place. Text must be stored as it was sent.
// Reading it back proves nothing, because a connection with the wrong encoding decodes its
// own output.
func TestClientEncoding(t *testing.T) {
	t.Parallel()
	const text = "Zoë paid 5 € — 漢字"
	for name, test := range map[string]struct {
		set     string // SQL, with the database in place of %s
		options string // of the connection string
		pooler  postgres.Pooler
	}{
		"Role":     {set: "ALTER ROLE quern IN DATABASE %s SET client_encoding = 'LATIN1'"},
		"Database": {set: "ALTER DATABASE %s SET client_encoding = 'LATIN1'"},
		"Options":  {options: "-cclient_encoding=LATIN1"},
		"Pooler":   {set: "ALTER DATABASE %s SET client_encoding = 'LATIN1'", pooler: postgres.PoolerTransaction},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := pgtest.EmptyURL(t)
			admin(t, direct, "CREATE TABLE t (by text, said text)")
			if test.set != "" {
				admin(t, direct, fmt.Sprintf(test.set, databaseOf(t, direct)))
			}
			address := direct
			if test.options != "" {
				address = as(t, address, "", "", "options", test.options)
			}
			if test.pooler != "" {
				address = bouncer(t, address, "pool_mode = transaction")
			} else {
				m, err := migrate.New(migrate.Config{URL: address, Logger: quiet, FS: fstest.MapFS{
					"00001_say.sql": {Data: []byte("-- +goose Up\nINSERT INTO t VALUES ('migration', '" + text + "');\n")},
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				if _, err := m.Up(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			r := open(t, postgres.Config{URL: address, Pooler: test.pooler})
			if _, err := r.Exec(t.Context(), "INSERT INTO t VALUES ('router', $1)", text); err != nil {
				t.Fatal(err)
			}
			rows, err := r.Query(t.Context(), "SELECT by, convert_to(said, 'UTF8') FROM t")
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				var by string
				var stored []byte
				if err := rows.Scan(&by, &stored); err != nil {
					t.Fatal(err)
				}
				if string(stored) != text {
					t.Errorf("the %s's text is stored as %q, want %q", by, stored, text)
				}
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// meanings are statements whose results depend on a setting.
var meanings = map[string]string{
	"DateStyle":                     "SELECT DATE '2026-02-01' || ' ' || '01/02/2026'::date",
	"IntervalStyle":                 "SELECT (INTERVAL '1 day 2 hours')::text",
	"TimeZone":                      "SELECT date_trunc('day', TIMESTAMPTZ '2026-02-01 23:30Z')::text",
	"array_nulls":                   "SELECT (('{NULL}'::text[])[1] IS NULL)::text",
	"bytea_output":                  `SELECT '\x00'::bytea::text`,
	"client_min_messages":           "SELECT current_setting('client_min_messages')",
	"default_transaction_isolation": "SELECT current_setting('transaction_isolation')",
	"extra_float_digits":            "SELECT (0.1::float8 + 0.2::float8)::text",
	"gin_fuzzy_search_limit":        "SELECT current_setting('gin_fuzzy_search_limit')",
	"row_security":                  "SELECT current_setting('row_security')",
	"standard_conforming_strings":   `SELECT length('\\')::text`,
	"transform_null_equals":         "SELECT coalesce((NULL = NULL)::text, 'null')",
	"xmloption":                     "SELECT current_setting('xmloption')",
}

var changedSettings = map[string]string{
	"DateStyle": "'German, DMY'", "IntervalStyle": "iso_8601", "TimeZone": "'Asia/Tokyo'", "array_nulls": "off", "backslash_quote": "on",
	"bytea_output": "escape", "client_min_messages": "error", "default_transaction_deferrable": "on",
	"default_transaction_isolation": "'repeatable read'", "extra_float_digits": "-3", "gin_fuzzy_search_limit": "10", "row_security": "off",
	"standard_conforming_strings": "off", "transform_null_equals": "on", "xmlbinary": "hex", "xmloption": "document",
}

// TestSessionSettings changes the settings of a role and of a database. No result may
// change.
func TestSessionSettings(t *testing.T) {
	t.Parallel()
	answers := func(t *testing.T, address string) map[string]string {
		r := open(t, postgres.Config{URL: address, MaxConns: 1})
		got := map[string]string{}
		for name, sql := range meanings {
			var answer string
			if err := r.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got[name] = answer
		}
		return got
	}
	want := answers(t, pgtest.EmptyURL(t))
	for name, where := range map[string]string{"Role": "ROLE quern IN DATABASE", "Database": "DATABASE"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := pgtest.EmptyURL(t)
			for setting, value := range changedSettings {
				admin(t, address, fmt.Sprintf("ALTER %s %s SET %s = %s", where, databaseOf(t, address), setting, value))
			}
			if diff := cmp.Diff(want, answers(t, address)); diff != "" {
				t.Error(diff)
			}
			r := open(t, postgres.Config{URL: address})
			if left, err := r.ForeignSettings(t.Context()); err != nil || len(left) > 0 {
				t.Errorf("left as they were: %v, %v", left, err)
			}
		})
	}

	t.Run("URL", func(t *testing.T) {
		t.Parallel()
		address := pgtest.EmptyURL(t)
		for name, value := range map[string]string{"client_encoding": "LATIN1", "bytea_output": "escape", "datestyle": "German", "standard_conforming_strings": "off"} {
			_, err := postgres.Connect(t.Context(), postgres.Config{URL: as(t, address, "", "", name, value), Logger: quiet})
			if err == nil || !strings.Contains(err.Error(), "DATABASE_URL sets ") || !strings.HasSuffix(err.Error(), "remove that parameter") {
				t.Errorf("%s=%s: err = %v, want it to name the parameter", name, value, err)
			}
		}
		// The URL sets the same values as the runtime, and another time zone, which the project
		// may choose.
		r := open(t, postgres.Config{URL: as(t, address, "", "", "client_encoding", "utf-8", "datestyle", "iso", "bytea_output", "hex", "timezone", "Asia/Tokyo")})
		var zone string
		if err := r.QueryRow(t.Context(), "SELECT current_setting('TimeZone')").Scan(&zone); err != nil || zone != "Asia/Tokyo" {
			t.Errorf("time zone %q, %v", zone, err)
		}
	})

	t.Run("NotPinned", func(t *testing.T) {
		t.Parallel()
		address := pgtest.EmptyURL(t)
		admin(t, address, "ALTER DATABASE "+databaseOf(t, address)+" SET statement_timeout = '1min'",
			"ALTER ROLE quern IN DATABASE "+databaseOf(t, address)+" SET bytea_output = 'escape'")
		want := []postgres.SessionSetting{{Name: "statement_timeout", Value: "1min", Source: "database"}}
		got, err := open(t, postgres.Config{URL: address}).ForeignSettings(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
		// Behind a transaction pooler, SET would affect a server connection that other
		// clients use.
		want = append([]postgres.SessionSetting{{Name: "bytea_output", Value: "escape", Source: "database user", Pinned: "hex"}}, want...)
		r := open(t, postgres.Config{URL: bouncer(t, address, "pool_mode = transaction"), Pooler: postgres.PoolerTransaction})
		got, err = r.ForeignSettings(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
		// A setting of the whole server is reported if it changes results.
		server := ownServer(t, map[string]string{"bytea_output": "escape", "work_mem": "8MB"})
		want = []postgres.SessionSetting{{Name: "bytea_output", Value: "escape", Source: "command line", Pinned: "hex"}}
		got, err = open(t, postgres.Config{URL: server.URL(), Pooler: postgres.PoolerTransaction}).ForeignSettings(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
	})
}

// TestClientEncodingOfEnvironment is separate because it changes the environment.
func TestClientEncodingOfEnvironment(t *testing.T) {
	t.Setenv("PGCLIENTENCODING", "LATIN1")
	_, err := postgres.Connect(t.Context(), postgres.Config{URL: "host=localhost", Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "PGCLIENTENCODING is LATIN1") {
		t.Errorf("err = %v, want it to name PGCLIENTENCODING", err)
	}
}

// TestServerEncoding connects to databases whose encoding is not UTF-8.
func TestServerEncoding(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"LATIN1", "SQL_ASCII", "EUC_JP"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			beside := pgtest.EmptyURL(t)
			name := "quern_" + strings.ToLower(encoding) + "_" + roleName()
			admin(t, beside, "CREATE DATABASE "+name+" ENCODING '"+encoding+"' LOCALE 'C' TEMPLATE template0")
			t.Cleanup(func() { admin(t, beside, "DROP DATABASE "+name+" WITH (FORCE)") })
			address := changed(t, beside, func(u *url.URL) { u.Path = "/" + name })
			_, err := postgres.Connect(t.Context(), postgres.Config{URL: address, Logger: quiet})
			if !errors.Is(err, postgres.ErrEncoding) || !strings.Contains(err.Error(), "server_encoding is "+encoding) ||
				!strings.Contains(err.Error(), "ENCODING 'UTF8'") {
				t.Errorf("err = %v, want the encoding and the hint", err)
			}
			m, err := migrate.New(migrate.Config{URL: address, Logger: quiet, FS: fstest.MapFS{
				"00001_nothing.sql": {Data: []byte("-- +goose Up\nSELECT 1;\n")},
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if _, err := m.Up(t.Context()); !errors.Is(err, postgres.ErrEncoding) {
				t.Errorf("migrate: err = %v", err)
			}
		})
	}
}

// pgx silently removes its own parameters from a connection string.
func TestDriverParameters(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	service := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(service, []byte("[mine]\npool_max_conns=3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, value string
		hint        string
	}{
		{"default_query_exec_mode", "simple_protocol", "POOLER=transaction"},
		{"default_query_exec_mode", "exec", "POOLER=transaction"},
		{"default_query_exec_mode", "nonsense", "POOLER=transaction"},
		{"statement_cache_capacity", "0", "remove"},
		{"description_cache_capacity", "0", "remove"},
		{"pool_max_conns", "3", "POOL_MAX_CONNS"},
		{"pool_max_conns", "many", "POOL_MAX_CONNS"},
		{"pool_min_conns", "3", "POOL_MIN_CONNS"},
		{"pool_min_idle_conns", "3", "POOL_MIN_CONNS"},
		{"pool_max_conn_lifetime", "1m", "POOL_MAX_CONN_LIFETIME"},
		{"pool_max_conn_lifetime_jitter", "1m", "POOL_MAX_CONN_LIFETIME"},
		{"pool_max_conn_idle_time", "1m", "POOL_MAX_CONN_IDLE"},
		{"pool_health_check_period", "1m", "POOL_MAX_CONN_IDLE"},
		{"pool_ping_timeout", "1m", "1s: remove"},
	}
	refused := func(t *testing.T, setting, name, hint string, err error) {
		t.Helper()
		if err == nil || !strings.HasPrefix(err.Error(), setting+" sets "+name+", ") || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s in %s: err = %v, want it rejected with the hint %q", name, setting, err, hint)
		}
	}
	for _, tt := range tests {
		bad := as(t, address, "", "", tt.name, tt.value)
		_, err := postgres.Connect(t.Context(), postgres.Config{URL: bad, ConnectRetries: -1, Logger: quiet})
		refused(t, "DATABASE_URL", tt.name, tt.hint, err)
		_, err = postgres.Connect(t.Context(), postgres.Config{URL: address, ReplicaURLs: []string{bad}, ConnectRetries: -1, Logger: quiet})
		refused(t, "DATABASE_REPLICA_URLS", tt.name, tt.hint, err)
		_, err = migrate.New(migrate.Config{URL: bad})
		refused(t, "DATABASE_URL", tt.name, tt.hint, err)
	}
	_, err := postgres.Connect(t.Context(), postgres.Config{URL: "service=mine servicefile=" + service, ConnectRetries: -1, Logger: quiet})
	refused(t, "DATABASE_URL", "pool_max_conns", "POOL_MAX_CONNS", err)

	// The server rejects parameters that pgx does not know.
	_, err = postgres.Connect(t.Context(), postgres.Config{URL: as(t, address, "", "", "pool_size", "3"), ConnectRetries: -1, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "pool_size") {
		t.Errorf("err = %v, want one that names pool_size", err)
	}
}
