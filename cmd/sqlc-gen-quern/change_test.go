package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// usersSchema declares the table of the requests below, as sqlc's catalog and as the schema
// files do.
func usersSchema(req *request) *request {
	users := table{Rel: identifier{Name: "users"}, Columns: []column{
		col("id", "int8"), col("tenant", "int8"), col("number", "int4"), col("name", "text"), nullable(col("code", "text")), col("age", "int4"),
	}}
	req.Catalog.Schemas = []schema{{Name: "public", Tables: []table{users}}}
	req.keys = readKeys([]sqlFile{{"migrations/1.sql", `CREATE TABLE public.users (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant bigint NOT NULL, number integer NOT NULL, name text NOT NULL,
		code text UNIQUE, age integer NOT NULL, UNIQUE (tenant, number))`}})
	return req
}

// changes returns a :one with @batch. Its parameters are bigints named a, b and c.
func changes(sql string, n int) query {
	var params []parameter
	for i := range n {
		params = append(params, param(string(rune('a'+i)), "int8")...)
	}
	return reads(sql, params...).named("Change")
}

// TestRefuseChange has one statement for each reason not to derive an UPDATE or DELETE.
func TestRefuseChange(t *testing.T) {
	t.Parallel()
	const (
		subquery  = "it has a subquery (SELECT), which may read rows that other calls change: remove @batch, or pass the value as a parameter"
		unstable  = "() is not known to be STABLE or IMMUTABLE, so coalesced calls might share its result: remove @batch, or call a built-in function that is"
		noKey     = "its WHERE compares no column with a parameter by =, so it may change several rows: add AND key = @key, where key is unique, or remove @batch"
		notUnique = "no unique key of users is among the columns that its WHERE compares with a parameter by = ("
		effect    = "() has an effect on the transaction, which coalesced calls share: remove @batch"
	)
	other := func(columns string) string {
		return notUnique + columns + "), so it may change several rows: compare a unique key, or remove @batch"
	}
	for sql, want := range map[string]string{
		"UPDATE users SET age = 1 RETURNING id, name":                                               "it has no WHERE, so it changes more than one row: add WHERE key = @key, or remove @batch",
		"UPDATE users SET age = 1 WHERE age = $1 RETURNING id, name":                                other("age"),
		"UPDATE users SET age = 1 WHERE tenant = $1 AND age = $2 RETURNING id, name":                other("tenant, age"),
		"UPDATE users SET age = 1 WHERE id > $1 RETURNING id, name":                                 noKey,
		"UPDATE users SET age = 1 WHERE id = ANY($1::bigint[]) RETURNING id, name":                  noKey,
		"UPDATE users SET age = 1 WHERE id IN ($1, $2) RETURNING id, name":                          noKey,
		"UPDATE users SET age = 1 WHERE id = $1 OR age = $2 RETURNING id, name":                     noKey,
		"UPDATE users SET age = 1 WHERE age = 1 OR name = 'a' AND id = $1 RETURNING id, name":       noKey,
		"UPDATE users SET age = 1 WHERE NOT id = $1 RETURNING id, name":                             noKey,
		"UPDATE users SET age = 1 WHERE (id = $1) IS NOT TRUE RETURNING id, name":                   noKey,
		"UPDATE users SET age = 1 WHERE id = $1 + 1 RETURNING id, name":                             noKey,
		"UPDATE users SET age = 1 WHERE id = $1::bigint + 1 RETURNING id, name":                     noKey,
		"UPDATE users SET age = 1 WHERE id + 1 = $1 RETURNING id, name":                             noKey,
		"UPDATE users SET age = 1 WHERE id IS NOT DISTINCT FROM $1 RETURNING id, name":              noKey,
		"UPDATE users SET age = 1 WHERE true BETWEEN false AND id = $1 RETURNING id, name":          noKey,
		"UPDATE users SET age = 1 WHERE CASE WHEN true AND id = $1 THEN true END RETURNING id":      noKey,
		"UPDATE users SET age = 1 WHERE other.id = $1 RETURNING id, name":                           noKey,
		"UPDATE teams SET age = 1 WHERE id = $1 RETURNING id, name":                                 "the schema files of sqlc.yaml do not declare the unique keys of teams by CREATE TABLE: declare it there, or remove @batch",
		"UPDATE users SET age = 1 WHERE code = $1 RETURNING id, name":                               "the column code of its key may be NULL: declare it NOT NULL, or remove @batch",
		"UPDATE users SET id = $2 WHERE id = $1 RETURNING id, name":                                 "SET changes the column id of the key by which it finds its row: remove it from SET, or remove @batch",
		"UPDATE users SET (age, id) = (1, $2) WHERE id = $1 RETURNING id, name":                     "SET changes the column id of the key by which it finds its row: remove it from SET, or remove @batch",
		"UPDATE users SET age = 1 FROM teams WHERE users.id = $1 RETURNING id, name":                "it has FROM, so rows of another table decide which row a call changes: remove @batch, or name one table",
		"DELETE FROM users USING teams WHERE users.id = $1 RETURNING id, name":                      "it has USING, so rows of another table decide which row a call changes: remove @batch, or name one table",
		"UPDATE users SET age = (SELECT max(age) FROM users) WHERE id = $1 RETURNING id, name":      subquery,
		"UPDATE users SET age = 1 WHERE id = $1 AND EXISTS (SELECT 1 FROM teams) RETURNING id":      subquery,
		"UPDATE users SET age = 1 WHERE id = $1 RETURNING id, (SELECT count(*) FROM users) AS name": subquery,
		"UPDATE users SET (age, name) = (VALUES (1, 'a')) WHERE id = $1 RETURNING id, name":         strings.Replace(subquery, "SELECT", "VALUES", 1),
		"WITH u AS (UPDATE users SET age = 1 WHERE id = $1 RETURNING id, name) SELECT * FROM u":     subquery,
		"WITH u AS (DELETE FROM teams) UPDATE users SET age = 1 WHERE id = $1 RETURNING id, name":   "@batch on a statement with DELETE, UPDATE: only reads, inserts, and an UPDATE or DELETE of one row can be coalesced: remove it",
		"UPDATE users SET age = 1 WHERE CURRENT OF c AND id = $1 RETURNING id, name":                "it has WHERE CURRENT OF, which needs a cursor: write WHERE key = @key",
		"UPDATE users SET age = 1 WHERE id = $1 AND random() < 0.5 RETURNING id, name":              "random" + unstable,
		"UPDATE users SET age = 1 WHERE id = $1 AND mine(name) RETURNING id, name":                  "mine" + unstable,
		"UPDATE users SET age = 1 WHERE id = $1 AND app.lower(name) = '' RETURNING id, name":        "app.lower() is not a built-in function of PostgreSQL, so it is not known to be STABLE or IMMUTABLE: remove @batch",
		"UPDATE users SET age = pg_advisory_xact_lock(1) WHERE id = $1 RETURNING id, name":          "pg_advisory_xact_lock" + effect,
		"UPDATE users SET name = set_config('a', 'b', true) WHERE id = $1 RETURNING id, name":       "set_config" + effect,
		"UPDATE users SET age = 1 WHERE id = $1 RETURNING id, pg_notify('a', 'b') AS name":          "pg_notify" + effect,
		"UPDATE users SET age = pg_catalog.txid_current() WHERE id = $1 RETURNING id, name":         "txid_current" + effect,
		"UPDATE users SET age = 1 WHERE id = $1":                                                    "it is a :one without RETURNING: add it, or make it an :execrows",
		"UPDATE users SET age = 1 WHERE id = $1 RETURNING *":                                        "RETURNING * would return the columns of the derived statement, too: name the columns",
		"UPDATE users AS u SET age = 1 WHERE id = $1 RETURNING id, u.*":                             "RETURNING * would return the columns of the derived statement, too: name the columns",
		"UPDATE users SET age = 1 WHERE id = $1 RETURNING WITH (OLD AS o) o.id, name":               "RETURNING WITH renames OLD and NEW, which is not supported: name the columns",
		"UPDATE users AS _batch SET age = 1 WHERE id = $1 RETURNING id, name":                       "the name _batch is reserved for the derived statement: use another name",
		"UPDATE users SET age = 1 WHERE id = $1 RETURNING id, name AS _held":                        "the name _held is reserved for the derived statement: use another name",
		"UPDATE users SET age = 1 WHERE id = $1 AND age = $2 -- $3\nRETURNING id, name":             "",
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			n := 0
			for strings.Contains(sql, "$"+string(rune('1'+n))) {
				n++
			}
			if n == 0 {
				n = 1
				sql = strings.Replace(sql, "age = 1", "age = $1", 1)
			}
			q := changes(sql, n)
			if n == 3 {
				want = "not all of the parameters (@a bigint, @b bigint, @c bigint) are in the text that sqlc sends"
			}
			if !strings.HasPrefix(want, "@batch ") {
				want = "@batch: " + want
			}
			refused(t, usersSchema(made(q)), "Change: "+want)
		})
	}
	t.Run("Parameter", func(t *testing.T) {
		t.Parallel()
		for typ, want := range map[string]string{
			"int8[]": "the parameter b is an array (bigint[]), which unnest would flatten: remove @batch",
			"any":    "sqlc does not know the type of the parameter b: add a cast, such as @b::bigint",
		} {
			q := reads("UPDATE users SET age = $2 WHERE id = $1 RETURNING id, name", append(param("a", "int8"), param("b", typ)...)...).named("Change")
			refused(t, usersSchema(made(q)), "Change: @batch: "+want)
		}
	})
	t.Run("ExecRows", func(t *testing.T) {
		t.Parallel()
		q := changes("UPDATE users SET age = 1 WHERE id = $1 RETURNING id, name", 1).cmd(":execrows").rows()
		refused(t, usersSchema(made(q)), "Change: @batch: it is an :execrows with RETURNING: remove RETURNING, or make it a :one")
	})
}

