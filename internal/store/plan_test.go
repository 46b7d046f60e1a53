package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/internal/postgres"
	"quern/internal/storetest"
)

// TestPlans holds each statement to the @plan of its SQL file, against the
// schema that the migrations make.
func TestPlans(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	planned := 0
	for _, s := range db.Statements {
		if s.Plan == "" {
			continue
		}
		planned++
		if err := checkPlan(t.Context(), d, s); err != nil {
			t.Errorf("queries/%s: %s: @plan %s: %v", s.File, s.Name, s.Plan, err)
		}
	}
	if planned == 0 {
		t.Error("no statement has a @plan")
	}

	t.Run("SeesWhatNoIndexServes", func(t *testing.T) {
		t.Parallel()
		for _, s := range []postgres.Statement{
			{Plan: "indexed", SQL: "SELECT id FROM users WHERE email = $1", Params: []postgres.Param{{Type: "text"}}},
			{Plan: "uses users_username_key", SQL: "SELECT id FROM users WHERE id = $1", Params: []postgres.Param{{Type: "bigint"}}},
			{Plan: "uses nowhere", SQL: "SELECT id FROM users WHERE id = $1", Params: []postgres.Param{{Type: "bigint"}}},
		} {
			if err := checkPlan(t.Context(), d, s); err == nil {
				t.Errorf("%s: @plan %s: no error", s.SQL, s.Plan)
			}
		}
	})
}

// TestPlans_UsernamePrefix holds the one index on usernames to serving prefixes,
// too, whatever the collation of the column.
func TestPlans_UsernamePrefix(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	tx, err := d.Router.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	if _, err := tx.Exec(t.Context(), "SET LOCAL enable_seqscan = off"); err != nil {
		t.Fatal(err)
	}
	plan, err := planOf(t.Context(), tx, "SELECT id FROM users WHERE starts_with(username, 'ann')")
	if err != nil {
		t.Fatal(err)
	}
	if !plan.uses("users_username_key") {
		t.Errorf("the index cannot serve it\n%s", plan.text)
	}
	// The tests' databases sort by bytes, where any index would do.
	var class string
	const of = "SELECT o.opcname FROM pg_index AS i JOIN pg_opclass AS o ON o.oid = i.indclass[0] WHERE i.indexrelid = 'users_username_key'::regclass"
	if err := tx.QueryRow(t.Context(), of).Scan(&class); err != nil || class != "text_pattern_ops" {
		t.Errorf("it compares by %q (%v), which serves prefixes in some collations only", class, err)
	}
}

// TestPlans_Batches holds the partners of inserts to one plan for batches of every
// length, because to plan costs more than to add a few rows. Made on tables that are
// as good as empty, it has to be right still when they have grown. They draw each
// id as the table itself would.
func TestPlans_Batches(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	id := d.CreateUser(t).ID
	batches := 0
	for _, s := range db.Statements {
		if s.Batch == "" || named(s.Batch).DerivedFrom != "" {
			continue
		}
		batches++
		many := named(s.Batch)
		if err := checkBatch(t.Context(), d, many, id); err != nil {
			t.Errorf("queries/%s: %s: %v", many.File, many.Name, err)
		}
		if err := checkDrawn(t.Context(), d, many); err != nil {
			t.Errorf("queries/%s: %s: %v", many.File, many.Name, err)
		}
	}
	if batches == 0 {
		t.Error("no insert has a @batch")
	}
}

var (
	drawn    = regexp.MustCompile(`(?i)nextval\('([^']*)'|(gen_random_uuid|uuidv7|uuid_generate_v4)\(\)`)
	inserted = regexp.MustCompile(`(?i)insert\s+into\s+([\w."]+)`)
)

// checkDrawn looks whether the table's own default, or its identity, draws the id
// that a partner draws.
func checkDrawn(ctx context.Context, d *storetest.DB, s postgres.Statement) error {
	id, table := drawn.FindStringSubmatch(s.SQL), inserted.FindStringSubmatch(s.SQL)
	if id == nil || table == nil {
		return fmt.Errorf("it draws no id")
	}
	// The sequence of a serial or identity column belongs to it.
	const of = `SELECT EXISTS (
		SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = to_regclass($2) AND refobjid = $1::regclass AND deptype IN ('a', 'i')
		UNION ALL
		SELECT FROM pg_attrdef WHERE adrelid = $1::regclass AND $3 <> '' AND pg_get_expr(adbin, adrelid) LIKE $3 || '(%'
		UNION ALL
		SELECT FROM pg_attrdef AS a JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
		WHERE a.adrelid = $1::regclass AND d.refobjid = to_regclass($2))`
	var same bool
	if err := d.Router.Pool().QueryRow(ctx, of, table[1], id[1], id[2]).Scan(&same); err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("it draws its id by %s, and %s does not: use the default of the table's own column", id[0], table[1])
	}
	return nil
}

// examples are arrays' elements of each type that a partner takes.
var examples = map[string]string{
	"smallint": "30", "integer": "30", "real": "1.5", "double precision": "1.5", "numeric": "1.5", "boolean": "true",
	"bytea": `\\x00`, "uuid": "00000000-0000-0000-0000-000000000000", "json": "[]", "jsonb": "[]", "inet": "127.0.0.1",
	"date": "2026-01-01", "time": "12:00", "timestamp": "2026-01-01", "timestamptz": "2026-01-01", "interval": "1h",
}

