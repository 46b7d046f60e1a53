package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reads returns a :one read with @batch and a @plan.
func reads(sql string, params ...parameter) query {
	for i := range params {
		params[i].Number = i + 1
	}
	return one(" @batch", " @plan indexed").text(sql).takes(params)
}

// refused checks that generate refuses a request with the given line.
func refused(t *testing.T, req *request, want string) {
	t.Helper()
	files, err := generateMade(req)
	if err == nil {
		t.Fatalf("not refused: %d files", len(files))
	}
	if diff := cmp.Diff(want, strings.ReplaceAll(err.Error(), "queries/user.sql: ", "")); diff != "" {
		t.Errorf("refusal (-want +got):\n%s", diff)
	}
}

func TestRefuseBatch(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		req  *request
		want string // the lines, without "queries/user.sql: "
	}{
		"ByColumn": {
			made(one(" @plan indexed", " @batch ListUsers by id"), many()),
			`GetUser: "@batch ListUsers by id" does not parse: write @batch without arguments, because the statement for several calls is derived from this one (ListUsers and id are not needed)`,
		},
		"OnColumn": {
			made(one(" @batch ListUsers on id"), many()),
			`GetUser: "@batch ListUsers on id" does not parse: write @batch for a read, an UPDATE or a DELETE, or @batch NAME for an insert`,
		},
		"NamedRead": {
			made(one(" @batch ListUsers", " @plan indexed"), many()),
			"GetUser: @batch ListUsers on a statement that only reads: write @batch without a name, because the statement for several calls is derived from this one",
		},
		"NoPlan": {
			made(one(" @batch")),
			"GetUser: @batch without @plan: without an index, a coalesced statement scans the whole table once per call: add @plan indexed or @plan uses NAME",
		},
		"OfMany": {
			made(many(" @batch", " @plan indexed")),
			"ListUsers: @batch on a :many: only calls of a :one can be coalesced: remove it",
		},
		"Update": {
			made(one(" @batch", " @plan indexed").text("UPDATE users SET name = $1 RETURNING id, name")),
			"GetUser: @batch: it has no WHERE, so it changes more than one row: add WHERE key = @key, or remove @batch",
		},
		"NamedUpdate": {
			made(one(" @batch ListUsers", " @plan indexed").text("UPDATE users SET name = $1 WHERE id = $1 RETURNING id, name"), many()),
			"GetUser: @batch ListUsers on UPDATE: write @batch without a name, because the statement for several calls is derived from this one",
		},
		"UpdateNoPlan": {
			made(one(" @batch").text("UPDATE users SET name = 'a' WHERE id = $1 RETURNING id, name")),
			"GetUser: @batch without @plan: without an index, a coalesced statement scans the whole table once per call: add @plan indexed or @plan uses NAME",
		},
		"UpdateExec": {
			made(one(" @batch", " @plan indexed").cmd(":exec").rows().text("UPDATE users SET name = 'a' WHERE id = $1")),
			"GetUser: @batch on a :exec: only calls of a :one or :execrows can be coalesced: make it an :execrows",
		},
		"UpdateMany": {
			made(one(" @batch", " @plan indexed").cmd(":many").text("UPDATE users SET name = 'a' WHERE id = $1 RETURNING id, name")),
			"GetUser: @batch on a :many: only calls of a :one can be coalesced: remove it",
		},
		"ReadExecRows": {
			made(one(" @batch", " @plan indexed").cmd(":execrows").rows()),
			"GetUser: @batch on a :execrows: only calls of a :one can be coalesced: remove it",
		},
		"Locks": {
			made(one(" @batch", " @plan indexed").text(selectOne + " FOR UPDATE")),
			"GetUser: @batch on a statement with FOR UPDATE: only reads, inserts, and an UPDATE or DELETE of one row can be coalesced: remove it",
		},
		"InsertAlone": {
			made(create(" @batch", " @plan indexed")),
			"CreateUser: @batch without a name is for reads, but this is an INSERT: write @batch NAME, where NAME is the :many that inserts the rows of several calls",
		},
		"NameTaken": {
			made(one(" @batch", " @plan indexed"), many().named("GetUserBatch")),
			"GetUserBatch: @batch of GetUser derives a statement with this name: rename the query",
		},
		"Nowhere": {
			made(create(" @batch CreateUserz"), createMany()),
			"CreateUser: @batch CreateUserz: no query has this name (did you mean CreateUser?): name the :many that inserts the rows of several calls",
		},
		"IntoOne": {
			made(create(" @batch CreateUsers"), createMany().cmd(":one")),
			"CreateUser: @batch CreateUsers, which is a :one: name a :many",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, tt.req, tt.want)
		})
	}
}

