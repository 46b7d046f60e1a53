package postgres_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres"
	"quern/postgres/testdata"
)

// Messages of servers whose lc_messages is not English. Few machines have the locales that
// a server needs to translate them.
func TestTranslatedMessages(t *testing.T) {
	t.Parallel()
	german := pgconn.PgError{
		Severity: "FEHLER", SeverityUnlocalized: "ERROR", Code: "0A000", Routine: "RevalidateCachedQuery",
		Message: "gecachter Plan darf den Ergebnistyp nicht ändern",
	}
	if !postgres.StalePlan(&german) {
		t.Error("a stale plan is not recognised in German")
	}
	for _, other := range []func(*pgconn.PgError){
		func(e *pgconn.PgError) { e.Routine = "exec_stmt_raise"; e.Message = "cached plan" },
		func(e *pgconn.PgError) { e.Code = "XX000" },
		func(e *pgconn.PgError) { e.SeverityUnlocalized = "FATAL" },
	} {
		e := german
		if other(&e); postgres.StalePlan(&e) {
			t.Errorf("%+v counts as a stale plan", e)
		}
	}
	d := postgres.Diagnose(&pgconn.PgError{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28000", Routine: "ClientAuthentication",
		Message: "kein pg_hba.conf-Eintrag für Host »10.0.0.7«, Benutzer »app«, Datenbank »app«, keine Verschlüsselung",
	})
	for _, want := range []string{"pg_hba.conf", "sslmode=require", "sslcert"} {
		if !strings.Contains(d.What+" "+d.Hint, want) {
			t.Errorf("%+v does not name %s", d, want)
		}
	}
}

// A function that raises the SQLSTATE and text of a stale plan runs once.
func TestStalePlan_Raised(t *testing.T) {
	t.Parallel()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 2})
	d.Exec(t, `CREATE SEQUENCE runs; CREATE FUNCTION raises() RETURNS void LANGUAGE plpgsql AS $$
		BEGIN PERFORM nextval('runs'); RAISE 'cached plan must not change result type' USING ERRCODE = '0A000'; END $$`)
	if _, err := d.Router.Exec(t.Context(), "SELECT raises()"); err == nil {
		t.Error("no error")
	}
	if n := d.Count(t, "SELECT last_value FROM runs"); n != 1 {
		t.Errorf("it ran %d times, want once", n)
	}
}

// Statements that take and return an enum are prepared on each connection. Then a migration
// replaces the enum, because ALTER TYPE cannot drop a value.
func TestStalePlan_ReplacedType(t *testing.T) {
	t.Parallel()
	const (
		add    = "INSERT INTO moody (mood) VALUES ($1)"
		read   = "SELECT mood FROM moody WHERE mood = $1 LIMIT 1"
		equal  = "SELECT count(*) FROM moody WHERE mood = $1"
		listed = "SELECT count(*) FROM moody WHERE mood = ANY($1::text[]::mood[])"
	)
	for _, pooler := range []postgres.Pooler{postgres.PoolerNone, postgres.PoolerTransaction} {
		t.Run(string(pooler), func(t *testing.T) {
			t.Parallel()
			d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 3, MinConns: 3, Pooler: pooler})
			d.Exec(t, "CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE TABLE moody (mood mood); INSERT INTO moody VALUES ('ok')")
			each := func(db postgres.DBTX) error {
				if _, err := db.Exec(t.Context(), add, "ok"); err != nil {
					return err
				}
				var mood string
				if err := db.QueryRow(t.Context(), read, "ok").Scan(&mood); err != nil {
					return err
				}
				if _, err := db.Exec(t.Context(), equal, "ok"); err != nil {
					return err
				}
				_, err := db.Exec(t.Context(), listed, []string{"ok"})
				return err
			}
			runs := map[string]func() error{
				"Statements": func() error { return each(d.Router) },
				"InTx": func() error {
					return postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, each)
				},
				"Pipeline": func() error {
					return postgres.Pipeline(t.Context(), d.Router, readsBack(t), batchOf(queueSQL(add, "ok"), queueSQL(equal, "ok")))
				},
			}
			for name, run := range runs {
				onEach(t, d.Router, 3, each)
				d.Exec(t, `ALTER TYPE mood RENAME TO old; CREATE TYPE mood AS ENUM ('ok', 'good');
					ALTER TABLE moody ALTER mood TYPE mood USING mood::text::mood; DROP TYPE old`)
				for range 6 {
					if err := run(); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		})
	}
}

// onEach runs fn on each of n connections.
func onEach(t *testing.T, r *postgres.Router, n int, fn func(postgres.DBTX) error) {
	t.Helper()
	var nest func(ctx context.Context, n int) error
	nest = func(ctx context.Context, n int) error {
		if n == 0 {
			return nil
		}
		return postgres.InTx(ctx, r, postgres.TxOptions{NoMarker: true}, func(tx postgres.DBTX) error {
			if err := fn(tx); err != nil {
				return err
			}
			// With t's context instead of the transaction's, a nested transaction takes another
			// connection.
			return nest(t.Context(), n-1)
		})
	}
	if err := nest(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}