// TestDeriveChange has the parts of a derived statement for each accepted form: the lock, the
// columns of its key, and the condition of its second step.
func TestDeriveChange(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"UPDATE users SET age = $2 WHERE id = $1 RETURNING id, name":                                           "NO KEY UPDATE; id; id = _batch._p1",
		"UPDATE users SET age = $1 WHERE $2 = id AND age > $1 RETURNING id, name":                              "NO KEY UPDATE; id; _batch._p2 = id",
		"UPDATE ONLY public.users AS u SET age = 1 WHERE u.id = $1::bigint RETURNING u.id, u.name":             "NO KEY UPDATE; id; u.id = _batch._p1 ::bigint",
		"UPDATE users u SET age = 1 WHERE u.tenant = $2 AND number = $1 RETURNING id, name":                    "NO KEY UPDATE; tenant, number; u.tenant = _batch._p2 AND number = _batch._p1",
		"UPDATE users SET age = 1 WHERE tenant = $1 AND number = $2 AND id = $3 RETURNING id, name":            "NO KEY UPDATE; id; id = _batch._p3",
		"UPDATE users SET code = 'a' WHERE id = $1 RETURNING id, name":                                         "UPDATE; id; id = _batch._p1",
		"UPDATE users SET (age, number) = (1, $2) WHERE id = $1 RETURNING id, name":                            "UPDATE; id; id = _batch._p1",
		"DELETE FROM users WHERE id = $1 RETURNING id, name":                                                   "UPDATE; id; id = _batch._p1",
		"UPDATE users SET age = nextval('s'), name = random()::text WHERE id = $1 RETURNING id, name":          "NO KEY UPDATE; id; id = _batch._p1",
		"UPDATE users SET age = mine(age) WHERE id = $1 RETURNING id, mine(name) AS name":                      "NO KEY UPDATE; id; id = _batch._p1",
		"UPDATE users SET age = 1 WHERE id = $1 AND (age = $2 OR name = 'x') RETURNING id, name":               "NO KEY UPDATE; id; id = _batch._p1",
		"UPDATE users SET age = 1 WHERE age BETWEEN $2 AND $3 AND id = $1 RETURNING id, name":                  "NO KEY UPDATE; id; id = _batch._p1",
		"UPDATE users SET age = CASE WHEN age IS DISTINCT FROM $2 THEN 1 END WHERE id = $1 RETURNING id, name": "NO KEY UPDATE; id; id = _batch._p1",
		"UPDATE users SET name = substring(name FROM 1 FOR 2) WHERE id = $1 RETURNING id, name":                "NO KEY UPDATE; id; id = _batch._p1",
		"UPDATE users SET age = 1 WHERE id = $1 AND -- it\n age = $2 RETURNING id, name;":                      "NO KEY UPDATE; id; id = _batch._p1",
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			n := strings.Count(sql, "$")
			if strings.Contains(sql, "age > $1") {
				n = 2
			}
			req := usersSchema(made(changes(sql, n)))
			statements, problems := read(req)
			derived, more := derive(req, statements)
			if problems = append(append(problems, more...), check(statements)...); len(problems) > 0 || len(derived) != 1 {
				t.Fatal(report(statements, problems))
			}
			d := derived[0]
			lock := between(d.Text, "\nFOR ", " SKIP LOCKED")
			condition := strings.TrimSpace(between(d.Text[strings.Index(d.Text, "_held AS _batch\n"):], "WHERE ", "\nRETURNING"))
			got := lock + "; " + listKey(d.key) + "; " + strings.ReplaceAll(condition, "  ", " ")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%s", diff, d.Text)
			}
			for _, k := range d.key {
				if p := d.Params[k.param]; p.Number != k.param+1 {
					t.Errorf("the column %s is compared with parameter %d", k.column, p.Number)
				}
			}
		})
	}
}

