package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// Incompatible returns the problems of statements that were generated for one schema
// when they run on another one. before and after are URLs of databases with these
// schemas. It omits problems that a statement also has on the schema before.
//
// A statement has a problem if it can no longer be prepared or planned, if its
// parameters or columns have other types, if a column that it returns can now be
// NULL, if it may write NULL to a column that has become NOT NULL, if it does not set
// a new column that is NOT NULL without a default, or if it may send a removed value
// of an enum. Constraints on values, such as a new CHECK, are not compared, because
// it depends on the data whether they hold.
//
// The roles must be allowed to create temporary functions. Nothing is executed.
func Incompatible(ctx context.Context, before, after string, statements []postgres.Statement) ([]Incompatibility, error) {
	old, err := newChecker(ctx, before)
	if err != nil {
		return nil, err
	}
	defer old.conn.Close(ctx)
	now, err := newChecker(ctx, after)
	if err != nil {
		return nil, err
	}
	defer now.conn.Close(ctx)
	var problems []Incompatibility
	for _, s := range statements {
		was, err := old.describe(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		is, err := now.describe(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		for _, text := range append(is.problems, writes(was, is)...) {
			if !slices.Contains(was.problems, text) {
				problems = append(problems, Incompatibility{s, text, twoSteps(text)})
			}
		}
	}
	return problems, nil
}

// Incompatibility is a statement that fails on another schema.
type Incompatibility struct {
	Statement postgres.Statement
	Text      string // the difference
	Hint      string // how to make the change of the schema in two releases
}

// twoSteps returns a hint: how to make a schema change in two steps if it causes a problem
// while processes of both releases run.
func twoSteps(problem string) string {
	switch {
	case strings.HasPrefix(problem, "it may write NULL"):
		return "deploy a release that always writes a value first, and make the column NOT NULL in the release after it"
	case strings.HasPrefix(problem, "it does not write"):
		return "give the column a DEFAULT now, and drop the default in a later release"
	case strings.HasPrefix(problem, "it may send the value"):
		return "deploy a release that does not send it first, and remove it in the release after it"
	case strings.HasPrefix(problem, "the parameter"), strings.HasPrefix(problem, "the column"):
		return "add a new column of the new form, write both, and drop the old one in a later release"
	}
	return "keep the objects that it uses, and drop or rename them in a later release, when no process runs this statement any more"
}

// described is a statement with its properties on one schema.
type described struct {
	problems []string
	columns  []writtenColumn // columns of the tables that it writes
	enums    map[string][]string
}

// writtenColumn is a column of a table that a statement writes.
type writtenColumn struct {
	table, name string
	insert      bool   // the statement is an INSERT
	written     bool   // the statement sets it
	param       string // the number of the parameter that the value is; otherwise empty
	maybeNull   bool   // the value is a parameter, or another expression that can be NULL
	notNull     bool
	filled      bool // the server sets it if the statement does not
}

func (c *checker) describe(ctx context.Context, s postgres.Statement) (d described, err error) {
	if s.Kind == postgres.CopyFrom {
		if d.problems, err = c.checkCopy(ctx, s); err != nil || len(d.problems) > 0 {
			return d, err
		}
		d.columns, err = c.copied(ctx, s)
		return d, err
	}
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return d, err
	}
	defer tx.Rollback(ctx)
	prepared, err := tx.Prepare(ctx, "proof", s.SQL)
	if err != nil {
		d.problems = []string{"the server cannot prepare it: " + serverText(err)}
		return d, nil
	}
	defer c.conn.Deallocate(ctx, "proof")
	d.problems = append(c.checkParams(s, prepared.ParamOIDs), c.checkColumns(s, prepared.Fields)...)
	if d.enums, err = c.enumLabels(ctx, tx, prepared.ParamOIDs); err != nil {
		return d, err
	}
	tree, err := c.treeOf(ctx, tx, s.SQL, prepared.ParamOIDs)
	if err != nil || tree == nil {
		return d, err
	}
	if s.DerivedFrom == "" {
		nulls, err := c.checkNulls(ctx, s, tree)
		if err != nil {
			return d, err
		}
		d.problems = append(d.problems, nulls...)
	}
	if d.columns, err = c.written(ctx, tree); err != nil {
		return d, err
	}
	if err := tx.Rollback(ctx); err != nil {
		return d, err
	}
	// The index of ON CONFLICT, and writes to generated columns, are only checked when a
	// statement is planned.
	if err := c.planned(ctx, s, len(prepared.ParamOIDs), "SET LOCAL enable_seqscan = on", func(Plan) error { return nil }); err != nil {
		d.problems = append(d.problems, "the server cannot plan it: "+serverText(err))
	}
	return d, nil
}

// writes compares the columns that a statement writes before and after the change of the
// schema.
func writes(was, is described) (problems []string) {
	for _, column := range is.columns {
		i := slices.IndexFunc(was.columns, func(o writtenColumn) bool { return o.table == column.table && o.name == column.name })
		before := writtenColumn{}
		if i >= 0 {
			before = was.columns[i]
		}
		name := column.table + "." + column.name
		switch {
		case !column.notNull:
		case column.written && column.maybeNull && i >= 0 && !before.notNull && !was.neverNull(column.param):
			problems = append(problems, fmt.Sprintf("it may write NULL to the column %s, which is NOT NULL now", name))
		case !column.written && column.insert && !column.filled && (i < 0 || !before.notNull || before.filled):
			problems = append(problems, fmt.Sprintf("it does not write the column %s, which is NOT NULL now and has no default", name))
		}
	}
	for enum, labels := range was.enums {
		for _, label := range labels {
			if now, ok := is.enums[enum]; ok && !slices.Contains(now, label) {
				problems = append(problems, fmt.Sprintf("it may send the value %q, which the enum %s does not have now", label, enum))
			}
		}
	}
	slices.Sort(problems)
	return problems
}

// enumLabels returns the values of the enums among the types of parameters.
func (c *checker) enumLabels(ctx context.Context, tx pgx.Tx, params []uint32) (map[string][]string, error) {
	const of = `
		SELECT t.oid::regtype::text, array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
		FROM unnest($1::oid[]) AS p (oid)
		JOIN pg_type AS given ON given.oid = p.oid
		JOIN pg_type AS t ON t.oid = CASE given.typcategory WHEN 'A' THEN given.typelem ELSE given.oid END
		JOIN pg_enum AS e ON e.enumtypid = t.oid
		GROUP BY p.oid, t.oid`
	rows, err := tx.Query(ctx, of, params)
	if err != nil {
		return nil, err
	}
	enums := map[string][]string{}
	var name string
	var labels []string
	_, err = pgx.ForEachRow(rows, []any{&name, &labels}, func() error {
		enums[name] = labels
		return nil
	})
	return enums, err
}

// The command types of a query (CmdType in nodes.h).
const (
	commandUpdate = "2"
	commandInsert = "3"
	commandMerge  = "5"
)

// neverNull reports whether the statement also writes a parameter to a column that was
// NOT NULL before. Such a parameter is never NULL.
func (d described) neverNull(param string) bool {
	return param != "" && slices.ContainsFunc(d.columns, func(w writtenColumn) bool { return w.param == param && w.notNull })
}

// written returns the columns of the tables that a statement inserts into or updates.
func (c *checker) written(ctx context.Context, tree *node) (columns []writtenColumn, err error) {
	n := &nulls{checker: c, ctx: ctx}
	walk(tree, func(q *node) {
		if !q.is("QUERY") || err != nil {
			return
		}
		command := q.word("commandType")
		if command != commandInsert && command != commandUpdate && command != commandMerge {
			return
		}
		s := &scope{query: q}
		relation := s.entry(q.word("resultRelation")).word("relid")
		give := func(insert bool, targets []*node) {
			var found []writtenColumn
			if found, err = c.tableColumns(ctx, relation, insert); err != nil {
				return
			}
			for _, t := range targets {
				i := slices.IndexFunc(found, func(w writtenColumn) bool { return w.name == t.word("resname") })
				if i < 0 || t.word("resjunk") == "true" {
					continue
				}
				found[i].written = true
				if param := t.child("expr"); param.is("PARAM") {
					found[i].param = param.word("paramid")
				}
				found[i].maybeNull = hasParam(t.child("expr")) || n.expr(s, t.child("expr")) != ""
			}
			columns = append(columns, found...)
		}
		if command != commandMerge {
			give(command == commandInsert, q.list("targetList"))
		}
		for _, action := range q.list("mergeActionList") {
			if c := action.word("commandType"); c == commandInsert || c == commandUpdate {
				give(c == commandInsert, action.list("targetList"))
			}
		}
		if conflict := q.child("onConflict"); conflict != nil {
			give(false, conflict.list("onConflictSet"))
		}
	})
	if err == nil {
		err = n.err
	}
	return columns, err
}

// hasParam reports whether an expression contains a parameter. A parameter for a
// nullable column can be NULL.
func hasParam(e *node) (has bool) {
	walk(e, func(n *node) { has = has || n.is("PARAM") })
	return has
}

// tableColumns returns the columns of a table, not yet marked as written.
func (c *checker) tableColumns(ctx context.Context, relation string, insert bool) ([]writtenColumn, error) {
	const of = `
		SELECT a.attrelid::regclass::text, a.attname::text, a.attnotnull OR t.typnotnull,
		       a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '' OR t.typdefault IS NOT NULL
		FROM pg_attribute AS a
		JOIN pg_type AS t ON t.oid = a.atttypid
		WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY a.attnum`
	rows, err := c.conn.Query(ctx, of, relation)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (writtenColumn, error) {
		w := writtenColumn{insert: insert}
		err := row.Scan(&w.table, &w.name, &w.notNull, &w.filled)
		return w, err
	})
}

// copied returns the columns of the table that a COPY fills.
func (c *checker) copied(ctx context.Context, s postgres.Statement) ([]writtenColumn, error) {
	parts := copyStatement.FindStringSubmatch(s.SQL)
	var relation string
	if err := c.conn.QueryRow(ctx, "SELECT to_regclass($1)::oid::text", strings.TrimSpace(parts[1])).Scan(&relation); err != nil {
		return nil, err
	}
	columns, err := c.tableColumns(ctx, relation, true)
	for i := range columns {
		w := &columns[i]
		w.written = slices.ContainsFunc(s.Params, func(p postgres.Param) bool { return p.Name == w.name })
		w.maybeNull = w.written
	}
	return columns, err
}
