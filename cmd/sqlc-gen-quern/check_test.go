package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The statements of the tests below, with one mistake each.
const (
	selectOne  = "SELECT id, name FROM users WHERE id = $1"
	selectMany = "SELECT id, name FROM users WHERE id = ANY($1::bigint[])"
	insertOne  = "INSERT INTO users (name) VALUES ($1) RETURNING id, name"
	insertMany = "WITH input AS (SELECT generate_subscripts($1::text[], 1) AS ord, nextval('users_id_seq') AS id, unnest($1::text[]) AS name), ins AS (INSERT INTO public.users (id, name) OVERRIDING SYSTEM VALUE SELECT i.id, i.name FROM input AS i ON CONFLICT DO NOTHING RETURNING id, name) SELECT i.ord::integer AS ord, ins.id, ins.name FROM ins JOIN input AS i ON i.id = ins.id"
)

func col(name, typ string) column {
	c := column{Name: name, NotNull: true}
	c.Type.Name, c.IsArray = strings.CutSuffix(typ, "[]")
	if c.IsArray {
		c.ArrayDims = 1
	}
	return c
}

func nullable(c column) column {
	c.NotNull = false
	return c
}

func param(name, typ string) []parameter {
	c := col(name, typ)
	c.IsNamedParam = true
	return []parameter{{Number: 1, Column: c}}
}

var (
	row    = []column{col("id", "int8"), col("name", "text")}
	ordRow = append([]column{col("ord", "int4")}, row...)
	id     = param("id", "pg_catalog.int8")
	ids    = param("ids", "int8[]")
)

// made builds a request of queries in queries/user.sql.
func made(queries ...query) *request {
	req := &request{Queries: queries, golang: &golang{
		file: "sqlc.yaml", pkg: "db", out: "db", driver: "pgx/v5", paramLimit: 1, initialisms: []string{"id"}, nullPointers: true, nullEnumPointers: true,
	}}
	req.Settings.Codegen.Out = "db"
	req.Catalog.DefaultSchema = "public"
	for i := range req.Queries {
		req.Queries[i].Filename = "user.sql"
	}
	return req
}

// generateMade calls generate with the query file of a request built by made.
func generateMade(req *request) ([]file, error) {
	var b strings.Builder
	for _, q := range req.Queries {
		for _, line := range q.Comments {
			b.WriteString("--" + line + "\n")
		}
		b.WriteString("-- name: " + q.Name + " " + q.Cmd + "\n" + q.Text + ";\n\n")
	}
	return generate(req, []sqlFile{{"queries/user.sql", b.String()}})
}

// one returns a :one read with the given comment lines.
func one(comments ...string) query {
	return query{Name: "GetUser", Cmd: ":one", Text: selectOne, Columns: row, Params: id, Comments: comments}
}

func many(comments ...string) query {
	return query{Name: "ListUsers", Cmd: ":many", Text: selectMany, Columns: row, Params: ids, Comments: comments}
}

func create(comments ...string) query {
	return query{Name: "CreateUser", Cmd: ":one", Text: insertOne, Columns: row, Params: param("name", "text"), Comments: comments}
}

func createMany() query {
	return query{Name: "CreateUsers", Cmd: ":many", Text: insertMany, Columns: ordRow, Params: param("names", "text[]")}
}

func (q query) with(change func(*query)) query {
	change(&q)
	return q
}

func (q query) text(sql string) query     { return q.with(func(q *query) { q.Text = sql }) }
func (q query) cmd(cmd string) query      { return q.with(func(q *query) { q.Cmd = cmd }) }
func (q query) named(name string) query   { return q.with(func(q *query) { q.Name = name }) }
func (q query) rows(c ...column) query    { return q.with(func(q *query) { q.Columns = c }) }
func (q query) takes(p []parameter) query { return q.with(func(q *query) { q.Params = p }) }

