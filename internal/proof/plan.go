package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// Plan is a plan from EXPLAIN in JSON format.
type Plan struct {
	Nodes []PlanNode // all of them
	Text  []byte
}

// PlanNode is one node of a plan.
type PlanNode struct {
	Type      string     `json:"Node Type"`
	Schema    string     `json:"Schema"`
	Relation  string     `json:"Relation Name"`
	Index     string     `json:"Index Name"`
	Cond      string     `json:"Index Cond"`
	Filter    string     `json:"Filter"`
	Join      string     `json:"Join Filter"`
	HashCond  string     `json:"Hash Cond"`
	MergeCond string     `json:"Merge Cond"`
	SortKey   []string   `json:"Sort Key"`
	Operation string     `json:"Operation"`
	Function  string     `json:"Function Name"`
	CTE       string     `json:"CTE Name"`
	Cost      float64    `json:"Total Cost"`
	Rows      float64    `json:"Plan Rows"`
	Plans     []PlanNode `json:"Plans"`
}

// Explain returns the plan of a statement.
func Explain(ctx context.Context, tx pgx.Tx, statement string) (Plan, error) {
	var text []byte
	if err := tx.QueryRow(ctx, "EXPLAIN (VERBOSE, FORMAT JSON) "+statement, pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		return Plan{}, err
	}
	var plans []struct{ Plan PlanNode }
	if err := json.Unmarshal(text, &plans); err != nil {
		return Plan{}, err
	}
	p := Plan{Text: text}
	var add func(n PlanNode)
	add = func(n PlanNode) {
		p.Nodes = append(p.Nodes, n)
		for _, child := range n.Plans {
			add(child)
		}
	}
	add(plans[0].Plan)
	return p, nil
}

// Uses reports whether the plan finds rows with the index.
func (p Plan) Uses(index string) bool {
	return slices.ContainsFunc(p.Nodes, func(n PlanNode) bool { return n.Index == index && n.Cond != "" })
}

// ReadsAll returns an error if the plan scans a whole table.
func (p Plan) ReadsAll() error {
	for _, n := range p.Nodes {
		if n.Type == "Seq Scan" {
			return fmt.Errorf("it scans all of %s: add an index for it\n%s", n.Relation, p.Text)
		}
	}
	return nil
}

// parameter matches the parameters of a statement after shifted.
var parameter = regexp.MustCompile(`\$1\d\d\d\b`)

// filters returns an error if a condition on a parameter is not an index condition.
// Then the plan reads rows that do not match, and their number grows with the table.
func (p Plan) filters() error {
	for _, n := range p.Nodes {
		for _, cond := range []string{n.Filter, n.Join, n.HashCond, n.MergeCond} {
			if !parameter.MatchString(cond) {
				continue
			}
			cond = unshifted(cond)
			on := n.Relation
			if on == "" {
				on = n.Type
			}
			return fmt.Errorf("no index condition covers %s on %s, so it reads rows that do not match: "+
				"add an index on the columns that it compares, or write @plan uses NAME if that is intended\n%s", cond, on, p.Text)
		}
	}
	return nil
}

// plainName matches a name that needs no quotes, unless it is a keyword.
var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

var placeholder = regexp.MustCompile(`(?s)--[^\n]*|'(?:[^']|'')*'|"[^"]*"|\$\$.*?\$\$|\$\d+`)

// shifted numbers the parameters of a statement from 1001, because EXPLAIN before
// PostgreSQL 17 also uses $0, $1 and so on for the results of subqueries.
func shifted(sql string) string {
	return placeholder.ReplaceAllStringFunc(sql, func(s string) string {
		if s[0] != '$' || s[1] == '$' {
			return s
		}
		return fmt.Sprintf("$1%03s", s[1:])
	})
}

// unshifted undoes shifted in the output of EXPLAIN.
func unshifted(text string) string {
	return parameter.ReplaceAllStringFunc(text, func(s string) string { return "$" + strings.TrimLeft(s[2:], "0") })
}

// preferences make the planner choose plans as if the tables were large, although they are
// almost empty. A sequential scan remains only if nothing else is possible.
//
// With the first setting, the planner may scan an index in its order and filter. With the
// second it can only look up values, because a bitmap needs an index condition. Rows are also
// so expensive that it combines several indexes.
var preferences = []string{
	"SET LOCAL enable_seqscan = off",
	"SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; " +
		"SET LOCAL cpu_tuple_cost = 1000; SET LOCAL random_page_cost = 0.01; SET LOCAL seq_page_cost = 0.01",
}

// checkPlan checks a statement against its @plan with the generic plan, which is
// used for all arguments.
//
// For a named index it first removes the other indexes of the table, because that
// index must be able to serve the statement even if the planner would prefer another
// one.
func (c *checker) checkPlan(ctx context.Context, s postgres.Statement, params int) error {
	if name, named := strings.CutPrefix(s.Plan, "uses "); named {
		return c.checkUses(ctx, s, params, name)
	}
	return c.served(ctx, s, params, "", Plan.filters)
}

