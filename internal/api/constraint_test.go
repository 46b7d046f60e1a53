package api

import (
	"fmt"
	"strings"
	"testing"

	"quern/internal/db"
)

// TestConstraint_New adds constraints that a later migration may have, and for which the table
// of errors has no row.
func TestConstraint_New(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ddl                string
		method, path, body string
		status             int
		code               code
		says               string // in the detail
	}{
		"Unique": {
			"ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE (email)",
			"POST", "/v1/users", `{"username":"bob","email":"ada@x"}`, 409, codeConflict, `"users_email_key" of table "users"`,
		},
		"UniqueIndex": {
			"CREATE UNIQUE INDEX users_email_lower ON users (lower(email))",
			"PATCH", "/v1/users/2", `{"email":"ADA@X"}`, 409, codeConflict, `"users_email_lower"`,
		},
		"UniqueDeferred": {
			"ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE (email) DEFERRABLE INITIALLY DEFERRED",
			"POST", "/v1/users", `{"username":"bob","email":"ada@x"}`, 409, codeConflict, `"users_email_key"`,
		},
		"Exclusion": {
			"ALTER TABLE users ADD CONSTRAINT users_email_excl EXCLUDE (email WITH =)",
			"POST", "/v1/users", `{"username":"bob","email":"ada@x"}`, 409, codeConflict, `"users_email_excl"`,
		},
		"Check": {
			"ALTER TABLE users ADD CONSTRAINT users_email_form CHECK (email LIKE '%@%')",
			"PATCH", "/v1/users/1", `{"email":"ada"}`, 422, codeInvalid, `"users_email_form" of table "users"`,
		},
		"NotNull": {
			"ALTER TABLE users ALTER age SET DEFAULT 1; UPDATE users SET age = 1; ALTER TABLE users ALTER age SET NOT NULL",
			"PATCH", "/v1/users/1", `{"age":null}`, 422, codeInvalid, `"age" of table "users"`,
		},
		"Domain": {
			"CREATE DOMAIN address AS text CONSTRAINT address_form CHECK (VALUE LIKE '%@%'); ALTER TABLE users ALTER email TYPE address",
			"POST", "/v1/users", `{"username":"bob","email":"bob"}`, 422, codeInvalid, `"address_form"`,
		},
		"ForeignKey": {
			"CREATE TABLE titles (title text PRIMARY KEY); ALTER TABLE posts ADD CONSTRAINT posts_title_fkey FOREIGN KEY (title) REFERENCES titles",
			"POST", "/v1/users/1/posts", `{"title":"t","content":""}`, 422, codeUnknownReference, `"posts_title_fkey" of table "posts"`,
		},
		"StillReferenced": {
			"CREATE TABLE orders (user_id bigint CONSTRAINT orders_user_id_fkey REFERENCES users); INSERT INTO orders VALUES (1)",
			"DELETE", "/v1/users/1", "", 409, codeReferenced, `"orders_user_id_fkey" of table "orders"`,
		},
		"Restricted": {
			"CREATE TABLE orders (user_id bigint CONSTRAINT orders_user_id_fkey REFERENCES users ON DELETE RESTRICT); INSERT INTO orders VALUES (1)",
			"POST", "/v1/users/bulk-delete", `[{"id":1}]`, 409, codeReferenced, `"orders_user_id_fkey"`,
		},
		"ReferencedByItsOwnTable": {
			"ALTER TABLE users ADD boss bigint CONSTRAINT users_boss_fkey REFERENCES users; UPDATE users SET boss = 1 WHERE id = 2",
			"DELETE", "/v1/users/1", "", 409, codeReferenced, `"users_boss_fkey"`,
		},
		"ReferencedByName": {
			"ALTER TABLE users ADD UNIQUE (username); CREATE TABLE badges (username text CONSTRAINT badges_username_fkey REFERENCES users (username)); INSERT INTO badges VALUES ('ada')",
			"PATCH", "/v1/users/1", `{"username":"eve"}`, 409, codeReferenced, `"badges_username_fkey"`,
		},
		"NoLongerCascades": {
			`ALTER TABLE posts DROP CONSTRAINT posts_user_id_fkey; ALTER TABLE posts ADD CONSTRAINT posts_user_id_fkey FOREIGN KEY (user_id) REFERENCES users;
				INSERT INTO posts (user_id, title, content) VALUES (1, 't', '')`,
			"DELETE", "/v1/users/1", "", 409, codeReferenced, `"posts_user_id_fkey"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t)
			c.db.CreateUser(t, func(p *db.CreateUserParams) { p.Username, p.Email = "ada", "ada@x" })
			c.db.CreateUser(t, func(p *db.CreateUserParams) { p.Email = "other@x" })
			for _, ddl := range strings.Split(test.ddl, ";") {
				c.db.Exec(t, ddl)
			}
			a := c.do(test.method, test.path, test.body).want(test.status)
			var p Problem
			if a.into(&p); p.Code != test.code || !strings.Contains(p.Detail, test.says) {
				t.Errorf("%s: %s, want %s and %s", p.Code, p.Detail, test.code, test.says)
			}
			if log := c.log.String(); log != "" {
				t.Errorf("a client's mistake is logged: %s", log)
			}
			// The response must be the same with a key.
			again := c.do(test.method, test.path, test.body, "Idempotency-Key", fmt.Sprintf("%q", name)).want(test.status)
			if again.body != a.body {
				t.Errorf("with a key %s, without one %s", again.body, a.body)
			}
		})
	}
}
