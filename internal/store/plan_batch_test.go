package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"quern/internal/db"
	"quern/internal/storetest"
	"quern/postgres"
)

// TestPlans_Derived compares each statement that the plugin has derived with its original on
// the server. The parameters and columns must agree, and for each call its plan must be that of
// the original. In a read nothing may be volatile.
func TestPlans_Derived(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	proven := 0
	for _, many := range db.Statements {
		if many.DerivedFrom == "" {
			continue
		}
		proven++
		if err := prove(t.Context(), d, named(many.DerivedFrom), many, ""); err != nil {
			t.Errorf("queries/%s: %s: @batch: %v", many.File, many.DerivedFrom, err)
		}
	}
	if proven == 0 {
		t.Error("no statement is derived")
	}
}

// TestPlans_DerivedWrong shows that the proof finds errors that the tokens of
// a statement do not show.
func TestPlans_DerivedWrong(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	for name, tt := range map[string]struct {
		schema    string // further objects
		sql       string
		sent, typ string // the array that is sent, and the type that it is cast to
		change    func(many string) string
		want      string
	}{
		"View": {
			schema: "CREATE VIEW drawn AS SELECT id, random() AS luck FROM users",
			sql:    "SELECT id, luck FROM drawn WHERE id = $1", sent: "bigint", want: "volatile",
		},
		"Function": {
			schema: "CREATE FUNCTION lower(bigint) RETURNS float8 LANGUAGE sql VOLATILE AS 'SELECT random()'",
			sql:    "SELECT lower(id) FROM users WHERE id = $1", sent: "bigint", want: "volatile",
		},
		"Operator": {
			schema: "CREATE FUNCTION luck(text, text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN random() > 0.5; END';" +
				"CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = luck)",
			sql: "SELECT id FROM users WHERE id = 1 AND username === $1", sent: "text", want: "volatile",
		},
		"Sample": {
			schema: "CREATE VIEW sampled AS SELECT id FROM users TABLESAMPLE bernoulli (50)",
			sql:    "SELECT id FROM sampled WHERE id = $1", sent: "bigint", want: "TABLESAMPLE",
		},
		"Aggregate":     {sql: "SELECT sum($1::bigint) FROM users", sent: "bigint", want: "prepare"},
		"GuessedType":   {sql: "SELECT id FROM users WHERE age = $1", sent: "bigint", want: "as integer"},
		"DomainsBase":   {schema: "CREATE DOMAIN mail AS text CHECK (value ~ '@'); ALTER TABLE users ADD mail mail", sql: "SELECT id FROM users WHERE mail = $1", sent: "text", typ: `"mail"`, want: "as text"},
		"ConditionGone": {sql: "SELECT id FROM users WHERE id = $1 AND age IS NULL", sent: "bigint", change: func(s string) string { return strings.Replace(s, "AND age IS NULL", "", 1) }, want: "plan"},
		"ColumnGone":    {sql: "SELECT id, age FROM users WHERE id = $1", sent: "bigint", change: func(s string) string { return strings.Replace(s, "id, age", "id", 1) }, want: "columns"},
		"OtherColumn":   {sql: "SELECT id, username AS text FROM users WHERE id = $1", sent: "bigint", change: func(s string) string { return strings.Replace(s, "username", "email", 1) }, want: "plan"},
		"NoFence":       {sql: "SELECT id FROM users WHERE email = $1", sent: "text", change: func(s string) string { return strings.Replace(s, "OFFSET 0", "", 1) }, want: "plan"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := postgres.Statement{Name: "One", SQL: tt.sql, Params: []postgres.Param{{Name: "p", Type: tt.sent}}}
			cast := ""
			if tt.typ != "" {
				cast, one.Params[0].Type = "::"+tt.typ+"[]", tt.typ
			}
			many := postgres.Statement{Name: "OneBatch", Params: []postgres.Param{{Name: "p", Type: tt.sent + "[]"}}}
			many.SQL = fmt.Sprintf("SELECT _batch.ord, one.*\nFROM unnest((SELECT $1::%s[])%s) WITH ORDINALITY AS _batch (p1, ord),\n"+
				"LATERAL (SELECT * FROM (\n%s\n) AS one OFFSET 0) AS one", tt.sent, cast, strings.ReplaceAll(tt.sql, "$1", "_batch.p1"))
			if tt.change != nil {
				many.SQL = tt.change(many.SQL)
			}
			err := prove(t.Context(), d, one, many, tt.schema)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want one that says %q", err, tt.want)
			}
		})
	}
}