func TestRefuse(t *testing.T) {
	t.Parallel()
	const list = "@batch, @class, @plan, @queue, @retry, @route, @stream, @timeout"
	tests := map[string]struct {
		req  *request
		want string // the lines, without "queries/user.sql: "
	}{
		"UnknownDirective": {
			made(one(" @rout replica")),
			"GetUser: unknown directive @rout (did you mean @route?): use one of " + list,
		},
		"UnlikeAnyDirective": {
			made(one(" @cache 5m")),
			"GetUser: unknown directive @cache: use one of " + list,
		},
		"Twice": {
			made(one(" @route replica", " @route primary")),
			"GetUser: @route is given twice: keep one",
		},
		"BadRoute": {
			made(one(" @route standby")),
			`GetUser: "@route standby" does not parse: write @route primary or @route replica`,
		},
		"RouteAlone": {
			made(one(" @route")),
			`GetUser: "@route" does not parse: write @route primary or @route replica`,
		},
		"BadTimeout": {
			made(one(" @timeout 250")),
			`GetUser: "@timeout 250" does not parse: write @timeout and a positive Go duration, such as 250ms, 2s or 1m30s`,
		},
		"NoTimeout": {
			made(one(" @timeout 0s")),
			`GetUser: "@timeout 0s" does not parse: write @timeout and a positive Go duration, such as 250ms, 2s or 1m30s`,
		},
		"TwoTimeouts": {
			made(one(" @timeout 1s 2s")),
			`GetUser: "@timeout 1s 2s" does not parse: write @timeout and a positive Go duration, such as 250ms, 2s or 1m30s`,
		},
		"RetryTimes": {
			made(create(" @retry 3")),
			`CreateUser: "@retry 3" does not parse: write @retry, alone`,
		},
		"BadPlan": {
			made(one(" @plan fast")),
			`GetUser: "@plan fast" does not parse: write @plan indexed or @plan uses NAME, with the name of an index`,
		},
		"PlanUsesNothing": {
			made(one(" @plan uses")),
			`GetUser: "@plan uses" does not parse: write @plan indexed or @plan uses NAME, with the name of an index`,
		},
		"ClassAlone": {
			made(one(" @class")),
			`GetUser: "@class" does not parse: write @class NAME, in lower-case letters, digits and _, such as @class bulk`,
		},
		"TwoClasses": {
			made(one(" @class bulk reports")),
			`GetUser: "@class bulk reports" does not parse: write @class NAME, in lower-case letters, digits and _, such as @class bulk`,
		},
		"ClassWithShare": {
			made(one(" @class bulk=50%")),
			`GetUser: "@class bulk=50%" does not parse: write @class NAME, in lower-case letters, digits and _, such as @class bulk`,
		},
		"ClassInUpperCase": {
			made(one(" @class Bulk")),
			`GetUser: "@class Bulk" does not parse: write @class NAME, in lower-case letters, digits and _, such as @class bulk`,
		},
		"ClassTwice": {
			made(one(" @class bulk", " @class bulk")),
			"GetUser: @class is given twice: keep one",
		},
		"ClassMisspelt": {
			made(one(" @clas bulk")),
			"GetUser: unknown directive @clas (did you mean @class?): use one of " + list,
		},
		"StreamOf": {
			made(many(" @stream rows")),
			`ListUsers: "@stream rows" does not parse: write @stream, alone`,
		},
		"QueueOf": {
			made(one(" @queue rows")),
			`GetUser: "@queue rows" does not parse: write @queue, alone`,
		},
		"QueueCopy": {
			made(create(" @queue").cmd(":copyfrom")),
			"CreateUser: @queue on a :copyfrom: a COPY cannot be sent together with other statements: remove it",
		},
		"QueueTaken": {
			made(one(" @queue"), one().named("QueueGetUser")),
			"QueueGetUser: @queue of GetUser generates a method with this name: rename the query",
		},
		"QueueStreamTaken": {
			made(many(" @queue").named("UsersStream"), many(" @stream").named("QueueUsers")),
			"QueueUsers: its @stream and the @queue of UsersStream would generate the same method QueueUsersStream: rename the query",
		},
		"QueueEmbed": {
			made(many(" @queue").rows(row[0], column{Name: "users", EmbedTable: &identifier{Name: "users"}})),
			"ListUsers: @queue: sqlc.embed cannot be queued: name the columns of users",
		},
		"StreamOne": {
			made(one(" @stream")),
			"GetUser: @stream on a :one: only a :many can be streamed: remove it",
		},
		"ReplicaWrites": {
			made(create(" @route replica")),
			"CreateUser: @route replica on a statement with INSERT, which only the primary can run: remove @route replica",
		},
		"ReplicaLocks": {
			made(one(" @route replica").text(selectOne + " FOR UPDATE")),
			"GetUser: @route replica on a statement with FOR UPDATE, which only the primary can run: remove @route replica",
		},
		"ReplicaCopies": {
			made(create(" @route replica").cmd(":copyfrom")),
			"CreateUser: @route replica on a :copyfrom, which writes: remove it",
		},
		"RetryCopy": {
			made(create(" @retry").cmd(":copyfrom")),
			"CreateUser: @retry on a :copyfrom, which reads its rows once and cannot repeat them: remove it",
		},
		"PlanCopy": {
			made(create(" @plan indexed").cmd(":copyfrom")),
			"CreateUser: @plan on a :copyfrom, which has no plan: remove it",
		},
		"ExecResult": {
			made(one().cmd(":execresult")),
			"GetUser: :execresult is not supported: use :execrows, or :exec",
		},
		"ExecLastID": {
			made(one().cmd(":execlastid")),
			"GetUser: :execlastid is not supported: use :one with RETURNING id",
		},
		"BatchExec": {
			made(one().cmd(":batchexec")),
			"GetUser: :batchexec is not supported: use :exec over arrays (unnest), or :copyfrom for rows by the thousand",
		},
		"BatchMany": {
			made(one().cmd(":batchmany")),
			"GetUser: :batchmany is not supported: use :many over an array (= ANY(@ids::bigint[]))",
		},
		"BatchOne": {
			made(one().cmd(":batchone")),
			"GetUser: :batchone is not supported: use :many over arrays (unnest), with an ordinal in each row",
		},
		"KindOfTheFuture": {
			made(one().cmd(":stream")),
			"GetUser: :stream is not supported: use :one, :many, :exec, :execrows or :copyfrom",
		},
		"Slice": {
			made(many().takes(slice())),
			"ListUsers: sqlc.slice does not work with pgx: write = ANY(@ids::bigint[])",
		},
		"Merge": {
			made(one().cmd(":exec").takes(nil).rows().text("MERGE INTO t USING s ON s.id = t.id WHEN MATCHED AND t.id = @id AND t.a <@b THEN UPDATE SET n = sqlc.narg('n'), m = sqlc . arg (m)")),
			"GetUser: sqlc sends @id, sqlc . arg, sqlc.narg unchanged because it finds no parameters there: MERGE can have none: write INSERT … ON CONFLICT, or an UPDATE and an INSERT in one WITH",
		},
		"MergeByNumber": {
			made(one().cmd(":exec").takes(nil).rows().text("MERGE INTO t USING s ON s.id = $2 AND t.id = $1 WHEN MATCHED THEN DELETE")),
			"GetUser: the generated method has no argument for $1, $2: MERGE can have none: write INSERT … ON CONFLICT, or an UPDATE and an INSERT in one WITH",
		},
		"MergeReturning": {
			made(many().takes(nil).rows().text("MERGE INTO t USING s ON s.id = t.id WHEN MATCHED THEN DELETE RETURNING t.id")),
			"ListUsers: sqlc finds no columns in a MERGE, so the method would return none: write INSERT … ON CONFLICT … RETURNING, or an UPDATE and an INSERT in one WITH",
		},
		"LostInAnExpression": {
			made(many().takes(nil).text("SELECT json_object('a': @v), '@a', n @> m, @ n, a.\"@b\" FROM t -- of @c")),
			"ListUsers: sqlc sends @v unchanged because it finds no parameters there: give it to the statement as a column, such as FROM (SELECT @v::text AS v) AS given",
		},
		"Show": {
			made(one().takes(nil).rows().text("SHOW search_path")),
			"GetUser: sqlc finds no columns in a SHOW, so the method would return none: write SELECT current_setting('name')::text",
		},
		"Explain": {
			made(many().takes(id).rows().text("EXPLAIN SELECT id FROM users WHERE id = $1")),
			"ListUsers: sqlc finds no columns in an EXPLAIN, so the method would return none: use @plan to hold a query to its plan, or psql to see it",
		},
		"Values": {
			made(many().takes(nil).rows().text("VALUES (1, 'a'), (2, 'b')")),
			"ListUsers: sqlc finds no columns in a VALUES, so the method would return none: write SELECT 1 AS id, 'a' AS name UNION ALL SELECT …",
		},
		"StarOfValues": {
			made(many().takes(nil).rows().text("SELECT  FROM (VALUES (1, 'a')) AS v (x, y)")),
			"ListUsers: sqlc finds no columns in a SELECT, so the method would return none: sqlc does not know the columns of VALUES: name each with its type in place of *, such as v.id::bigint AS id",
		},
		"Call": {
			made(one().rows().text("CALL proc($1)")),
			"GetUser: sqlc finds no columns in a CALL, so the method would return none: write a function and SELECT from it, or use :exec",
		},
		"Fetch": {
			made(many().takes(nil).rows().text("FETCH 10 FROM c")),
			"ListUsers: sqlc finds no columns in a FETCH, so the method would return none: use @stream on a :many",
		},
		"Do": {
			made(one().takes(nil).rows().text("DO $$ BEGIN END $$")),
			"GetUser: sqlc finds no columns in a DO, so the method would return none: write a SELECT that names its columns, or use :exec",
		},
		"CopyOfOneParameter": {
			made(create().cmd(":copyfrom").text("INSERT INTO users (name, email) VALUES ($1, $1)")),
			"CreateUser: :copyfrom of 2 columns with 1 parameters: sqlc omits columns: use one parameter for each column, each of them once",
		},
		"CopyIntoAnother": {
			made(create().cmd(":copyfrom").takes(param("email", "text"))),
			"CreateUser: sqlc would copy into the column email, which is the name of the parameter: write @name",
		},
		"StreamTaken": {
			made(many(" @stream"), many().named("ListUsersStream")),
			"ListUsersStream: @stream of ListUsers generates a method with this name: rename the query",
		},
		"ConstantTaken": {
			made(one(), one().named("getUser")),
			"getUser: its constant getUser is also the constant of GetUser: rename one of them",
		},
		"MethodTakenByTwin": {
			made(create(" @queue").named("WithCommit")),
			"WithCommit: its @queue would generate the method QueueWithCommit, which the generated Queries has already: rename the query",
		},
		"MethodTaken": {
			made(one().named("InTx"), one().named("InTxWith"), one().named("WithTx")),
			"InTx: the generated Queries has a method InTx: rename the query\n" +
				"InTxWith: the generated Queries has a method InTxWith: rename the query\n" +
				"WithTx: the generated Queries has a method WithTx: rename the query",
		},

		"StreamEmbed": {
			made(many(" @stream").rows(row[0], column{Name: "users", EmbedTable: &identifier{Name: "users"}})),
			"ListUsers: @stream: sqlc.embed cannot be streamed: name the columns of users",
		},

		"AllAtOnce": {
			made(one(" @rout replica", " @timeout soon", " @stream"), create(" @route replica")),
			"GetUser: unknown directive @rout (did you mean @route?): use one of " + list + "\n" +
				`GetUser: "@timeout soon" does not parse: write @timeout and a positive Go duration, such as 250ms, 2s or 1m30s` + "\n" +
				"GetUser: @stream on a :one: only a :many can be streamed: remove it\n" +
				"CreateUser: @route replica on a statement with INSERT, which only the primary can run: remove @route replica",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, err := generateMade(tt.req)
			if err == nil {
				t.Fatalf("not refused: %d files", len(files))
			}
			got := strings.ReplaceAll(err.Error(), "queries/user.sql: ", "")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("refusal (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAccept lists requests that the checks must accept.
func TestAccept(t *testing.T) {
	t.Parallel()
	tests := map[string]*request{
		"NoDirectives": made(one(" GetUser mentions bob@example.org and, later, @route.")),
		"Everything":   made(one(" @route replica", " @timeout 1s", " @retry", " @plan uses users_pkey", " @batch"), many(" @route replica", " @stream", " @plan indexed")),
		"InsertBatch":  made(create(" @batch CreateUsers"), createMany()),
		"SQLCsOwn":     made(one(" @sqlc-vet-disable", " @param id the user's id")),
		"Queued":       made(one(" @queue"), many(" @queue", " @stream"), create(" @queue"), one(" @queue").named("Count").cmd(":execrows")),
		"NotQueued":    made(one(), one().named("QueueGetUser")),
		"NotStreamed":  made(many(), many().named("ListUsersStream")),
		"Class":        made(one(" @class bulk"), create(" @class reports_2").cmd(":copyfrom"), many(" @class default", " @stream")),
		"BatchClasses": made(create(" @class default", " @batch CreateUsers"), createMany()),
		"CopyTimeout":  made(create(" @timeout 1m").cmd(":copyfrom")),
		"Merge":        made(one().cmd(":exec").takes(nil).rows().text("MERGE INTO t USING s ON s.id = t.id WHEN MATCHED THEN DELETE")),
		"CallProc":     made(one().cmd(":exec").rows().text("CALL proc($1)")),
		"Bigint": made(create(" @batch CreateUsers"), createMany().rows(
			append([]column{col("ord", "int8")}, row...)...)),
	}
	for name, req := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := generateMade(req); err != nil {
				t.Error(err)
			}
		})
	}
}

func slice() []parameter {
	p := param("ids", "int8")
	p[0].Column.IsSqlcSlice = true
	return p
}