// served plans a statement with each of the preferences, after a change of the schema that
// is rolled back and may be empty. It returns nil if one of the plans reads no table
// whole and passes check. Otherwise it returns the error of the first plan.
func (c *checker) served(ctx context.Context, s postgres.Statement, params int, change string, check func(Plan) error) (first error) {
	for _, set := range preferences {
		// The settings come after the change, because they would make it slow.
		err := c.planned(ctx, s, params, change+"; "+set, func(p Plan) error {
			if err := p.ReadsAll(); err != nil {
				return err
			}
			return check(p)
		})
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (c *checker) checkUses(ctx context.Context, s postgres.Statement, params int, name string) error {
	indexes, err := c.indexesNamed(ctx, name)
	if err != nil {
		return err
	}
	var oids []string
	for _, i := range indexes {
		oids = append(oids, fmt.Sprint(i.OID))
	}
	hide := fmt.Sprintf(`UPDATE pg_index SET indisvalid = false
		WHERE indrelid IN (SELECT indrelid FROM pg_index WHERE indexrelid IN (%[1]s)) AND indexrelid NOT IN (%[1]s)`, strings.Join(oids, ", "))
	return c.planned(ctx, s, params, preferences[0]+"; "+hide, func(p Plan) error {
		if err := p.ReadsAll(); err != nil {
			return err
		}
		if !slices.ContainsFunc(indexes, p.usesOf) {
			return fmt.Errorf("the index cannot serve it\n%s", p.Text)
		}
		return nil
	})
}

// indexesNamed returns the index with the name, and those of the partitions if its
// table is partitioned. If there is none, its error is a problem of the statement.
func (c *checker) indexesNamed(ctx context.Context, name string) ([]namedIndex, error) {
	// An index in mixed case may be written with or without its quotes. An index of a
	// partitioned table includes those of its partitions.
	const of = `
		WITH RECURSIVE named (oid) AS (
		  SELECT coalesce(to_regclass($1), to_regclass(quote_ident($1)))::oid
		  UNION ALL
		  SELECT i.inhrelid FROM named JOIN pg_inherits i ON i.inhparent = named.oid
		)
		SELECT i.oid, i.relname::text, n.nspname || '.' || t.relname, x.indisvalid
		FROM named
		JOIN pg_index x ON x.indexrelid = named.oid
		JOIN pg_class i ON i.oid = x.indexrelid
		JOIN pg_class t ON t.oid = x.indrelid
		JOIN pg_namespace n ON n.oid = t.relnamespace`
	rows, err := c.conn.Query(ctx, of, name)
	if err != nil {
		return nil, err
	}
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[namedIndex])
	if err == nil && len(indexes) == 0 {
		err = errors.New("there is no such index: create it in a migration, or correct the name, such as app.NAME for one in the schema app")
	}
	return indexes, err
}

// namedIndex is an index with its table, including its schema.
type namedIndex struct {
	OID         uint32
	Name, Table string
	Valid       bool
}

// usesOf is like Uses, but for the index of one table. A bitmap index scan does not name the
// table, so only the index name is compared.
func (p Plan) usesOf(i namedIndex) bool {
	return slices.ContainsFunc(p.Nodes, func(n PlanNode) bool {
		return n.Index == i.Name && n.Cond != "" && (n.Relation == "" || n.Schema+"."+n.Relation == i.Table)
	})
}

// planned creates the generic plan of a statement, with the given settings, in a
// transaction that is rolled back, and calls check with it. The server infers the
// types of parameters, as for the application.
func (c *checker) planned(ctx context.Context, s postgres.Statement, params int, settings string, check func(Plan) error) error {
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		_ = tx.Rollback(ctx)
		_, _ = c.conn.Exec(ctx, "DEALLOCATE planned") // the prepared statement would outlive its transaction
	}()
	// Otherwise partitions would be pruned as if the arguments were NULL before the plan is
	// shown.
	const always = "; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_partition_pruning = off"
	if _, err := tx.Exec(ctx, settings+always, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	types, nulls := "", ""
	if params > 0 {
		// The first thousand parameters are unused (see shifted). The server infers the types
		// of the others.
		types = "(" + strings.TrimSuffix(strings.Repeat("int,", 1000)+strings.Repeat("unknown,", params), ",") + ")"
		nulls = "(" + strings.TrimSuffix(strings.Repeat("NULL,", 1000+params), ",") + ")"
	}
	prepare := fmt.Sprintf("PREPARE planned %s AS %s", types, shifted(s.SQL))
	if _, err := tx.Exec(ctx, prepare, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("prepare it: %w: %.500s", err, shifted(s.SQL))
	}
	p, err := Explain(ctx, tx, "EXECUTE planned "+nulls)
	if err != nil {
		return err
	}
	p.Text = []byte(unshifted(string(p.Text)))
	return check(p)
}