// example is an element of an array of the type, the nth one if it is a text.
func example(ctx context.Context, tx pgx.Tx, array string, id int64, n int) (string, error) {
	typ := strings.TrimSuffix(array, "[]")
	switch value, ok := examples[typ]; {
	case ok:
		return value, nil
	case typ == "bigint":
		return fmt.Sprint(id), nil // the references of the examples are to this one
	case typ == "text", typ == "varchar", typ == "char", typ == "citext":
		return fmt.Sprint("planned-", n), nil
	}
	var label string
	err := tx.QueryRow(ctx, "SELECT enumlabel FROM pg_enum WHERE enumtypid = to_regtype($1) LIMIT 1", typ).Scan(&label)
	if err != nil {
		return "", fmt.Errorf("no example of the type %s: add one to the examples of this test: %w", typ, err)
	}
	return label, nil
}

// firstPlans is how often PostgreSQL plans for the values before it compares
// what that saves with what it costs.
const firstPlans = 5

// checkBatch executes a prepared statement with arrays of some lengths, and
// looks how often it was planned for them alone, and what the lasting plan is.
// id is that of a user.
func checkBatch(ctx context.Context, d *storetest.DB, s postgres.Statement, id int64) error {
	tx, err := d.Router.Pool().Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Prepare(ctx, s.Name, s.SQL); err != nil {
		return err
	}
	args := make([]any, len(s.Params))
	var text []string
	for length := range 4 * firstPlans {
		text = nil
		for i, p := range s.Params {
			value, err := example(ctx, tx, p.Type, id, length)
			if err != nil {
				return err
			}
			array := "{" + strings.TrimSuffix(strings.Repeat(value+",", 1+length%4), ",") + "}"
			args[i], text = array, append(text, "'"+array+"'")
		}
		rows, err := tx.Query(ctx, s.Name, args...)
		if err != nil {
			return err
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return fmt.Errorf("%v: %w", args, err)
		}
	}
	var planned int64
	const custom = "SELECT custom_plans FROM pg_prepared_statements WHERE name = $1"
	if err := tx.QueryRow(ctx, custom, s.Name).Scan(&planned); err != nil {
		return err
	}
	if planned > firstPlans {
		return fmt.Errorf("it was planned anew %d times", planned)
	}
	plan, err := planOf(ctx, tx, fmt.Sprintf(`EXECUTE "%s" (%s)`, s.Name, strings.Join(text, ", ")))
	if err == nil {
		err = plan.readsAll()
	}
	return err
}

// planOf is the plan of a statement.
func planOf(ctx context.Context, tx pgx.Tx, statement string) (planNodes, error) {
	var text []byte
	if err := tx.QueryRow(ctx, "EXPLAIN (FORMAT JSON) "+statement, pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		return planNodes{}, err
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(text, &plans); err != nil {
		return planNodes{}, err
	}
	return planNodes{plans[0].Plan.all(), text}, nil
}

// planNodes are the nodes of a plan, and the plan as it was told.
type planNodes struct {
	all  []planNode
	text []byte
}

// uses reports whether the plan finds rows by an index.
func (p planNodes) uses(index string) bool {
	return slices.ContainsFunc(p.all, func(n planNode) bool { return n.Index == index && n.Cond != "" })
}

// readsAll is an error when the plan reads all of a table.
func (p planNodes) readsAll() error {
	for _, n := range p.all {
		if n.Type == "Seq Scan" {
			return fmt.Errorf("it reads all of %s: add an index that serves it\n%s", n.Relation, p.text)
		}
	}
	return nil
}

// checkPlan looks at the generic plan, the one for every argument, with
// sequential scans made so dear that one is left only where it is needed. For
// a named index it takes the other indexes away first: that index must be able
// to serve the statement, whichever the planner would prefer.
func checkPlan(ctx context.Context, d *storetest.DB, s postgres.Statement) error {
	index, named := strings.CutPrefix(s.Plan, "uses ")
	var types, nulls []string
	for _, p := range s.Params {
		types = append(types, p.Type)
		nulls = append(nulls, "NULL")
	}
	prepare, execute := "PREPARE planned AS "+s.SQL, "EXECUTE planned"
	if len(types) > 0 {
		prepare = fmt.Sprintf("PREPARE planned (%s) AS %s", strings.Join(types, ", "), s.SQL)
		execute = fmt.Sprintf("EXECUTE planned (%s)", strings.Join(nulls, ", "))
	}
	tx, err := d.Router.Pool().Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	set := "SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan;"
	if named {
		// The planner's choice among indexes is not the question.
		set += fmt.Sprintf(`DO $$
			DECLARE other text;
			BEGIN
				FOR other IN SELECT o.indexrelid::regclass FROM pg_index i JOIN pg_index o USING (indrelid)
					WHERE i.indexrelid = '%s'::regclass AND i.indexrelid <> o.indexrelid
				LOOP
					UPDATE pg_index SET indisvalid = false WHERE indexrelid = other::regclass;
				END LOOP;
			END $$;`, index)
	}
	if _, err := tx.Exec(ctx, set, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, prepare, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	plan, err := planOf(ctx, tx, execute)
	if err != nil {
		return err
	}
	_, _ = tx.Exec(ctx, "DEALLOCATE planned")
	if err := plan.readsAll(); err != nil {
		return err
	}
	if named && !plan.uses(index) {
		return fmt.Errorf("the index cannot serve it\n%s", plan.text)
	}
	return nil
}

type planNode struct {
	Type     string     `json:"Node Type"`
	Relation string     `json:"Relation Name"`
	Index    string     `json:"Index Name"`
	Cond     string     `json:"Index Cond"`
	Plans    []planNode `json:"Plans"`
}

func (n planNode) all() []planNode {
	nodes := []planNode{n}
	for _, p := range n.Plans {
		nodes = append(nodes, p.all()...)
	}
	return nodes
}