// TestRefuseDerive has one statement for each mistake that a derived statement
// could make.
func TestRefuseDerive(t *testing.T) {
	t.Parallel()
	p := func(typ string) parameter { return param("p", typ)[0] }
	id := p("int8")
	const unstable = "() is not known to be STABLE or IMMUTABLE, so coalesced calls might share its result: remove @batch, or call a built-in function that is"
	for sql, tt := range map[string]struct {
		params []parameter
		want   string
	}{
		"(SELECT id, name FROM users WHERE id = $1)":                                   {[]parameter{id}, "the statement starts with neither SELECT nor WITH: rewrite it as a SELECT"},
		"VALUES ($1::bigint, 'a')":                                                     {[]parameter{id}, "the statement starts with neither SELECT nor WITH: rewrite it as a SELECT"},
		"SELECT id, name FROM users":                                                   {nil, "the statement has no parameters to tell its calls apart: remove @batch"},
		"SELECT id, name FROM users WHERE id = $1 -- AND age = $2":                     {[]parameter{id, param("q", "int8")[0]}, "not all of the parameters (@p bigint, @q bigint) are in the text that sqlc sends"},
		"SELECT id, name FROM users TABLESAMPLE bernoulli (50) WHERE id = $1":          {[]parameter{id}, "TABLESAMPLE returns another sample for each call: remove @batch"},
		"SELECT id, name FROM users AS _batch WHERE id = $1":                           {[]parameter{id}, "the name _batch is reserved for the derived statement: use another name"},
		`SELECT id, "_batch" FROM users WHERE id = $1`:                                 {[]parameter{id}, "the name _batch is reserved for the derived statement: use another name"},
		"SELECT id, random() FROM users WHERE id = $1":                                 {[]parameter{id}, "random" + unstable},
		`SELECT id, "random"() FROM users WHERE id = $1`:                               {[]parameter{id}, "random" + unstable},
		"SELECT id, random /* ( */ -- (\n () FROM users WHERE id = $1":                 {[]parameter{id}, "random" + unstable},
		"SELECT id, (SELECT gen_random_uuid()) FROM users WHERE id = $1":               {[]parameter{id}, "gen_random_uuid" + unstable},
		"SELECT E'a'\n'\\'', random(), id FROM users WHERE id = $1 AND name = 'it''s'": {[]parameter{id}, "random" + unstable},
		"SELECT id, clock_timestamp() FROM users WHERE id = $1":                        {[]parameter{id}, "clock_timestamp" + unstable},
		"SELECT id, set_config('a.b', name, false) FROM users WHERE id = $1":           {[]parameter{id}, "set_config" + unstable},
		"SELECT id, secret(name) FROM users WHERE id = $1":                             {[]parameter{id}, "secret" + unstable},
		"SELECT DISTINCT ON (id) secret(name), id FROM users WHERE id = $1":            {[]parameter{id}, "secret" + unstable},
		"SELECT id, zone(name) FROM users WHERE id = $1":                               {[]parameter{id}, "zone" + unstable},
		"SELECT id, filter(name), by(name) FROM users WHERE id = $1":                   {[]parameter{id}, "filter" + unstable},
		"SELECT a.id, b.y FROM users AS a, secret(a.id) AS (y text) WHERE a.id = $1":   {[]parameter{id}, "secret" + unstable},
		"SELECT id, lo\u212aer(name) FROM users WHERE id = $1":                         {[]parameter{id}, "lo\u212aer" + unstable},
		"SELECT id, ran\u212a(name) FROM users WHERE id = $1":                          {[]parameter{id}, "ran\u212a" + unstable},
		"SELECT id, app.lower(name) FROM users WHERE id = $1":                          {[]parameter{id}, "app.lower() is not a built-in function of PostgreSQL, so it is not known to be STABLE or IMMUTABLE: remove @batch"},
		"SELECT id, pg_catalog.random() FROM users WHERE id = $1":                      {[]parameter{id}, "pg_catalog.random() is not a built-in function of PostgreSQL, so it is not known to be STABLE or IMMUTABLE: remove @batch"},
		"SELECT id, name FROM users WHERE id = ANY($1)":                                {[]parameter{p("int8[]")}, "the parameter p is an array (bigint[]), which unnest would flatten: remove @batch"},
		"SELECT id, name FROM users WHERE $1 IS NULL":                                  {[]parameter{p("any")}, "sqlc does not know the type of the parameter p: add a cast, such as @p::bigint"},
		"SELECT id, name FROM users WHERE upper($1) = name":                            {[]parameter{p("anymultirange")}, "sqlc does not know the type of the parameter p: add a cast, such as @p::bigint"},
		"SELECT id, name FROM users WHERE flags = $1":                                  {[]parameter{p("pg_catalog.bit")}, "the parameter p has the type bit, whose length is lost in an array: remove @batch"},
		"SELECT id, name FROM users WHERE flags = $1::varbit":                          {[]parameter{p("varbit")}, "the parameter p has the type varbit, whose length is lost in an array: remove @batch"},
		"SELECT id, name FROM users WHERE letter = $1":                                 {[]parameter{p("char")}, `the parameter p has the type "char", whose array is an array of char(1): cast it to bpchar or text: @p::text`},
		"SELECT id, name FROM users WHERE point = $1":                                  {[]parameter{p("pair")}, "the parameter p has the composite type pair, which unnest would expand into columns: remove @batch"},
		"SELECT id, name FROM users AS u WHERE u = $1":                                 {[]parameter{p("users")}, "the parameter p has the composite type users, which unnest would expand into columns: remove @batch"},
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			req := made(reads(sql, tt.params...))
			composite := schema{Name: "public", Tables: []table{{Rel: identifier{Name: "users"}}}}
			composite.CompositeTypes = append(composite.CompositeTypes, struct {
				Name string `json:"name"`
			}{"pair"})
			req.Catalog.Schemas = []schema{composite}
			refused(t, req, "GetUser: @batch: "+tt.want)
		})
	}
}

