package proof_test

import (
	"fmt"
	"testing"

	"quern/postgres"
)

// TestStatements_Changes checks derived updates and deletes whose key, lock or condition is not
// what the plugin took them for. The server decides.
func TestStatements_Changes(t *testing.T) {
	t.Parallel()
	derived := func(lock, where, set, join string, key ...string) postgres.Statement {
		s := statement(fmt.Sprintf(`WITH _held AS MATERIALIZED (
SELECT _batch.* FROM unnest((SELECT $1::bigint[])) WITH ORDINALITY AS _batch (_p1, _ord),
LATERAL (SELECT FROM books WHERE %s FOR %s SKIP LOCKED) AS _row LIMIT (SELECT NULL::bigint))
UPDATE books SET %s FROM _held AS _batch WHERE %s RETURNING _batch._ord AS ord`, where, lock, set, join), "id bigint[]", "ord bigint!")
		s.DerivedFrom = "One"
		for _, column := range key {
			s.Key = append(s.Key, postgres.KeyColumn{Column: column})
		}
		return s
	}
	const id, weak, strong = "id = _batch._p1", "NO KEY UPDATE", "UPDATE"
	try(t, `
		CREATE UNIQUE INDEX books_title ON books (title);
		CREATE UNIQUE INDEX books_tenant ON books (tenant) WHERE tenant > 0;
		ALTER TABLE books ADD code bigint UNIQUE, ADD part bigint NOT NULL DEFAULT 0, ADD UNIQUE (author_id, part);
		CREATE FUNCTION lucky(bigint) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT random() < 0.5';
		CREATE FUNCTION steady(bigint) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT $1 > 0';
		CREATE FUNCTION near(bigint, bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN $1 = $2; END';
		CREATE OPERATOR === (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = near);
		CREATE TABLE parents (id bigint PRIMARY KEY, n integer NOT NULL);
		CREATE TABLE children () INHERITS (parents);
	`, []trial{
		{derived(weak, id, "price = 1", id, "id"), ""},
		{derived(weak, id+" AND steady(id)", "price = random()", id, "id"), ""},
		{derived(strong, id, "title = 'a'", id, "id"), ""},
		{derived(weak, id, "tenant = 1", id, "id"), ""}, // a partial index is no key
		{derived(weak, id, "title = 'a'", id, "id"), "it sets title, a column of the unique index books_title"},
		{derived(weak, id, "part = 1", id, "id"), "it sets part, a column of the unique index"},
		{derived(weak, "tenant = _batch._p1", "price = 1", "tenant = _batch._p1", "tenant"), "no unique index of books has only the columns by which it finds its row (tenant)"},
		{derived(weak, "author_id = _batch._p1", "price = 1", "author_id = _batch._p1", "author_id"), "no unique index of books"},
		{derived(strong, "code = _batch._p1", "price = 1", "code = _batch._p1", "code"), "the column code of its key may be NULL"},
		{derived(weak, id+" AND lucky(id)", "price = 1", id, "id"), "its WHERE calls lucky(bigint), which is VOLATILE"},
		{derived(weak, id+" AND tenant === 1", "price = 1", id, "id"), "its WHERE calls near(bigint,bigint), which is VOLATILE"},
		{derived(weak, "id + 0 = _batch._p1", "price = 1", id, "id"), "it scans all of books"},
		{func() postgres.Statement {
			s := derived(weak, id, "price = 1", id, "id")
			s.SQL = `WITH _held AS MATERIALIZED (
SELECT _batch.* FROM unnest((SELECT $1::bigint[])) WITH ORDINALITY AS _batch (_p1, _ord),
LATERAL (SELECT FROM parents WHERE id = _batch._p1 FOR NO KEY UPDATE SKIP LOCKED) AS _row)
UPDATE parents SET n = 1 FROM _held AS _batch WHERE id = _batch._p1 RETURNING _batch._ord AS ord`
			return s
		}(), "other tables inherit from parents"},
		{func() postgres.Statement {
			s := statement("SELECT o, id FROM unnest($1::bigint[]) WITH ORDINALITY AS b (id, o)", "id bigint[]", "o bigint, id bigint")
			s.DerivedFrom, s.Key = "One", []postgres.KeyColumn{{Column: "id"}}
			return s
		}(), "is neither"},
	})
}
