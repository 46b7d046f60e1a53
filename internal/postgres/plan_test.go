package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"quern/internal/postgres"
	"quern/internal/storetest"
)

// Messages of servers whose lc_messages is not English: few machines have the
// locales that a server needs to translate them.
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
			t.Errorf("%+v is taken for a stale plan", e)
		}
	}
	d := postgres.Diagnose(&pgconn.PgError{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28000", Routine: "ClientAuthentication",
		Message: "kein pg_hba.conf-Eintrag für Host »10.0.0.7«, Benutzer »app«, Datenbank »app«, keine Verschlüsselung",
	})
	for _, want := range []string{"pg_hba.conf", "sslmode=require", "sslcert"} {
		if !strings.Contains(d.What+" "+d.Mend, want) {
			t.Errorf("%+v does not name %s", d, want)
		}
	}
}

// A function that raises a stale plan's SQLSTATE and text runs once.
func TestStalePlan_Raised(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 2})
	d.Exec(t, `CREATE SEQUENCE runs; CREATE FUNCTION raises() RETURNS void LANGUAGE plpgsql AS $$
		BEGIN PERFORM nextval('runs'); RAISE 'cached plan must not change result type' USING ERRCODE = '0A000'; END $$`)
	if _, err := d.Router.Exec(t.Context(), "SELECT raises()"); err == nil {
		t.Error("no error")
	}
	if n := d.Count(t, "SELECT last_value FROM runs"); n != 1 {
		t.Errorf("it ran %d times, want once", n)
	}
}
