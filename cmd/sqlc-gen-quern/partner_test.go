package main

import (
	"strings"
	"testing"
)

// A correct insert and its partner. The tests below introduce mistakes.
const (
	createTask = "INSERT INTO tasks (name, run_at, attempts)\n" +
		"VALUES ($1, GREATEST($2::timestamptz, now()), $3)\n" +
		"RETURNING id, name, upper(name) AS loud"
	createTaskBatch = "WITH given AS (\n" +
		"    SELECT generate_subscripts($1::text[], 1) AS ord,\n" +
		"           nextval('tasks_id_seq') AS id,\n" +
		"           unnest($1::text[]) AS name, -- why\n" +
		"           unnest($2::timestamptz[]) AS run_at,\n" +
		"           unnest($3::integer[]) AS attempts\n" +
		"    FROM set_config('lock_timeout', '500ms', true)\n" +
		"), created AS (\n" +
		"    INSERT INTO public.tasks (id, name, run_at, attempts)\n" +
		"    OVERRIDING SYSTEM VALUE\n" +
		"    SELECT g.id, g.name, GREATEST(g.run_at, now()), g.attempts\n" +
		"    FROM given AS g\n" +
		"    WHERE g.name IS NOT NULL\n" +
		"    ORDER BY g.name\n" +
		"    ON CONFLICT (name) DO NOTHING\n" +
		"    RETURNING id, name, upper(name) AS loud\n" +
		")\n" +
		"SELECT g.ord::integer AS ord, c.id, c.name, c.loud\n" +
		"FROM created AS c\n" +
		"JOIN given AS g ON g.id = c.id"
)

// task returns the pair with its texts changed.
func task(one, many *strings.Replacer) *request {
	columns := []column{col("id", "int8"), col("name", "text"), col("loud", "text")}
	params := append(append(param("name", "text"), param("run_at", "timestamptz")...), param("attempts", "int4")...)
	arrays := append(append(param("name", "text[]"), param("run_at", "timestamptz[]")...), param("attempts", "int4[]")...)
	for i := range params {
		params[i].Number, arrays[i].Number = i+1, i+1
	}
	single := query{
		Name: "CreateTask", Cmd: ":one", Text: one.Replace(createTask), Columns: columns, Params: params,
		Comments: []string{" @batch CreateTaskBatch"},
	}
	partner := query{
		Name: "CreateTaskBatch", Cmd: ":many", Text: many.Replace(createTaskBatch),
		Columns: append([]column{col("ord", "int4")}, columns...), Params: arrays,
	}
	return made(single, partner)
}

// changed replaces texts, in pairs.
func changed(oldnew ...string) *strings.Replacer { return strings.NewReplacer(oldnew...) }

