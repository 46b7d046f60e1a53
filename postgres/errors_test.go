package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

func TestErrors(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	ctx := t.Context()
	u := d.CreateAccount(t)
	user := func(change func(*db.CreateAccountParams)) func() error {
		return func() error {
			p := db.CreateAccountParams{Username: "fresh", Email: "x", Tags: []string{}}
			change(&p)
			_, err := d.Queries.CreateAccount(ctx, p)
			return err
		}
	}
	run := func(sql string) func() error {
		return func() error { _, err := d.Router.Exec(ctx, sql); return err }
	}
	tests := []struct {
		name       string
		run        func() error
		kind       error
		code       string
		constraint string
	}{
		{"no row", func() error { _, err := d.Queries.GetAccount(ctx, -1); return err }, postgres.ErrNotFound, "", ""},
		{"unique", user(func(p *db.CreateAccountParams) { p.Username = u.Username }), postgres.ErrUnique, "23505", "accounts_username_key"},
		{"check", user(func(p *db.CreateAccountParams) { p.Email = "" }), postgres.ErrCheck, "23514", "accounts_email_length"},
		{"not null", user(func(p *db.CreateAccountParams) { p.Tags = nil }), postgres.ErrCheck, "23502", ""},
		{"NUL in text", user(func(p *db.CreateAccountParams) { p.Email = "\x00" }), postgres.ErrInvalidValue, "22021", ""},
		{"NUL in JSON", user(func(p *db.CreateAccountParams) { p.Tags = []string{"\x00"} }), postgres.ErrInvalidValue, "22P05", ""},
		{"foreign key", func() error {
			_, err := d.Queries.CreateNote(ctx, db.CreateNoteParams{AccountID: -1, Title: "t", Tags: []string{}})
			return err
		}, postgres.ErrForeignKey, "23503", "notes_account_id_fkey"},
		{"serialization", run("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"), postgres.ErrSerialization, "40001", ""},
		{"deadlock", run("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$"), postgres.ErrSerialization, "40P01", ""},
		{"lock timeout", run("DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$"), postgres.ErrTimeout, "55P03", ""},
		{"read only", run("DO $$ BEGIN RAISE SQLSTATE '25006'; END $$"), postgres.ErrUnavailable, "25006", ""},
		{"too many clients", run("DO $$ BEGIN RAISE SQLSTATE '53300'; END $$"), postgres.ErrUnavailable, "53300", ""},
		// A statement that no SQL file declares counts as a write, and a FATAL leaves its
		// outcome open.
		{"killed", run("SELECT pg_terminate_backend(pg_backend_pid())"), postgres.ErrCommitUnknown, "57P01", ""},
		{"anything else", run("SELECT 1 FROM nowhere"), nil, "42P01", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.run()
			var typed *postgres.Error
			if !errors.As(err, &typed) {
				t.Fatalf("err = %v, want a *postgres.Error", err)
			}
			if typed.Kind != tt.kind || typed.Code != tt.code || typed.Constraint != tt.constraint {
				t.Errorf("kind %v, code %q, constraint %q; want %v, %q, %q",
					typed.Kind, typed.Code, typed.Constraint, tt.kind, tt.code, tt.constraint)
			}
			if tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("errors.Is does not find %v", tt.kind)
			}
		})
	}

	t.Run("NamesTheStatement", func(t *testing.T) {
		_, err := d.Queries.GetAccount(ctx, -1)
		if err.Error() != "GetAccount: not found" {
			t.Errorf("err = %q", err)
		}
	})

	t.Run("HoldsNoArgument", func(t *testing.T) {
		err := user(func(p *db.CreateAccountParams) { p.Username, p.Email = u.Username, "secret" })()
		if strings.Contains(err.Error(), u.Username) || strings.Contains(err.Error(), "secret") {
			t.Errorf("err = %q quotes an argument", err)
		}
	})
}

// Citus forwards the error of a worker without its fields, and the names in its message have
// the number of the shard. A name in a message of this server is not a constraint's.
func TestErrors_Shard(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ routine, code, message, want string }{
		{"ReportResultError", "23503", `insert or update on table "posts_102025" violates foreign key constraint "posts_user_id_fkey_102025"`, "posts_user_id_fkey"},
		{"ReportResultError", "23505", `duplicate key value violates unique constraint "users_username_key_102040"`, "users_username_key"},
		{"ReportResultError", "23514", `new row for relation "posts_102009" violates check constraint "posts_title_length"`, "posts_title_length"},
		{"ReportResultError", "23502", `null value in column "title" of relation "posts_102009" violates not-null constraint`, ""},
		{"ReportResultError", "40001", `something about "x_102009"`, ""},
		{"exec_stmt_raise", "23505", `the name "ada" is taken`, ""},
	} {
		var e *postgres.Error
		err := postgres.WrapError("CreatePost", &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: test.code, Message: test.message, Routine: test.routine})
		if !errors.As(err, &e) || e.Constraint != test.want {
			t.Errorf("%s: the constraint is %q, want %q", test.message, e.Constraint, test.want)
		}
	}
}
