package store_test

import (
	"context"
	"encoding/json"
	"fmt"
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

// TestPlans_Batches holds the statements that stand for several calls to one
// plan for batches of every length, for to plan costs more than to read a few
// rows. Made on tables that are as good as empty, it has to be right still when
// they have grown.
func TestPlans_Batches(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	id := d.CreateUser(t).ID
	batches := 0
	for _, s := range db.Statements {
		if s.Batch.Name == "" {
			continue
		}
		batches++
		i := slices.IndexFunc(db.Statements, func(many postgres.Statement) bool { return many.Name == s.Batch.Name })
		many := db.Statements[i]
		if err := checkBatch(t.Context(), d, many, id); err != nil {
			t.Errorf("queries/%s: %s: %v", many.File, many.Name, err)
		}
	}
	if batches == 0 {
		t.Error("no statement has a @batch")
	}
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
			value := map[string]string{
				"bigint[]": fmt.Sprint(id), "integer[]": "30", "text[]": fmt.Sprint("planned-", length), "jsonb[]": "[]",
				"timestamptz[]": "2026-01-01",
			}[p.Type]
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