func named(name string) postgres.Statement {
	i := slices.IndexFunc(db.Statements, func(s postgres.Statement) bool { return s.Name == name })
	return db.Statements[i]
}

// prove runs the checks of TestPlans_Derived for one pair, in a schema with additional objects.
func prove(ctx context.Context, d *storetest.DB, one, many postgres.Statement, besides string) error {
	// A separate connection, whose prepared statements end with it.
	conn, err := pgx.Connect(ctx, d.Router.Config().URL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	// The planner chooses plans that keep rows between calls, or run in parallel, by cost. They
	// are switched off here.
	const settings = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_memoize = off; SET LOCAL enable_material = off;" +
		"SET LOCAL max_parallel_workers_per_gather = 0;"
	if _, err := tx.Exec(ctx, settings+besides, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	const volatility = "WITH _batch AS (\n%s\n) SELECT count(*) FROM _batch"
	texts := map[string]string{"one": one.SQL, "volatile": fmt.Sprintf(volatility, one.SQL), "many": many.SQL}
	if len(many.Key) > 0 {
		delete(texts, "volatile") // PostgreSQL never merges a change
	}
	described := map[string]*describedPlan{}
	for name, sql := range texts {
		if described[name], err = describe(ctx, tx, name, sql); err != nil {
			return err
		}
	}
	if err := sameTypes(ctx, tx, described["one"], described["many"], many); err != nil {
		return err
	}
	if len(many.Key) > 0 {
		return sameRows(described["one"], described["many"])
	}
	// PostgreSQL merges the WITH query only if nothing in it is volatile, including views and
	// policies. So the plan shows that.
	for _, n := range described["volatile"].nodes() {
		switch {
		case n["Node Type"] == "CTE Scan" && n["CTE Name"] == "_batch":
			return fmt.Errorf("it calls a volatile function, whose result calls that share a statement might share: remove @batch\n%s", described["one"].text)
		case n["Node Type"] == "Sample Scan":
			return fmt.Errorf("it reads with TABLESAMPLE, which draws anew for each call: remove @batch\n%s", described["one"].text)
		}
	}
	inner := described["many"].inner()
	if diff := cmp.Diff(normal(described["one"].plan), normal(inner)); diff != "" {
		return fmt.Errorf("its plan for each of several calls is not that of a single one (-one +several):\n%s", diff)
	}
	return nil
}

// sameRows compares how the first step of a derived UPDATE or DELETE finds the row of each call
// with how the single statement finds it.
func sameRows(one, many *describedPlan) error {
	find := func(d *describedPlan, above string) any {
		for _, n := range d.nodes() {
			if plans, ok := n["Plans"].([]any); ok && n["Node Type"] == above {
				scan := maps.Clone(plans[0].(map[string]any))
				delete(scan, "Output")
				return normal(scan)
			}
		}
		return nil
	}
	if diff := cmp.Diff(find(one, "ModifyTable"), find(many, "LockRows")); diff != "" {
		return fmt.Errorf("its plan finds another row for each of several calls than for a single one (-one +several):\n%s", diff)
	}
	return nil
}

// describedPlan is the description of a prepared statement by the server.
type describedPlan struct {
	*pgxStatement
	plan map[string]any
	text []byte
}

type pgxStatement struct {
	params []uint32
	names  []string
	types  []uint32
}

func describe(ctx context.Context, tx pgx.Tx, name, sql string) (*describedPlan, error) {
	prepared, err := tx.Prepare(ctx, name, sql)
	if err != nil {
		return nil, fmt.Errorf("prepare it: %w\n%s", err, sql)
	}
	d := &describedPlan{pgxStatement: &pgxStatement{params: prepared.ParamOIDs}}
	for _, f := range prepared.Fields {
		d.names, d.types = append(d.names, f.Name), append(d.types, f.DataTypeOID)
	}
	nulls := strings.TrimSuffix(strings.Repeat("NULL,", len(d.params)), ",")
	explain := fmt.Sprintf("EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) EXECUTE %s (%s)", name, nulls)
	if err := tx.QueryRow(ctx, explain, pgx.QueryExecModeSimpleProtocol).Scan(&d.text); err != nil {
		return nil, err
	}
	var plans []struct{ Plan map[string]any }
	err = json.Unmarshal(d.text, &plans)
	d.plan = plans[0].Plan
	return d, err
}

// castOf finds the type that the nth array of a derived statement is cast to.
func castOf(sql string, n int) (string, bool) {
	found := regexp.MustCompile(fmt.Sprintf(`\(SELECT \$%d::text\[\]\)::((?:"[^"]*"|\.)+)\[\]`, n)).FindStringSubmatch(sql)
	if found == nil {
		return "", false
	}
	return found[1], true
}

// sameTypes compares parameters and columns.
func sameTypes(ctx context.Context, tx pgx.Tx, one, many *describedPlan, s postgres.Statement) error {
	if len(one.params) != len(many.params) {
		return fmt.Errorf("it has %d parameters and %s %d", len(one.params), s.Name, len(many.params))
	}
	for i, oid := range one.params {
		// A text is sent in the same form for every type that it is compared as.
		if oid == pgtype.VarcharOID {
			oid = pgtype.TextOID
		}
		var typ string
		var array uint32
		if err := tx.QueryRow(ctx, "SELECT oid::regtype::text, typarray FROM pg_type WHERE oid = $1", oid).Scan(&typ, &array); err != nil {
			return err
		}
		sent := many.params[i]
		if cast, ok := castOf(s.SQL, i+1); ok {
			if err := tx.QueryRow(ctx, "SELECT ($1::text || '[]')::regtype::oid", cast).Scan(&sent); err != nil {
				return err
			}
		}
		if sent != array {
			return fmt.Errorf("the server takes the parameter %[1]s as %[2]s, and sqlc as %[3]s: cast it: @%[1]s::%[2]s", s.Params[i].Name, typ, s.Params[i].Type)
		}
	}
	if !slices.Equal(many.names, append([]string{"ord"}, one.names...)) || !slices.Equal(many.types, append([]uint32{pgtype.Int8OID}, one.types...)) {
		return fmt.Errorf("its columns are %v of the types %v, and those of %s %v of the types %v", one.names, one.types, s.Name, many.names, many.types)
	}
	return nil
}

// nodes are the nodes of the plan.
func (d *describedPlan) nodes() (all []map[string]any) {
	var add func(map[string]any)
	add = func(node map[string]any) {
		all = append(all, node)
		plans, _ := node["Plans"].([]any)
		for _, p := range plans {
			add(p.(map[string]any))
		}
	}
	add(d.plan)
	return all
}

// inner is the part of a derived statement's plan that is run for each call, or
// nil if it has none.
func (d *describedPlan) inner() map[string]any {
	plans, _ := d.plan["Plans"].([]any)
	node := map[string]any(nil)
	for _, p := range plans {
		switch p := p.(map[string]any); {
		case p["Parent Relationship"] == "Inner":
			node = p
		case p["Parent Relationship"] == "Outer" && p["Alias"] != "_batch":
			return nil
		}
	}
	if d.plan["Node Type"] != "Nested Loop" || node == nil || d.plan["Join Filter"] != nil {
		return nil
	}
	for node["Node Type"] == "Subquery Scan" && node["Alias"] == "one" && node["Filter"] == nil {
		node = node["Plans"].([]any)[0].(map[string]any)
	}
	return node
}

var (
	parameterOrPlan = regexp.MustCompile(`\$\d+|_batch\.p\d+|\b\w+\._p\d+|\(?InitPlan \d+( \(returns [^)]*\)|\)\.col\d+)?`)
	planNumber      = regexp.MustCompile(`(SubPlan) \d+`)
	qualifier       = regexp.MustCompile(`("[^"]+"|\b[a-zA-Z_]\w*)\.`)
)

// normal returns a plan without the numbers and names that differ between plans: its
// parameters, its subplans and the tables of its columns.
func normal(plan any) any {
	switch p := plan.(type) {
	case map[string]any:
		out := maps.Clone(p)
		delete(out, "Parent Relationship")
		delete(out, "Alias")
		for key, value := range out {
			out[key] = normal(value)
		}
		return out
	case []any:
		var out []any
		for _, v := range p {
			out = append(out, normal(v))
		}
		return out
	case string:
		s := parameterOrPlan.ReplaceAllString(p, "?")
		return qualifier.ReplaceAllString(planNumber.ReplaceAllString(s, "$1"), "")
	}
	return plan
}