// TestDerive compares derived statements with the expected text.
func TestDerive(t *testing.T) {
	t.Parallel()
	at := func(name, typ string) parameter { return param(name, typ)[0] }
	feeling := at("mood", "")
	feeling.Column.Type = identifier{Schema: "app", Name: "Mood"}
	for name, tt := range map[string]struct {
		query query
		want  string
	}{
		"One": {
			reads("SELECT id, name FROM users WHERE id=$1AND name<>'$1' -- $1\n;", at("id", "pg_catalog.int8")),
			"SELECT _batch.ord, one.*\nFROM unnest((SELECT $1::bigint[])) WITH ORDINALITY AS _batch (p1, ord),\n" +
				"LATERAL (SELECT * FROM (\nSELECT id, name FROM users WHERE id= _batch.p1 AND name<>'$1' -- $1\n) AS one OFFSET 0) AS one",
		},
		"Several": {
			reads("SELECT id, name FROM users WHERE (age, $2) = ($1, name) LIMIT $3", at("age", "int4"), at("name", "varchar"), at("n", "integer")),
			"SELECT _batch.ord, one.*\nFROM unnest((SELECT $1::integer[]), (SELECT $2::text[]), (SELECT $3::integer[])) WITH ORDINALITY AS _batch (p1, p2, p3, ord),\n" +
				"LATERAL (SELECT * FROM (\nSELECT id, name FROM users WHERE (age, _batch.p2 ) = ( _batch.p1 , name) LIMIT _batch.p3\n) AS one OFFSET 0) AS one",
		},
		"TypesThatPgxHasNot": {
			reads("SELECT id, name FROM users WHERE c = $1 AND m = $2 AND k = $3 AND ch = $4", at("c", "citext"), feeling, at("k", "app.kind"), at("ch", "pg_catalog.bpchar")),
			"SELECT _batch.ord, one.*\nFROM unnest((SELECT $1::text[])::\"citext\"[], (SELECT $2::text[])::\"app\".\"Mood\"[], (SELECT $3::text[])::\"app\".\"kind\"[], (SELECT $4::bpchar[])) WITH ORDINALITY AS _batch (p1, p2, p3, p4, ord),\n" +
				"LATERAL (SELECT * FROM (\nSELECT id, name FROM users WHERE c = _batch.p1 AND m = _batch.p2 AND k = _batch.p3 AND ch = _batch.p4\n) AS one OFFSET 0) AS one",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := made(tt.query)
			statements, problems := read(req)
			derived, more := derive(req, statements)
			if len(derived) != 1 || len(problems)+len(more) > 0 {
				t.Fatal(derived, problems, more)
			}
			if diff := cmp.Diff("-- name: GetUserBatch :many\n"+tt.want, derived[0].Text); diff != "" {
				t.Errorf("derived (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDeriveInherits checks that a derived statement has the policy of its
// :one.
func TestDeriveInherits(t *testing.T) {
	t.Parallel()
	files, err := generateMade(made(one(" @batch", " @plan uses users_pkey", " @class reports", " @route replica", " @timeout 1s", " @retry")))
	if err != nil {
		t.Fatal(err)
	}
	got := string(files[0].Contents)
	for _, want := range []string{
		`"uses users_pkey"`, `"reports"`, "postgres.Replica", "1 * time.Second", "Retry:", `File: "user.sql"`,
	} {
		if n := strings.Count(got, want); n != 2 {
			t.Errorf("%s is there %d times, want 2:\n%s", want, n, got)
		}
	}
	for _, want := range []string{`"GetUserBatch"`, `Batch:`, `DerivedFrom:`, `"GetUser"`, `"bigint[]"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in:\n%s", want, got)
		}
	}
}

// TestDeriveAccepts lists forms that must not be refused.
func TestDeriveAccepts(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"SELECT id, name FROM users WHERE lower(name) = lower($1) AND deleted_at IS NULL ORDER BY id LIMIT 1",
		"WITH a (x) AS (SELECT id FROM users), b (y) AS NOT MATERIALIZED (SELECT x FROM a) SELECT y, 'n' FROM b WHERE y = $1",
		"WITH RECURSIVE a (x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM a WHERE x < $1) SELECT max(x), 'n' FROM a",
		"SELECT count(*) FILTER (WHERE age > $1), sum(age) OVER (PARTITION BY (name) ORDER BY (id)) FROM users GROUP BY GROUPING SETS ((id), ()), ROLLUP (age)",
		"SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY age), coalesce(min(name), '') FROM users WHERE id IN ($1, 2) OR NOT (id < $1)",
		"SELECT id::numeric(10, 2), CAST(name AS varchar(3)), name::character varying(5) FROM users WHERE id = ANY (ARRAY[$1]) AND EXISTS (SELECT 1)",
		"SELECT extract(epoch FROM created_at AT TIME ZONE ('UTC')), current_timestamp(3) FROM users WHERE id = $1 FETCH FIRST (1) ROWS ONLY",
		"SELECT u.id, t.name FROM users AS u JOIN (SELECT id, name FROM users) AS t (i, name) ON (t.i = u.id) CROSS JOIN LATERAL (SELECT 1) AS l WHERE u.id = $1",
		"SELECT id, pg_catalog.lower(name) FROM users WHERE id = $1 AND (id, name) OVERLAPS (id, name) IS NULL AND name LIKE ('a') AND now() > created_at",
	} {
		if _, err := generateMade(made(reads(sql, param("p", "int8")...))); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
