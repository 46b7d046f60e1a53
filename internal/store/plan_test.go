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

// TestPlans_Batches holds the statements that stand for several calls to one
// plan for batches of every length: to plan costs more than to read a few rows.
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
		if n, err := customPlans(t.Context(), d, many, id); err != nil || n > firstPlans {
			t.Errorf("queries/%s: %s was planned anew %d times: %v", many.File, many.Name, n, err)
		}
	}
	if batches == 0 {
		t.Error("no statement has a @batch")
	}
}

// firstPlans is how often PostgreSQL plans for the values before it compares
// what that saves with what it costs.
const firstPlans = 5

// customPlans executes a prepared statement with arrays of some lengths, and
// returns how often it was planned for them alone.
func customPlans(ctx context.Context, d *storetest.DB, s postgres.Statement, id int64) (n int64, err error) {
	tx, err := d.Router.Pool().Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Prepare(ctx, s.Name, s.SQL); err != nil {
		return 0, err
	}
	for length := range 4 * firstPlans {
		args := make([]any, len(s.Params))
		for i, p := range s.Params {
			value := map[string]string{
				"bigint[]": fmt.Sprint(id), "integer[]": "30", "text[]": fmt.Sprint("planned-", length), "jsonb[]": "[]",
				"timestamptz[]": "2026-01-01",
			}[p.Type]
			args[i] = "{" + strings.TrimSuffix(strings.Repeat(value+",", 1+length%4), ",") + "}"
		}
		rows, err := tx.Query(ctx, s.Name, args...)
		if err != nil {
			return 0, err
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return 0, fmt.Errorf("%v: %w", args, err)
		}
	}
	return n, tx.QueryRow(ctx, "SELECT custom_plans FROM pg_prepared_statements WHERE name = $1", s.Name).Scan(&n)
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
	var text []byte
	if err := tx.QueryRow(ctx, "EXPLAIN (FORMAT JSON) "+execute, pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		return err
	}
	_, _ = tx.Exec(ctx, "DEALLOCATE planned")
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(text, &plans); err != nil {
		return err
	}
	nodes := plans[0].Plan.all()
	for _, n := range nodes {
		if n.Type == "Seq Scan" {
			return fmt.Errorf("it reads all of %s: add an index that serves it\n%s", n.Relation, text)
		}
	}
	if named && !slices.ContainsFunc(nodes, func(n planNode) bool { return n.Index == index && n.Cond != "" }) {
		return fmt.Errorf("the index cannot serve it\n%s", text)
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
