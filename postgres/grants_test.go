package postgres_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/migrate"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// grantee creates a role without privileges. It returns the role's connection and a
// function that runs SQL as the owner.
func grantee(t *testing.T, address string) (role string, conn *pgx.Conn, own func(statements ...string)) {
	t.Helper()
	role = roleName()
	own = func(statements ...string) { t.Helper(); admin(t, address, statements...) }
	own("CREATE ROLE " + role + " LOGIN PASSWORD 'x'")
	t.Cleanup(func() { own("DROP OWNED BY "+role, "DROP ROLE "+role) })
	conn, err := pgx.Connect(t.Context(), as(t, address, role, "x"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return role, conn, own
}

func missingGrants(t *testing.T, conn *pgx.Conn, statements []postgres.Statement) (grants []string) {
	t.Helper()
	missing, err := postgres.FindMissingGrants(t.Context(), conn, append(slices.Clone(statements), migrate.StatusStatement))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range missing {
		if m.Err != nil {
			t.Errorf("%v: %v", m.Statements, m.Err)
		}
		grants = append(grants, m.Grant)
	}
	return grants
}

// A role that was given the printed grants lacks none, and can run the registry.
func TestFindMissingGrants(t *testing.T) {
	t.Parallel()
	address := testdata.NewURL(t)
	role, conn, own := grantee(t, address)
	grants := missingGrants(t, conn, db.Statements)
	for _, want := range []string{
		"GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE public.accounts TO " + role,
		"GRANT SELECT ON TABLE public.goose_db_version TO " + role,
		"GRANT USAGE, UPDATE ON SEQUENCE public.notes_id_seq TO " + role,
	} {
		if !strings.Contains(strings.Join(grants, "\n"), want) {
			t.Errorf("%s is missing in:\n%s", want, strings.Join(grants, "\n"))
		}
	}
	own(grants...)
	if left := missingGrants(t, conn, db.Statements); left != nil {
		t.Errorf("with all grants, there are still:\n%s", strings.Join(left, "\n"))
	}
	// Each of the grants is necessary.
	for _, grant := range grants {
		own(strings.Replace(strings.Replace(grant, "GRANT", "REVOKE", 1), " TO ", " FROM ", 1))
		if diff := cmp.Diff([]string{grant}, missingGrants(t, conn, db.Statements)); diff != "" {
			t.Errorf("without that grant (-want +got):\n%s", diff)
		}
		own(grant)
	}
}

// Tests kinds of statements and objects that the registry does not have.
func TestFindMissingGrants_Objects(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	role, conn, own := grantee(t, address)
	own(
		"CREATE TABLE goose_db_version (version_id bigint, is_applied bool, tstamp timestamptz)", "GRANT SELECT ON goose_db_version TO PUBLIC",
		`CREATE SCHEMA app; CREATE SCHEMA "Closed"`, "GRANT USAGE ON SCHEMA app TO PUBLIC",
		"CREATE TABLE identity (id bigint GENERATED ALWAYS AS IDENTITY, name text)",
		"CREATE TABLE serial (id bigserial, name text)",
		`CREATE TABLE app."Odd ""one""" (id serial, a text, b text)`,
		`CREATE TABLE "Closed".t (id int)`,
		"CREATE FUNCTION secret(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1'", "REVOKE EXECUTE ON FUNCTION secret FROM PUBLIC",
		"CREATE FUNCTION folded(int) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT AS 'BEGIN RETURN $1; END'", "REVOKE EXECUTE ON FUNCTION folded FROM PUBLIC",
		"CREATE VIEW seen AS SELECT name FROM identity",
		"ALTER ROLE "+role+` SET search_path = app, public, "Closed"`,
	)
	conn.Close(t.Context())
	conn, err := pgx.Connect(t.Context(), as(t, address, role, "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	const odd = `app."Odd ""one"""`
	for name, tt := range map[string]struct {
		before string // existing grants
		sql    string
		params int
		want   []string
	}{
		"identity": {"", "INSERT INTO identity (name) VALUES ($1)", 1, []string{"INSERT ON TABLE public.identity"}},
		"serial":   {"", "INSERT INTO serial (name) VALUES ($1)", 1, []string{"USAGE ON SEQUENCE public.serial_id_seq", "INSERT ON TABLE public.serial"}},
		"serial, with the table's": {
			"INSERT ON serial", "INSERT INTO serial (name) VALUES ($1)", 1, []string{"USAGE ON SEQUENCE public.serial_id_seq"},
		},
		"serial, with its id": {"INSERT ON serial", "INSERT INTO serial (id, name) VALUES ($1, $2)", 2, nil},
		"columns":             {"INSERT (name), SELECT (id, name) ON identity", "INSERT INTO identity (name) VALUES ($1) RETURNING id", 1, nil},
		"a column is missing": {"INSERT (name) ON identity", "INSERT INTO identity (name) VALUES ($1) RETURNING id", 1, []string{"SELECT, INSERT ON TABLE public.identity"}},
		"quoted": {
			"", "-- name: Odd :exec\nUPDATE " + odd + " SET a = 'FROM serial' /* FROM identity */ WHERE id = $1 -- FROM seen", 1,
			[]string{"SELECT, UPDATE ON TABLE " + odd},
		},
		"search_path":   {"", `SELECT a FROM "Odd ""one"""`, 0, []string{"SELECT ON TABLE " + odd}},
		"schema":        {"SELECT ON \"Closed\".t", `SELECT id FROM "Closed".t`, 0, []string{`USAGE ON SCHEMA "Closed"`}},
		"hidden schema": {"SELECT ON \"Closed\".t", `SELECT id FROM t`, 0, []string{`USAGE ON SCHEMA "Closed"`}},
		"function":      {"", "SELECT secret($1::int)", 1, []string{"EXECUTE ON FUNCTION secret(integer)"}},
		"folded":        {"", "SELECT folded($1::int)", 1, []string{"EXECUTE ON FUNCTION folded(integer)"}},
		"view":          {"", "SELECT name FROM seen", 0, []string{"SELECT ON TABLE public.seen"}},
		"lock":          {"SELECT ON identity", "SELECT id FROM identity WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED", 1, []string{"UPDATE ON TABLE public.identity"}},
		"delete":        {"", "DELETE FROM ONLY identity WHERE id = $1", 1, []string{"SELECT, DELETE ON TABLE public.identity"}},
		"upsert": {
			"", "INSERT INTO identity AS i (name) VALUES ($1) ON CONFLICT DO NOTHING", 1, []string{"SELECT, INSERT ON TABLE public.identity"},
		},
		"merge": {
			"", "MERGE INTO identity AS i USING serial AS s ON s.id = i.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN DO NOTHING", 0,
			[]string{"SELECT, INSERT, UPDATE ON TABLE public.identity", "SELECT ON TABLE public.serial"},
		},
		"with": {
			"", "WITH serial AS MATERIALIZED (SELECT 1 AS id), gone AS (DELETE FROM identity WHERE id = $1 RETURNING id) SELECT serial.id FROM serial, gone", 1,
			[]string{"SELECT, DELETE ON TABLE public.identity"},
		},
		"nextval":                {"", "SELECT nextval('serial_id_seq')", 0, []string{"USAGE ON SEQUENCE public.serial_id_seq"}},
		"nextval, of the column": {"", "SELECT nextval(pg_get_serial_sequence('identity', 'id')), currval(pg_get_serial_sequence('identity', 'id'))", 0, []string{"USAGE ON SEQUENCE public.identity_id_seq"}},
		"nextval, with UPDATE":   {"UPDATE ON SEQUENCE serial_id_seq", "SELECT nextval('public.serial_id_seq')", 0, nil},
		"setval":                 {"USAGE ON SEQUENCE serial_id_seq", "SELECT setval('serial_id_seq', $1)", 1, []string{"UPDATE ON SEQUENCE public.serial_id_seq"}},
		"a command":              {"", "SET CONSTRAINTS ALL IMMEDIATE", 0, nil},
		"no table yet":           {"", "SELECT id FROM tomorrow", 0, nil},
	} {
		s := postgres.Statement{Name: name, SQL: tt.sql, Params: make([]postgres.Param, tt.params)}
		var want []string
		for _, w := range tt.want {
			want = append(want, "GRANT "+w+" TO "+role)
		}
		if tt.before != "" {
			own("GRANT " + tt.before + " TO " + role)
		}
		if diff := cmp.Diff(want, missingGrants(t, conn, []postgres.Statement{s})); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", name, tt.sql, diff)
		}
		if tt.before != "" {
			own("REVOKE " + tt.before + " FROM " + role)
		}
	}
}
