package store_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/internal/proof"
	"quern/internal/storetest"
	"quern/postgres"
)

// TestPlans checks that a wrong @plan is found on the real schema. TestStatements checks that
// all of them are true.
func TestPlans(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	if !slices.ContainsFunc(db.Statements, func(s postgres.Statement) bool { return s.Plan != "" }) {
		t.Error("no statement has a @plan")
	}
	id := []postgres.Column{{Name: "id", Type: "bigint", NotNull: true}}
	for _, s := range []postgres.Statement{
		{Plan: "indexed", SQL: "SELECT id FROM users WHERE email = $1", Params: []postgres.Param{{Name: "email", Type: "text"}}},
		{Plan: "indexed", SQL: "SELECT id FROM users WHERE email = $1 ORDER BY id LIMIT 1", Params: []postgres.Param{{Name: "email", Type: "text"}}},
		{Plan: "uses users_username_key", SQL: "SELECT id FROM users WHERE id = $1", Params: []postgres.Param{{Name: "id", Type: "bigint"}}},
		{Plan: "uses nowhere", SQL: "SELECT id FROM users WHERE id = $1", Params: []postgres.Param{{Name: "id", Type: "bigint"}}},
	} {
		s.Kind, s.Columns = postgres.Many, id
		problems, err := proof.Statements(t.Context(), d.URL, []postgres.Statement{s})
		if err != nil || len(problems) != 1 || !strings.HasPrefix(problems[0].Text, "@plan "+s.Plan) {
			t.Errorf("%s: @plan %s: %v, %v, want one problem, of the plan", s.SQL, s.Plan, problems, err)
		}
	}
}

// TestPlans_UsernamePrefix checks that the only index on usernames also serves prefixes, for
// any collation of the column.
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
	plan, err := proof.Explain(t.Context(), tx, "SELECT id FROM users WHERE starts_with(username, 'ann')")
	if err != nil {
		t.Fatal(err)
	}
	if !plan.Uses("users_username_key") {
		t.Errorf("the index cannot serve it\n%s", plan.Text)
	}
	// The tests' databases sort by bytes, where any index would do.
	var class string
	const of = "SELECT o.opcname FROM pg_index AS i JOIN pg_opclass AS o ON o.oid = i.indclass[0] WHERE i.indexrelid = 'users_username_key'::regclass"
	if err := tx.QueryRow(t.Context(), of).Scan(&class); err != nil || class != "text_pattern_ops" {
		t.Errorf("it compares by %q (%v), which serves prefixes in some collations only", class, err)
	}
}

// TestPlans_Batches checks that the partners of inserts have one plan for batches of every
// length, because planning costs more than adding a few rows. The plan is made on almost empty
// tables, and must still be right when they have grown. The partners must draw each id as the
// table itself would.
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

// checkDrawn checks that a partner draws its ids from the same sequence as the table's default
// or identity.
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

// examples are elements of arrays, for each type that a partner takes.
var examples = map[string]string{
	"smallint": "30", "integer": "30", "real": "1.5", "double precision": "1.5", "numeric": "1.5", "boolean": "true",
	"bytea": `\\x00`, "uuid": "00000000-0000-0000-0000-000000000000", "json": "[]", "jsonb": "[]", "inet": "127.0.0.1",
	"date": "2026-01-01", "time": "12:00", "timestamp": "2026-01-01", "timestamptz": "2026-01-01", "interval": "1h",
}

// example returns an element of an array of the given type. For a text it is the nth one.
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

// firstPlans is how often PostgreSQL plans a statement for its values before it considers the
// generic plan.
const firstPlans = 5

// checkBatch executes a prepared statement with arrays of several lengths. It checks how often
// the statement was planned for its values, and checks the generic plan. id is the id of a
// user.
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
	plan, err := proof.Explain(ctx, tx, fmt.Sprintf(`EXECUTE "%s" (%s)`, s.Name, strings.Join(text, ", ")))
	if err == nil {
		err = plan.ReadsAll()
	}
	return err
}
