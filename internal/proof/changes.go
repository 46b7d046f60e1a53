package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

const (
	commandDelete = "4" // CmdType in nodes.h

	// weakerLock is the lock of a derived UPDATE that sets no column of a unique key.
	weakerLock = "FOR NO KEY UPDATE SKIP LOCKED"
)

// checkChange checks a statement that the plugin has derived from an UPDATE or DELETE. The key
// by which it finds the row of each call must be unique and NOT NULL, its lock must be as strong
// as that of the change, and no function of its WHERE may be VOLATILE.
func (c *checker) checkChange(ctx context.Context, s postgres.Statement, tree *node) ([]string, error) {
	if command := tree.word("commandType"); command != commandUpdate && command != commandDelete {
		return []string{"it is derived from an UPDATE or DELETE, but is neither: run sqlc generate"}, nil
	}
	relation := (&scope{query: tree}).entry(tree.word("resultRelation")).word("relid")
	var table string
	var children bool
	const of = `
		SELECT oid::regclass::text, relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = pg_class.oid)
		FROM pg_class WHERE oid = $1::text::oid`
	if err := c.conn.QueryRow(ctx, of, relation).Scan(&table, &children); err != nil {
		return nil, err
	}
	keys, err := c.uniqueKeys(ctx, relation)
	if err != nil {
		return nil, err
	}
	var problems []string
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if children {
		problem("@batch: other tables inherit from %s, and a unique key does not include their rows: remove @batch", table)
	}
	var own []string
	for _, k := range s.Key {
		own = append(own, k.Column)
	}
	within := func(k tableKey) bool {
		return !slices.ContainsFunc(k.columns, func(column string) bool { return !slices.Contains(own, column) })
	}
	switch i := slices.IndexFunc(keys, within); {
	case i < 0:
		problem("@batch: no unique index of %s has only the columns by which it finds its row (%s), so it may change several rows: create one, or remove @batch",
			table, strings.Join(own, ", "))
	case keys[i].nullable != "":
		problem("@batch: the column %s of its key may be NULL: declare it NOT NULL, or remove @batch", keys[i].nullable)
	}
	written, err := c.written(ctx, tree)
	if err != nil {
		return nil, err
	}
	for _, w := range written {
		i := slices.IndexFunc(keys, func(k tableKey) bool { return slices.Contains(k.columns, w.name) })
		if w.written && i >= 0 && strings.Contains(s.SQL, weakerLock) {
			problem("@batch: it sets %s, a column of the unique index %s that the schema files of sqlc.yaml do not declare, so it locks rows less than the UPDATE does: declare the index there",
				w.name, keys[i].name)
		}
	}
	volatile, err := c.volatileIn(ctx, tree)
	if err == nil && volatile != "" {
		problem("@batch: its WHERE calls %s, which is VOLATILE, so it may find another row for a coalesced call: remove @batch", volatile)
	}
	return problems, err
}

// tableKey is a unique index without a condition.
type tableKey struct {
	name     string
	columns  []string
	nullable string // a column that may be NULL, or ""
}

func (c *checker) uniqueKeys(ctx context.Context, relation string) ([]tableKey, error) {
	const of = `
		SELECT x.indexrelid::regclass::text, array_agg(a.attname::text), coalesce(min(a.attname::text) FILTER (WHERE NOT a.attnotnull), '')
		FROM pg_index AS x
		CROSS JOIN LATERAL unnest(x.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
		JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
		WHERE x.indrelid = $1::text::oid AND x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
		  AND k.place <= x.indnkeyatts
		GROUP BY x.indexrelid
		ORDER BY bool_or(NOT a.attnotnull), x.indexrelid`
	rows, err := c.conn.Query(ctx, of, relation)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (k tableKey, err error) {
		return k, row.Scan(&k.name, &k.columns, &k.nullable)
	})
}

// volatileIn returns a VOLATILE function in the WHERE of the subquery that locks, or "".
func (c *checker) volatileIn(ctx context.Context, tree *node) (name string, err error) {
	var functions, operators []string
	walk(tree, func(q *node) {
		if !q.is("QUERY") || q.word("hasForUpdate") != "true" {
			return
		}
		walk(q.fields["jointree"], func(n *node) {
			for _, field := range functionFields {
				if oid := n.word(field); oid != "" && oid != "0" && oid != null {
					functions = append(functions, oid)
				}
			}
			if oid := n.word("opno"); oid != "" && oid != null {
				operators = append(operators, oid)
			}
		})
	})
	const of = `
		SELECT coalesce(min(p.oid::regprocedure::text), '')
		FROM pg_proc AS p
		WHERE p.provolatile = 'v'
		  AND (p.oid = ANY($1::text[]::oid[]) OR p.oid IN (SELECT oprcode FROM pg_operator WHERE oid = ANY($2::text[]::oid[])))`
	return name, c.conn.QueryRow(ctx, of, functions, operators).Scan(&name)
}

// findsRows returns an error if a plan of a derived UPDATE or DELETE reads rows of its table
// without an index condition.
func (p Plan) findsRows() error {
	for _, n := range p.Nodes {
		if n.Relation != "" && n.Operation == "" && strings.HasSuffix(n.Type, "Scan") && n.Cond == "" && n.Type != "Bitmap Heap Scan" {
			return fmt.Errorf("it reads rows of %s without an index condition\n%s", n.Relation, p.Text)
		}
	}
	return nil
}
