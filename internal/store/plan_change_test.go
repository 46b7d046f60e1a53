package store_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/internal/storetest"
)

// TestPlans_Changes plans each derived UPDATE and DELETE with the statistics of an empty table,
// of a table in which no task is running, and of one with many running tasks. Under each, it
// must look up the row of each call by its key. A plan that joins or filters the whole table is
// kept for later calls, when the table may be large.
func TestPlans_Changes(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, d.Router.Config().URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, state := range []struct{ name, sql string }{
		{"never analyzed", ""},
		{"many", `
			INSERT INTO users (username, email) SELECT 'u' || i, 'x' FROM generate_series(1, 5000) AS i;
			INSERT INTO tasks (name, payload) SELECT 'n', '{}' FROM generate_series(1, 5000); ANALYZE users, tasks`},
		{"many running", `
			UPDATE tasks SET status = 'running', worker = 'w', attempts = 1, lease_until = now() + interval '1 hour'; ANALYZE tasks`},
		{"ended", "UPDATE tasks SET status = 'completed', lease_until = NULL; VACUUM ANALYZE tasks"},
	} {
		for sql := range strings.SplitSeq(state.sql, ";") { // VACUUM needs a separate statement
			if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatal(err)
			}
		}
		planned := 0
		for _, s := range db.Statements {
			if len(s.Key) == 0 {
				continue
			}
			planned++
			for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
				scans := scansOf(t, conn, s.SQL, len(s.Params), mode)
				if len(scans) != 2 {
					t.Errorf("%s: %s, %s: the plan has the scans %q, want 2 of an index", s.Name, state.name, mode, scans)
				}
				for _, scan := range scans {
					if !strings.HasPrefix(scan, "Index") || !byKey.MatchString(scan) {
						t.Errorf("%s: %s, %s: %s", s.Name, state.name, mode, scan)
					}
				}
			}
		}
		if planned < 4 {
			t.Errorf("%d statements, want at least 4", planned)
		}
	}
}

// byKey matches the index condition of a scan that looks up an id.
var byKey = regexp.MustCompile(`Index Cond: .*\bid = `)

// scansOf returns the scans of tables in the plan of a statement for 100 calls, each with the
// line below it.
func scansOf(t *testing.T, conn *pgx.Conn, sql string, params int, mode string) (scans []string) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	defer conn.Exec(t.Context(), "DEALLOCATE ALL") //nolint:errcheck
	if _, err := tx.Exec(t.Context(), "SET LOCAL plan_cache_mode = "+mode+"; PREPARE planned AS "+sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	array := "'{" + strings.TrimSuffix(strings.Repeat("1,", 100), ",") + "}'"
	rows, err := tx.Query(t.Context(), fmt.Sprintf("EXPLAIN EXECUTE planned (%s)", strings.TrimSuffix(strings.Repeat(array+",", params), ",")), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		line = strings.TrimLeft(line, " ->")
		if strings.Contains(line, "Scan") && !strings.HasPrefix(line, "CTE Scan") && !strings.HasPrefix(line, "Function Scan") && !strings.HasPrefix(line, "Subquery Scan") {
			if i+1 < len(lines) {
				line += lines[i+1]
			}
			scans = append(scans, line)
		}
	}
	return scans
}
