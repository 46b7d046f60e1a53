package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The statements of the tests below, and one way to write each wrong.
const (
	selectOne   = "SELECT id, name FROM users WHERE id = $1"
	selectMany  = "SELECT id, name FROM users WHERE id = ANY($1::bigint[])"
	insertOne   = "INSERT INTO users (name) VALUES ($1) RETURNING id, name"
	insertMany  = "WITH input AS (SELECT 1), ins AS (INSERT INTO public.users (name) SELECT name FROM input ON CONFLICT DO NOTHING RETURNING id, name) SELECT ord, ins.id, ins.name FROM ins JOIN input USING (name)"
	insertFails = "WITH ins AS (INSERT INTO users (name) SELECT unnest($1::text[]) RETURNING id, name) SELECT 1 AS ord, id, name FROM ins"
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
	req := &request{Queries: queries, options: options{Package: "db"}}
	req.Settings.Queries = []string{"queries"}
	req.Catalog.DefaultSchema = "public"
	for i := range req.Queries {
		req.Queries[i].Filename = "user.sql"
	}
	return req
}

// one is a :one read with the given comment lines.
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
	const batchBy = " @batch ListUsers by id"
	const list = "@batch, @class, @plan, @retry, @route, @stream, @timeout"
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
		"ClassInside": {
			made(one().text("SELECT id, name FROM users\n-- @class bulk\nWHERE id = $1")),
			"GetUser: @class stands inside the statement, where sqlc does not collect it: move it above -- name:",
		},
		"BatchOfAnotherClass": {
			made(one(batchBy, " @class bulk"), many()),
			"GetUser: @batch ListUsers, whose class is default and this one's bulk: give both the same @class",
		},
		"InsertBatchOfAnotherClass": {
			made(create(" @batch CreateUsers"), createMany().with(func(q *query) { q.Comments = []string{" @class bulk"} })),
			"CreateUser: @batch CreateUsers, whose class is bulk and this one's default: give both the same @class",
		},
		"BadBatch": {
			made(one(" @batch ListUsers on id"), many()),
			`GetUser: "@batch ListUsers on id" does not parse: write @batch NAME by COLUMN for a read, or @batch NAME for an insert`,
		},
		"StreamOf": {
			made(many(" @stream rows")),
			`ListUsers: "@stream rows" does not parse: write @stream, alone`,
		},
		"StreamOne": {
			made(one(" @stream")),
			"GetUser: @stream on a :one: only a :many has rows to stream; remove it",
		},
		"HiddenDirective": {
			made(one().text("SELECT id, name FROM users\n  -- @route replica\nWHERE id = $1")),
			"GetUser: @route stands inside the statement, where sqlc does not collect it: move it above -- name:",
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
		"StreamTaken": {
			made(many(" @stream"), many().named("ListUsersStream")),
			"ListUsersStream: @stream of ListUsers generates a method of this name: name the query otherwise",
		},
		"ConstantTaken": {
			made(one(), one().named("getUser")),
			"getUser: its constant getUser is GetUser's too: name one of them otherwise",
		},
		"MethodTaken": {
			made(one().named("InTx"), one().named("InTxWith"), one().named("WithTx")),
			"InTx: the generated Queries has a method InTx: name the query otherwise\n" +
				"InTxWith: the generated Queries has a method InTxWith: name the query otherwise\n" +
				"WithTx: the generated Queries has a method WithTx: name the query otherwise",
		},

		"BatchOfMany": {
			made(one(), many(" @batch GetUser by id")),
			"ListUsers: @batch on a :many: only a :one can leave with others; remove it",
		},
		"BatchNowhere": {
			made(one(" @batch ListUser by id"), many()),
			"GetUser: @batch ListUser: there is no query of this name (did you mean ListUsers?): name the :many that answers several calls at once",
		},
		"BatchIntoOne": {
			made(one(" @batch ListUsers by id"), many().cmd(":one")),
			"GetUser: @batch ListUsers, which is a :one: name a :many",
		},
		"BatchByOnWrite": {
			made(create(batchBy), many()),
			"CreateUser: @batch ListUsers by id is for reads, and CreateUser has INSERT: remove it, or, on an insert, write @batch NAME",
		},
		"BatchByIntoLock": {
			made(one(batchBy), many().text(selectMany+" FOR SHARE")),
			"GetUser: @batch ListUsers by id is for reads, and ListUsers has FOR SHARE: remove it, or, on an insert, write @batch NAME",
		},
		"BatchRouteToPrimary": {
			made(one(batchBy, " @route replica"), many()),
			"GetUser: @batch ListUsers, which is routed to the primary and this to the replica: give both the same @route",
		},
		"BatchRouteToReplica": {
			made(one(batchBy), many(" @route replica")),
			"GetUser: @batch ListUsers, which is routed to the replica and this to the primary: give both the same @route",
		},
		"BatchTwoParameters": {
			made(one(batchBy).takes(append(param("name", "text"), id...)), many()),
			"GetUser: @batch by on a query with 2 parameters: only a query with exactly one can be told apart by a column; remove it",
		},
		"BatchIntoScalar": {
			made(one(batchBy), many().takes(id)),
			"GetUser: @batch ListUsers, which does not take one array of bigint: give it the one parameter bigint[]",
		},
		"BatchIntoTwoParameters": {
			made(one(batchBy), many().takes(append(param("ids", "int8[]"), id...))),
			"GetUser: @batch ListUsers, which does not take one array of bigint: give it the one parameter bigint[]",
		},
		"BatchOtherElement": {
			made(one(batchBy), many().takes(param("ids", "int4[]"))),
			"GetUser: @batch ListUsers, which does not take one array of bigint: give it the one parameter bigint[]",
		},
		"BatchColumnNames": {
			made(one(batchBy), many().rows(row[0], col("email", "text"))),
			"GetUser: @batch ListUsers, whose columns (id bigint not null, email text not null) are not (id bigint not null, name text not null): select the same columns in the same order",
		},
		"BatchColumnOrder": {
			made(one(batchBy), many().rows(row[1], row[0])),
			"GetUser: @batch ListUsers, whose columns (name text not null, id bigint not null) are not (id bigint not null, name text not null): select the same columns in the same order",
		},
		"BatchColumnTypes": {
			made(one(batchBy), many().rows(row[0], col("name", "text[]"))),
			"GetUser: @batch ListUsers, whose columns (id bigint not null, name text[] not null) are not (id bigint not null, name text not null): select the same columns in the same order",
		},
		"BatchColumnNull": {
			made(one(batchBy), many().rows(row[0], nullable(row[1]))),
			"GetUser: @batch ListUsers, whose columns (id bigint not null, name text) are not (id bigint not null, name text not null): select the same columns in the same order",
		},
		"BatchByNoColumn": {
			made(one(" @batch ListUsers by user_id"), many()),
			"GetUser: @batch ListUsers by user_id, which is not among the columns (id bigint not null, name text not null): name the column that id is compared with",
		},
		"BatchByOtherType": {
			made(one(" @batch ListUsers by name"), many()),
			"GetUser: @batch ListUsers by name, which is text and the parameter id is bigint: name the column it is compared with, or cast",
		},

		"InsertBatchOnRead": {
			made(one(" @batch ListUsers"), many()),
			"GetUser: @batch ListUsers on a statement that inserts nothing: on a read, write @batch ListUsers by COLUMN",
		},
		"InsertBatchIntoRead": {
			made(create(" @batch CreateUsers"), createMany().text(selectMany)),
			"CreateUser: @batch CreateUsers, which inserts nothing: name the :many that inserts the rows of several calls",
		},
		"InsertBatchOtherTable": {
			made(create(" @batch CreateUsers"), createMany().text(strings.Replace(insertMany, "users", "posts", 1))),
			"CreateUser: @batch CreateUsers, which inserts into [posts] and this into [users]: insert into the same tables",
		},
		"InsertBatchConflict": {
			made(create(" @batch CreateUsers"), createMany().text(insertFails)),
			"CreateUser: @batch CreateUsers, where a conflict fails every row: write ON CONFLICT DO NOTHING",
		},
		"InsertBatchParameters": {
			made(create(" @batch CreateUsers"), createMany().takes(param("names", "text"))),
			"CreateUser: @batch CreateUsers, which takes (@names text) and this (@name text): take one array for each parameter, in the same order",
		},
		"InsertBatchNoOrdinal": {
			made(create(" @batch CreateUsers"), createMany().rows(row...)),
			"CreateUser: @batch CreateUsers, whose columns (id bigint not null, name text not null) are not an integer ord and then (id bigint not null, name text not null): return the ordinal first and then the same columns",
		},
		"InsertBatchTextOrdinal": {
			made(create(" @batch CreateUsers"), createMany().rows(append([]column{col("ord", "text")}, row...)...)),
			"CreateUser: @batch CreateUsers, whose columns (ord text not null, id bigint not null, name text not null) are not an integer ord and then (id bigint not null, name text not null): return the ordinal first and then the same columns",
		},
		"InsertBatchColumns": {
			made(create(" @batch CreateUsers"), createMany().rows(ordRow[:2]...)),
			"CreateUser: @batch CreateUsers, whose columns (ord integer not null, id bigint not null) are not an integer ord and then (id bigint not null, name text not null): return the ordinal first and then the same columns",
		},

		"StreamEmbed": {
			made(many(" @stream").rows(row[0], column{Name: "users", EmbedTable: &identifier{Name: "users"}})),
			"ListUsers: @stream: sqlc.embed cannot be streamed: name the columns of users",
		},
		"StreamUnknownRow": {
			made(many(" @stream").rows(col("created_at", "timestamptz"))),
			"ListUsers: @stream: created_at is of type timestamptz, whose Go type is not known: put it under go_types in the plugin's options in sqlc.yaml, as timestamptz: time.Time",
		},
		"StreamUnknownParameter": {
			made(many(" @stream").takes(param("ids", "uuid[]"))),
			"ListUsers: @stream: ids is of type uuid[], whose Go type is not known: put it under go_types in the plugin's options in sqlc.yaml, as uuid: time.Time",
		},
		"StreamPeople": {
			people(),
			"ListUsers: @stream: the rows are those of table people, whose struct has no plain name: put it under models in the plugin's options in sqlc.yaml, as people: People",
		},

		"AllAtOnce": {
			made(one(" @rout replica", " @timeout soon", " @stream"), create(" @route replica")),
			"GetUser: unknown directive @rout (did you mean @route?): use one of " + list + "\n" +
				`GetUser: "@timeout soon" does not parse: write @timeout and a positive Go duration, such as 250ms, 2s or 1m30s` + "\n" +
				"GetUser: @stream on a :one: only a :many has rows to stream; remove it\n" +
				"CreateUser: @route replica on a statement with INSERT, which only the primary can run: remove @route replica",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, err := generate(tt.req)
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

// TestAccept holds the checks to what they must let pass.
func TestAccept(t *testing.T) {
	t.Parallel()
	tests := map[string]*request{
		"NoDirectives": made(one(" GetUser mentions bob@example.org and, later, @route.")),
		"Everything":   made(one(" @route replica", " @timeout 1s", " @retry", " @plan uses users_pkey", " @batch ListUsers by id"), many(" @route replica", " @stream", " @plan indexed")),
		"RoutesAgree":  made(one(" @route primary", " @batch ListUsers by id"), many()),
		"InsertBatch":  made(create(" @batch CreateUsers"), createMany()),
		"SQLCsOwn":     made(one(" @sqlc-vet-disable", " @param id the user's id")),
		"NotStreamed":  made(many(), many().named("ListUsersStream")),
		"Class":        made(one(" @class bulk"), create(" @class reports_2").cmd(":copyfrom"), many(" @class default", " @stream")),
		"BatchClasses": made(one(" @class default", " @batch ListUsers by id"), many()),
		"CopyTimeout":  made(create(" @timeout 1m").cmd(":copyfrom")),
		"Bigint": made(create(" @batch CreateUsers"), createMany().rows(
			append([]column{col("ord", "int8")}, row...)...)),
	}
	for name, req := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := generate(req); err != nil {
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

// people streams the whole of a table whose name is an irregular plural.
func people() *request {
	of := identifier{Name: "people"}
	columns := []column{col("id", "int8"), col("name", "text")}
	for i := range columns {
		columns[i].Table = &of
	}
	req := made(many(" @stream").rows(columns...))
	req.Catalog.Schemas = []schema{{Name: "public", Tables: []table{{Rel: of, Columns: columns}}}}
	return req
}