func between(text, after, before string) string {
	_, rest, _ := strings.Cut(text, after)
	found, _, _ := strings.Cut(rest, before)
	return found
}

// TestReadKeys reads the unique keys of tables from migrations.
func TestReadKeys(t *testing.T) {
	t.Parallel()
	got := readKeys([]sqlFile{{"1.sql", `-- +goose Up
CREATE TABLE IF NOT EXISTS a (id bigint PRIMARY KEY, "B" text UNIQUE, c numeric(10, 2) CHECK (c > 0), d int, UNIQUE NULLS NOT DISTINCT (c, d), CONSTRAINT e UNIQUE (d));
CREATE TABLE app.b (id int, CONSTRAINT pk PRIMARY KEY (id));
CREATE TABLE c (LIKE a INCLUDING ALL);
CREATE TABLE d AS SELECT 1 AS id;
CREATE TABLE e (id int, n text);
CREATE TABLE f (id int PRIMARY KEY);
CREATE TABLE g (id int PRIMARY KEY);
CREATE TABLE h (id int, n int UNIQUE);
CREATE UNIQUE INDEX CONCURRENTLY e_id ON public.e USING btree (id DESC) INCLUDE (n);
CREATE UNIQUE INDEX e_n ON e (lower(n));
CREATE UNIQUE INDEX e_some ON e (n) WHERE id > 1;
CREATE INDEX e_all ON e (n);
ALTER TABLE ONLY e ADD CONSTRAINT e_pkey PRIMARY KEY USING INDEX e_id;
ALTER TABLE f RENAME COLUMN id TO "Key", RENAME CONSTRAINT f_pkey TO fk;
ALTER TABLE f RENAME TO "F";
ALTER TABLE app.b RENAME TO bb;
CREATE TABLE i (id int PRIMARY KEY) INHERITS (a);
ALTER TABLE i INHERIT e;
DROP TABLE g;
ALTER TABLE h ADD PRIMARY KEY (id), DROP CONSTRAINT IF EXISTS h_n_key, DROP CONSTRAINT h_check;
-- +goose Down
ALTER TABLE h ADD UNIQUE (n);
`}})
	want := schemaKeys{
		"a":      {{"a_pkey", []string{"id"}}, {"a_B_key", []string{"B"}}, {"a_c_d_key", []string{"c", "d"}}, {"e", []string{"d"}}},
		"app.bb": {{"pk", []string{"id"}}},
		"F":      {{"fk", []string{"Key"}}},
		"e":      {{"e_id", []string{"id"}}, {"e_n", nil}},
		"h":      {{"h_pkey", []string{"id"}}},
	}
	opt := cmp.AllowUnexported(uniqueKey{})
	if diff := cmp.Diff(want, got, opt); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