func TestPartner(t *testing.T) {
	t.Parallel()
	for name, req := range map[string]*request{
		"AsItIs":         task(changed(), changed()),
		"CastKept":       task(changed(), changed("g.run_at, now", "g.run_at::timestamptz, now")),
		"NoAliases":      task(changed(), changed("g.id, g.name, GREATEST(g.run_at, now()), g.attempts", "id, name, GREATEST(run_at, now()), attempts", "given AS g\n", "given\n", "WHERE g.", "WHERE ", "BY g.", "BY ")),
		"OrderOfColumns": task(changed(), changed("(id, name, run_at, attempts)", "(attempts, run_at, name, id)", "g.id, g.name, GREATEST(g.run_at, now()), g.attempts", "g.attempts, GREATEST(g.run_at, now()), g.name, g.id")),
		"Default":        task(changed("attempts)", "attempts, state)", "$3)", "$3, DEFAULT)"), changed()),
		"Conflict":       task(changed("RETURNING", "ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING"), changed()),
		"IDNotReturned":  task(changed("RETURNING id, name", "RETURNING attempts AS id, name"), changed("RETURNING id, name", "RETURNING id AS key, attempts AS id, name", "= c.id", "= c.key")),
		"Using":          task(changed(), changed("ON g.id = c.id", "USING (id)")),
		"OtherWay":       task(changed(), changed("created AS c\nJOIN given AS g ON g.id = c.id", "given AS g\nJOIN created AS c ON c.id = g.id")),
		"Series":         task(changed(), changed("generate_subscripts($1::text[], 1)", "generate_series(1, cardinality($1::text[]))::integer")),
		"UUID":           task(changed(), changed("nextval('tasks_id_seq')", "gen_random_uuid()")),
		"Subquery":       task(changed("$3)", "(SELECT max(a) FROM t WHERE n = $1))"), changed("g.attempts\n", "(SELECT max(a) FROM t WHERE n = g.name)\n")),
		"Volatile":       task(changed("$3)", "random())"), changed("g.attempts\n", "random()\n")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := generateMade(req); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRefusePartner has a pair for each way in which the rows could differ.
func TestRefusePartner(t *testing.T) {
	t.Parallel()
	same := changed()
	for name, tt := range map[string]struct {
		req  *request
		want string // the end of the line
	}{
		"LeavesOutAColumn":     {task(same, changed(", attempts)\n", ")\n", ", g.attempts\n", "\n")), "it does not set the column attempts: insert the same columns"},
		"OneMoreColumn":        {task(same, changed("attempts)\n", "attempts, state)\n", "g.attempts\n", "g.attempts, 'done'\n")), "it sets the column state, but this insert does not: insert the same columns"},
		"SetsADefault":         {task(changed("$3)", "DEFAULT)"), same), "it sets the column attempts, but this insert does not: insert the same columns"},
		"ColumnsSwapped":       {task(same, changed("g.id, g.name, GREATEST(g.run_at, now()), g.attempts", "g.id, g.attempts, GREATEST(g.run_at, now()), g.name")), "the column name: it is g.attempts there and $1 here: write the same expression, with g.NAME for each parameter"},
		"ArraysSwapped":        {task(same, changed("unnest($1::text[]) AS name", "unnest($1::text[]) AS attempts", "unnest($3::integer[]) AS attempts", "unnest($3::integer[]) AS name")), "the column name: it is g.name there and $1 here: write the same expression, with g.NAME for each parameter"},
		"OtherExpression":      {task(same, changed("GREATEST(g.run_at", "LEAST(g.run_at")), "the column run_at: it is least(g.run_at, now()) there and greatest($2::timestamptz, now()) here: write the same expression, with g.NAME for each parameter"},
		"Folded":               {task(same, changed("g.id, g.name,", "g.id, lower(g.name),")), "the column name: it is lower(g.name) there and $1 here: write the same expression, with g.NAME for each parameter"},
		"OtherCast":            {task(same, changed("g.run_at, now", "g.run_at::date, now")), "the column run_at: it is greatest(g.run_at::date, now()) there and greatest($2::timestamptz, now()) here: write the same expression, with g.NAME for each parameter"},
		"LongerCast":           {task(changed("$2::timestamptz", "$2::timestamptz(0)"), same), "the column run_at: it is greatest(g.run_at, now()) there and greatest($2::timestamptz(0), now()) here: write the same expression, with g.NAME for each parameter"},
		"MoreAfter":            {task(same, changed("g.attempts\n", "g.attempts + 1\n")), "the column attempts: it is g.attempts+1 there and $3 here: write the same expression, with g.NAME for each parameter"},
		"SharedSubquery":       {task(changed("$3)", "(SELECT random()))"), changed("g.attempts\n", "(SELECT random())\n")), "the column attempts: random() is not known to be STABLE or IMMUTABLE, so coalesced calls might share its result: remove @batch, or call a built-in function that is"},
		"CapturedAlias":        {task(changed("$3)", "(SELECT max(g.a) FROM t AS g WHERE n = $1))"), changed("g.attempts\n", "(SELECT max(g.a) FROM t AS g WHERE n = g.name)\n")), "the column attempts: the name g is ambiguous in (select max(g.a)from t as g where n=g.name): use another alias for given"},
		"CapturedColumn":       {task(changed("$3)", "(SELECT max(a) FROM t WHERE name = $1))"), changed("g.attempts\n", "(SELECT max(a) FROM t WHERE name = name)\n")), "the column attempts: it is (select max(a)from t where name=name) there and (select max(a)from t where name=$1) here: write the same expression, with g.NAME for each parameter"},
		"OtherReturning":       {task(same, changed("RETURNING id, name, upper(name) AS loud", "RETURNING id, name, lower(name) AS loud")), "it returns c.loud where this insert returns upper(name): return the same"},
		"ReturningSwapped":     {task(same, changed("c.id, c.name, c.loud", "c.id, c.loud, c.name")), "it returns c.loud where this insert returns name: return the same"},
		"ReturningRenamed":     {task(same, changed("RETURNING id, name, upper(name) AS loud", "RETURNING id, run_at AS name, upper(name) AS loud")), "it returns c.name where this insert returns name: return the same"},
		"ReturningChanged":     {task(same, changed("c.id, c.name, c.loud", "c.id, lower(c.name) AS name, c.loud")), "it returns lower(c.name) where this insert returns name: return the same"},
		"ReturningOfTheArrays": {task(same, changed("c.id, c.name, c.loud", "c.id, g.name, c.loud")), "it returns g.name where this insert returns name: return the same"},
		"NoDrawnID":            {task(same, changed("           nextval('tasks_id_seq') AS id,\n", "")), "its first WITH query must have an ordinal and a generated id, which identify the rows: " + partnerForm},
		"IDNotInserted":        {task(same, changed("(id, name, run_at, attempts)", "(name, run_at, attempts)", "g.id, g.name,", "g.name,")), "it does not insert the generated id: insert g.id as the key, which identifies the rows"},
		"IDGiven":              {task(changed("INTO tasks (name", "INTO tasks (id"), same), "its generated id goes into the column id, which this insert sets too: generate the key there, and do not set it in this insert"},
		"KeyNotReturned":       {task(same, changed("RETURNING id, name", "RETURNING attempts AS id, name")), "its INSERT does not return the generated id, which identifies the rows: add id to RETURNING"},
		"JoinByName":           {task(same, changed("ON g.id = c.id", "ON g.name = c.name")), "its last SELECT joins by more or other than the id that was drawn, which tells the rows apart: end it with ON g.id = c.id"},
		"RowsLeftOut":          {task(same, changed("= c.id", "= c.id WHERE c.name <> 'x'")), "its last SELECT joins by more or other than the id that was drawn, which tells the rows apart: end it with ON g.id = c.id"},
		"RowsCut":              {task(same, changed("= c.id", "= c.id LIMIT 10")), "its last SELECT joins by more or other than the id that was drawn, which tells the rows apart: end it with ON g.id = c.id"},
		"OrdinalShifted":       {task(same, changed("generate_subscripts($1::text[], 1) AS", "generate_subscripts($1::text[], 1) + 1 AS")), "the ordinal generate_subscripts($1::text[], 1)+1 does not number an array from 1: write generate_subscripts(@a::text[], 1)"},
		"OrdinalReversed":      {task(same, changed("[], 1) AS ord", "[], 1, true) AS ord")), "the ordinal generate_subscripts($1::text[], 1, true) does not number an array from 1: write generate_subscripts(@a::text[], 1)"},
		"OrdinalDoubled":       {task(same, changed("g.ord::integer AS ord", "g.ord * 2 AS ord")), "its last SELECT does not return the ordinal and then 3 columns: " + partnerForm},
		"RowsRepeated":         {task(same, changed("FROM set_config('lock_timeout', '500ms', true)", "FROM generate_series(1, 2)")), "its first WITH query must select from nothing but set_config(…), because a table might repeat rows: " + partnerForm},
		"RowsMultiplied":       {task(same, changed("FROM given AS g\n", "FROM given AS g, other\n")), "its INSERT has , after FROM given: use only WHERE and ORDER BY"},
		"RowsGrouped":          {task(same, changed("ORDER BY g.name\n", "GROUP BY g.id\n")), "its INSERT has GROUP after FROM given: use only WHERE and ORDER BY"},
		"IDOverridden":         {task(same, changed("SYSTEM VALUE", "USER VALUE")), "its INSERT has OVERRIDING USER VALUE, which would replace the generated id: write OVERRIDING SYSTEM VALUE"},
		"SeveralRows":          {task(changed("$3)", "$3), ('b', now(), 1)"), same), "this insert is not one row of VALUES: write INSERT INTO table (columns) VALUES (expressions) RETURNING …"},
		"NoColumns":            {task(changed(" (name, run_at, attempts)", ""), same), "this insert names no columns: write INSERT INTO table (columns)"},
		"Selects":              {task(changed("VALUES ($1, GREATEST($2::timestamptz, now()), $3)", "SELECT $1, GREATEST($2::timestamptz, now()), $3 WHERE false"), same), "this insert is not one row of VALUES: write INSERT INTO table (columns) VALUES (expressions) RETURNING …"},
		"NoWith":               {task(same, changed("WITH given AS (", "WITH RECURSIVE given AS (")), "its first WITH query is not a SELECT of the arrays: " + partnerForm},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, tt.req, "CreateTask: @batch CreateTaskBatch: "+tt.want)
		})
	}
}

