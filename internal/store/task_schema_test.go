package store_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/internal/proof"
	"quern/internal/storetest"
	"quern/postgres"
)

// schemaOf returns the constraints and indexes of tasks, its functions, and the values of its
// enum.
const schemaOf = `
	SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'tasks'::regclass
	UNION ALL SELECT indexdef FROM pg_indexes WHERE tablename = 'tasks'
	UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
	UNION ALL SELECT enumlabel FROM pg_enum WHERE enumtypid = 'task_status'::regtype
	UNION ALL SELECT column_name || ' ' || udt_name || COALESCE(' ' || column_default, '') FROM information_schema.columns WHERE table_name = 'tasks'
	ORDER BY 1`

// TestMigration_Tasks runs Up after an interrupted attempt, Down with cancelled tasks, and Up
// again.
func TestMigration_Tasks(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	conn, m := before(t, 13)
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	list := func(sql string) []string {
		t.Helper()
		rows, _ := conn.Query(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	to := func(version int64) {
		t.Helper()
		if _, err := m.To(ctx, version); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO tasks (name, status, worker, lease_until, last_error)
		SELECT s, s, CASE s WHEN 'running' THEN 'w' END, CASE s WHEN 'running' THEN now() END, CASE s WHEN 'failed' THEN 'broken' END
		FROM unnest(enum_range(NULL::task_status)) AS s`)
	const rows = "SELECT concat_ws(' ', name, status, worker, last_error) FROM tasks ORDER BY id"
	oldSchema, oldRows := list(schemaOf), list(rows)
	to(13)
	newSchema := list(schemaOf)
	if diff := cmp.Diff(oldRows, list(rows)); diff != "" {
		t.Errorf("going up changed rows (-before +after):\n%s", diff)
	}

	exec(`INSERT INTO tasks (name, status) VALUES ('cancelled', 'cancelled');
		INSERT INTO tasks (name, status, last_error) VALUES ('cancelled', 'cancelled', 'timed out')`)
	to(12)
	if diff := cmp.Diff(oldSchema, list(schemaOf)); diff != "" {
		t.Errorf("the schema, down again (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(append(oldRows, "cancelled failed cancelled", "cancelled failed timed out"), list(rows)); diff != "" {
		t.Errorf("rows, down again (-want +got):\n%s", diff)
	}

	// This is the state that an attempt leaves if it is interrupted while it builds an index.
	exec("ALTER TYPE task_status ADD VALUE 'cancelled'")
	exec("CREATE INDEX tasks_due_idx ON tasks (id); CREATE INDEX tasks_name_due_idx ON tasks (id)")
	exec("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'tasks_name_due_idx'::regclass")
	to(13)
	if diff := cmp.Diff(newSchema, list(schemaOf)); diff != "" {
		t.Errorf("the schema, up again (-before +after):\n%s", diff)
	}
}

// TestMigration_TaskIndexes runs Up and Down after interrupted attempts, which have left an invalid
// index.
func TestMigration_TaskIndexes(t *testing.T) {
	t.Parallel()
	for version, left := range map[int64]struct{ up, down string }{
		14: {up: "tasks_leased_idx"},
		19: {up: "tasks_lapse_idx"},
		20: {down: "tasks_due_idx"},
	} {
		t.Run(strconv.FormatInt(version, 10), func(t *testing.T) {
			t.Parallel()
			conn, m := before(t, version)
			exec := func(sql string) {
				t.Helper()
				if _, err := conn.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			to := func(version int64, left string) []string {
				t.Helper()
				if left != "" {
					exec("CREATE INDEX " + left + " ON tasks (id)")
					exec("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '" + left + "'::regclass")
				}
				if _, err := m.To(t.Context(), version); err != nil {
					t.Fatal(err)
				}
				return taskIndexes(t, conn)
			}
			old, current := taskIndexes(t, conn), to(version, "")
			if diff := cmp.Diff(old, to(version-1, left.down)); diff != "" {
				t.Errorf("the indexes, down again (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(current, to(version, left.up)); diff != "" {
				t.Errorf("the indexes, up again (-before +after):\n%s", diff)
			}
		})
	}
}

// taskIndexes returns the definitions of the indexes of tasks, and whether each is valid.
func taskIndexes(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, _ := conn.Query(t.Context(), `SELECT pg_get_indexdef(indexrelid) || ' ' || indisvalid
		FROM pg_index WHERE indrelid = 'tasks'::regclass ORDER BY 1`, pgx.QueryExecModeSimpleProtocol)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// oldClaim is ClaimTasks as it was before the migration that orders expired tasks.
const oldClaim = `WITH expired AS (
    SELECT id, attempts >= max_attempts AS used_up
    FROM tasks
    WHERE status = 'running'
      AND lease_until < now()
    ORDER BY lease_until, id
    LIMIT $3::bigint
    FOR UPDATE SKIP LOCKED
), given_up AS (
    UPDATE tasks
    SET status      = 'failed',
        lease_until = NULL,
        last_error  = 'the lease of the last attempt ran out',
        updated_at  = now()
    WHERE id = ANY(ARRAY(SELECT id FROM expired WHERE used_up))
), pending AS (
    SELECT id
    FROM tasks
    WHERE status = 'pending'
      AND run_at <= now()
    ORDER BY run_at, id
    LIMIT $3 - (SELECT count(*) FROM expired WHERE NOT used_up)
    FOR UPDATE SKIP LOCKED
)
UPDATE tasks
SET status      = 'running',
    worker      = $1::text,
    lease_until = now() + make_interval(secs => $2::double precision),
    attempts    = attempts + 1,
    updated_at  = now()
WHERE id = ANY(ARRAY(
    SELECT id FROM expired WHERE NOT used_up
    UNION ALL
    SELECT id FROM pending
))
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error`

// TestOldTaskStatements checks that servers of an old version can claim, fail and complete tasks
// on this schema while servers of this version run.
func TestOldTaskStatements(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	ids := createTasks(t, d, 6)
	claimOld := func(limit int) (got []int64) {
		t.Helper()
		rows, _ := d.Router.Pool().Query(t.Context(), oldClaim, "old", 60, limit)
		tasks, err := pgx.CollectRows(rows, pgx.RowToStructByName[db.Task])
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			got = append(got, task.ID)
		}
		slices.Sort(got)
		return got
	}
	if got := claimOld(2); !slices.Equal(got, ids[:2]) {
		t.Errorf("the old claim: %v, want %v", got, ids[:2])
	}
	if got := taskIDs(claim(t, d, "new", 2, -time.Minute)); !slices.Equal(got, ids[2:4]) {
		t.Errorf("the new claim: %v, want %v", got, ids[2:4])
	}
	if got := claimOld(3); !slices.Equal(got, ids[2:5]) {
		t.Errorf("the old claim: %v, want those of which the lease ran out, and one more: %v", got, ids[2:5])
	}
	d.Exec(t, "UPDATE tasks SET lease_until = now() - interval '1 minute' WHERE worker = 'old'")
	if got := taskIDs(claim(t, d, "new", 10, time.Minute)); len(got) != 6 {
		t.Errorf("the new claim: %v, want all", got)
	}
}

// fillTasks adds tasks with five names. Most of them have ended, and a hundredth is running.
func fillTasks(t *testing.T, d *storetest.DB, n int) {
	t.Helper()
	d.Exec(t, "ALTER TABLE tasks SET (autovacuum_enabled = off)")
	d.Exec(t, `INSERT INTO tasks (name, status, attempts, worker, lease_until, run_at)
		SELECT 'name ' || i % 5, s.status, 1, 'w', CASE s.status WHEN 'running' THEN now() - i * interval '1 ms' END, now() - i * interval '1 ms'
		FROM generate_series(1, $1) AS i
		CROSS JOIN LATERAL (SELECT (CASE WHEN i % 100 = 0 THEN 'running' WHEN i % 10 < 8 THEN 'completed' ELSE 'pending' END)::task_status AS status) AS s`, n)
}

// genericPlan is the plan for every argument.
func genericPlan(t *testing.T, tx pgx.Tx, s postgres.Statement) proof.Plan {
	t.Helper()
	var types, nulls []string
	for _, p := range s.Params {
		types, nulls = append(types, p.Type), append(nulls, "NULL")
	}
	set := "SET LOCAL plan_cache_mode = force_generic_plan; DEALLOCATE ALL; PREPARE planned"
	if len(types) > 0 {
		set += "(" + strings.Join(types, ", ") + ")"
	}
	if _, err := tx.Exec(t.Context(), set+" AS "+s.SQL, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	plan, err := proof.Explain(t.Context(), tx, "EXECUTE planned ("+strings.Join(nulls, ", ")+")")
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestPlans_Tasks checks that the statements of workers, the lists by name and the sweep use
// their indexes, in the order of the index, for any statistics: those of an empty table, those of
// an idle queue in which all tasks have ended, and those of a full one.
func TestPlans_Tasks(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	check := func(statistics string) {
		t.Helper()
		tx, err := d.Router.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(t.Context())
		for name, want := range map[string]struct {
			indexes []string // the indexes that find the rows to be changed or returned
			sorts   int      // the number of sorts: of the rows for each name or status, and of a page
		}{
			"ClaimTasks":              {[]string{"tasks_lapse_idx", "tasks_lapse_idx", "tasks_ready_idx"}, 0},
			"ClaimTasksBatch":         {[]string{"tasks_lapse_idx", "tasks_lapse_idx", "tasks_ready_idx"}, 0},
			"ClaimTasksByName":        {[]string{"tasks_lapse_idx", "tasks_lapse_idx", "tasks_name_ready_idx"}, 1},
			"ClaimTasksByNameBatch":   {[]string{"tasks_lapse_idx", "tasks_lapse_idx", "tasks_name_ready_idx"}, 1},
			"ListTasksByNameAfter":    {[]string{"tasks_lapse_idx", "tasks_name_status_idx"}, 3},
			"ListTasksByNameBefore":   {[]string{"tasks_lapse_idx", "tasks_name_status_idx"}, 3},
			"ListTasksByStatusAfter":  {[]string{"tasks_lapse_idx", "tasks_status_idx"}, 2},
			"ListTasksByStatusBefore": {[]string{"tasks_lapse_idx", "tasks_status_idx"}, 2},
			"DeleteEndedTasks":        {[]string{"tasks_ended_idx"}, 0},
			"ExtendTask":              {nil, 0}, "CompleteTask": {nil, 0}, "FailTask": {nil, 0}, "ReleaseTask": {nil, 0},
			"CompleteTasks": {nil, 0}, "ListLeases": {nil, 0}, "GiveBackTasks": {nil, 0},
			"CancelTask": {nil, 0}, "RetryTask": {nil, 0}, "DeleteTask": {nil, 0},
		} {
			plan := genericPlan(t, tx, named(name))
			var found []string
			sorts := 0
			for _, n := range plan.Nodes {
				switch {
				case strings.HasSuffix(n.Type, "Sort"):
					sorts++
				case n.Index == "tasks_pkey":
				// The few running tasks may be read in any order.
				case n.Index != "" && (n.Cond == "" || strings.HasPrefix(n.Type, "Bitmap") && n.Index != "tasks_lapse_idx") || n.Type == "Seq Scan":
					t.Errorf("%s, %s: reads all of an index or a table\n%s", statistics, name, plan.Text)
				case n.Index != "":
					found = append(found, n.Index)
				}
			}
			slices.Sort(found)
			if !slices.Equal(found, want.indexes) || want.indexes != nil && sorts > want.sorts+strings.Count(string(plan.Text), `"Node Type": "Unique"`) {
				t.Errorf("%s, %s: found by %v with %d sorts, want %v with %d\n%s", statistics, name, found, sorts, want.indexes, want.sorts, plan.Text)
			}
		}
	}
	d.Exec(t, "VACUUM ANALYZE tasks")
	fillTasks(t, d, 30_000)
	check("of an empty table")
	d.Exec(t, "ANALYZE tasks")
	check("of a full queue")
	d.Exec(t, "UPDATE tasks SET status = 'completed', lease_until = NULL")
	d.Exec(t, "VACUUM ANALYZE tasks")
	d.Exec(t, "INSERT INTO tasks (name, run_at) SELECT 'name ' || i % 5, now() - i * interval '1 ms' FROM generate_series(1, 20000) AS i")
	check("of an idle queue")
}

// TestPlans_TasksRead checks that a scan ends after its rows: a claim by name reads no tasks
// that are due later, and a list reads no tasks with other statuses.
func TestPlans_TasksRead(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	d.Exec(t, `INSERT INTO tasks (name, status, run_at) SELECT 'a', s, now() + interval '1 hour'
		FROM unnest('{pending,cancelled}'::task_status[]) AS s, generate_series(1, 20000)`)
	d.Exec(t, "VACUUM ANALYZE tasks")
	tx, err := d.Router.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	for name, args := range map[string]string{
		"ClaimTasks": "'w', 60, 10", "ClaimTasksByName": "'w', 60, 10, '{a,b}'",
		"ClaimTasksBatch": "'{w,v}', '{60,60}', 20, '{1,11}'", "ClaimTasksByNameBatch": "'{w,v}', '{60,60}', 20, '{1,11}', '{a,b}'",
		"ListTasksByNameAfter": "'failed', 'a', 0, 50", "ListTasksByNameBefore": "'failed', 'a', 1000000, 50",
		"ListTasksByStatusAfter": "'failed', 0, 50", "ListTasksByStatusBefore": "'running', 1000000, 50",
	} {
		genericPlan(t, tx, named(name))
		var text []byte
		// The first run also reads the catalog.
		for range 2 {
			if err := tx.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE planned ("+args+")", pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
				t.Fatal(name, err)
			}
		}
		var plans []struct {
			Plan struct {
				Hit  int `json:"Shared Hit Blocks"`
				Read int `json:"Shared Read Blocks"`
			}
		}
		if err := json.Unmarshal(text, &plans); err != nil {
			t.Fatal(err)
		}
		// 20,000 entries have some 150 blocks.
		if n := plans[0].Plan.Hit + plans[0].Plan.Read; n > 40 {
			t.Errorf("%s reads %d blocks to find nothing\n%s", name, n, text)
		}
	}
}
