package proof_test

import (
	"strings"
	"testing"

	"quern/internal/proof"
	"quern/pgtest"
	"quern/postgres"
)

// TestIncompatible runs statements of an old release on the schema after a
// migration. Exactly those that fail there must be reported.
func TestIncompatible(t *testing.T) {
	t.Parallel()
	const schema = `
		CREATE TYPE mood AS ENUM ('glad', 'sad', 'odd');
		CREATE TABLE users (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, age integer, mood mood NOT NULL DEFAULT 'glad',
			score integer NOT NULL DEFAULT 0, seen timestamptz, nick text DEFAULT ''
		);
		CREATE INDEX users_age_idx ON users (age);
		CREATE VIEW names AS SELECT id, name FROM users`
	get := statement("SELECT id, name, age FROM users WHERE id = $1", "id bigint", "id bigint!, name text!, age integer")
	insert := statement("INSERT INTO users (name, age) VALUES ($1, $2)", "name text, age integer", "")
	constant := statement("INSERT INTO users (name, age) VALUES ($1, 1)", "name text", "")
	upsert := statement("INSERT INTO users (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET age = $2", "name text, age integer", "")
	both := statement("INSERT INTO users (name, nick, seen) VALUES ($1::text, $1::text, now())", "name text", "")
	touch := statement("UPDATE users SET seen = now() WHERE id = $1", "id bigint", "")
	inCTE := statement("WITH u AS (UPDATE users SET age = $2 WHERE id = $1 RETURNING id) SELECT id FROM u", "id bigint, age integer", "id bigint!")
	merge := statement("MERGE INTO users u USING (VALUES ($1::text)) AS g (name) ON u.name = g.name WHEN NOT MATCHED THEN INSERT (name) VALUES (g.name)", "name text", "")
	feel := statement("UPDATE users SET mood = $2 WHERE id = $1", "id bigint, mood mood", "")
	copied := statement("copy \"users\" ( \"name\", \"age\" ) from stdin binary;", "name text, age integer", "")
	copied.Kind = postgres.CopyFrom
	view := statement("SELECT id, name FROM names", "", "id bigint!, name text!")
	all := []postgres.Statement{get, insert, constant, upsert, touch, inCTE, merge, feel, copied, view, both}
	for i := range all {
		all[i].Name = []string{"Get", "Insert", "Constant", "Upsert", "Touch", "InCTE", "Merge", "Feel", "Copied", "View", "Both"}[i]
	}
	for _, tt := range []struct {
		migration string
		want      map[string]string // by statement, a part of the problem
	}{
		{"", nil},
		{"ALTER TABLE users ADD email text", nil},
		{"ALTER TABLE users ADD email text NOT NULL DEFAULT ''", nil},
		{"ALTER TABLE users ADD email text GENERATED ALWAYS AS (name || '@') STORED NOT NULL", nil},
		{"CREATE INDEX ON users (seen); DROP INDEX users_age_idx", nil},
		{"ALTER TABLE users ADD CHECK (age > 0) NOT VALID", nil},
		{"ALTER TYPE mood ADD VALUE 'calm'", nil},
		{"DROP VIEW names; ALTER TABLE users ALTER name TYPE varchar(50); CREATE VIEW names AS SELECT id, name FROM users", nil},
		{"ALTER TABLE users DROP score", nil},
		{"ALTER TABLE users ALTER nick SET NOT NULL", nil},
		{"ALTER TABLE users ALTER seen SET NOT NULL", map[string]string{
			"Insert": "it does not write the column users.seen", "Constant": "users.seen", "Upsert": "users.seen", "Merge": "users.seen", "Copied": "users.seen",
		}},
		{"ALTER TABLE users ADD email text NOT NULL", map[string]string{
			"Insert": "it does not write the column users.email", "Constant": "users.email", "Upsert": "users.email", "Merge": "users.email", "Copied": "users.email", "Both": "users.email",
		}},
		{"ALTER TABLE users ALTER age SET DEFAULT 1; ALTER TABLE users ALTER age SET NOT NULL", map[string]string{
			"Insert": "it may write NULL to the column users.age", "Upsert": "users.age", "InCTE": "users.age", "Copied": "users.age",
		}},
		{"ALTER TABLE users DROP age", map[string]string{
			"Get": `column "age" does not exist`, "Insert": "age", "Constant": "age", "Upsert": "age", "InCTE": "age", "Copied": "age",
		}},
		{"ALTER TABLE users RENAME age TO years", map[string]string{
			"Get": "drop or rename them in a later release", "Insert": "age", "Constant": "age", "Upsert": "age", "InCTE": "age", "Copied": "age",
		}},
		{"ALTER TABLE users ALTER age TYPE bigint", map[string]string{"Get": "the column age is scanned as integer, but the server returns bigint"}},
		{"ALTER TABLE users ALTER age TYPE smallint", map[string]string{
			"Insert": "the parameter @age is sent as integer", "Upsert": "@age", "InCTE": "@age", "Copied": "the column age",
		}},
		{"ALTER TABLE users DROP CONSTRAINT users_name_key", map[string]string{"Upsert": "the server cannot plan it"}},
		{"ALTER TABLE users DROP CONSTRAINT users_name_key; CREATE UNIQUE INDEX u ON users (name)", nil},
		{"ALTER TYPE mood RENAME VALUE 'odd' TO 'strange'", map[string]string{"Feel": `it may send the value "odd"`}},
		{"ALTER TABLE users ALTER name DROP NOT NULL", map[string]string{"Get": "the column name can be NULL", "View": "the column name can be NULL"}},
		{"DROP VIEW names", map[string]string{"View": `relation "names" does not exist`}},
	} {
		t.Run(tt.migration, func(t *testing.T) {
			t.Parallel()
			before, after := pgtest.EmptyURL(t), pgtest.EmptyURL(t)
			exec(t, before, schema)
			exec(t, after, schema+";"+tt.migration)
			problems, err := proof.Incompatible(t.Context(), before, after, all)
			if err != nil {
				t.Fatal(err)
			}
			named := map[string]bool{}
			for _, p := range problems {
				named[p.Statement.Name] = true
				if want, ok := tt.want[p.Statement.Name]; !ok || !strings.Contains(p.Text+": "+p.Hint, want) {
					t.Errorf("%s: %s: %s; want %q", p.Statement.Name, p.Text, p.Hint, want)
				}
			}
			for name, want := range tt.want {
				if !named[name] {
					t.Errorf("%s has no problem, want %q", name, want)
				}
			}
		})
	}
}

// exec runs statements in a database.
func exec(t *testing.T, url, sql string) {
	t.Helper()
	if _, err := pgtest.Connect(t, nil, postgres.Config{URL: url}).Pool().Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}