// TestRefusePartnerShape has pairs that differ in the parameters or columns that sqlc reports.
func TestRefusePartnerShape(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		one, many query
		want      string // after "CreateUser: @batch CreateUsers"
	}{
		"Class":          {create(), createMany().with(func(q *query) { q.Comments = []string{" @class bulk"} }), ", whose class is bulk, but the class of this query is default: give both the same @class"},
		"Read":           {create(), createMany().text(selectMany), ", which inserts nothing: name the :many that inserts the rows of several calls"},
		"OtherTable":     {create(), createMany().text(strings.Replace(insertMany, "public.users", "posts", 1)), ", which inserts into [posts], but this query inserts into [users]: insert into the same tables"},
		"Conflict":       {create(), createMany().text(strings.Replace(insertMany, "ON CONFLICT DO NOTHING", "", 1)), ", where a conflict fails every row: write ON CONFLICT DO NOTHING"},
		"Parameters":     {create(), createMany().takes(param("names", "text")), ", which takes (@names text), but this query takes (@name text): use one array for each parameter, in the same order"},
		"Array":          {create().takes(param("names", "text[]")), createMany().takes(param("names", "text[]")), ": the parameter names is an array (text[]), and unnest flattens an array of arrays: remove @batch"},
		"NoOrdinal":      {create(), createMany().rows(row...), ", whose columns (id bigint not null, name text not null) are not an integer ord followed by (id bigint not null, name text not null): return the ordinal first and then the same columns"},
		"TextOrdinal":    {create(), createMany().rows(append([]column{col("ord", "text")}, row...)...), ", whose columns (ord text not null, id bigint not null, name text not null) are not an integer ord followed by (id bigint not null, name text not null): return the ordinal first and then the same columns"},
		"MissingColumns": {create(), createMany().rows(ordRow[:2]...), ", whose columns (ord integer not null, id bigint not null) are not an integer ord followed by (id bigint not null, name text not null): return the ordinal first and then the same columns"},
		"Nullable":       {create(), createMany().rows(ordRow[0], row[0], nullable(row[1])), ", whose columns (ord integer not null, id bigint not null, name text) are not an integer ord followed by (id bigint not null, name text not null): return the ordinal first and then the same columns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.one.Comments = []string{" @batch CreateUsers"}
			_, err := generateMade(made(tt.one, tt.many))
			if err == nil {
				t.Fatal("not refused")
			}
			first, _, _ := strings.Cut(strings.ReplaceAll(err.Error(), "queries/user.sql: ", ""), "\n")
			if want := "CreateUser: @batch CreateUsers" + tt.want; first != want {
				t.Errorf("refusal:\n%s\nwant:\n%s", first, want)
			}
		})
	}
}
