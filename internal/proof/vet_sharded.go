package proof

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// VetSharded returns what would fail, or run on every shard, on a sharded PostgreSQL such as
// Citus that distributes each table that has the given column by that column. All other tables
// are assumed to be reference tables, of which every shard has a copy.
//
// In the schema it finds unique indexes without the column, which no shard can
// enforce, and foreign keys whose rows may be on different shards. In the statements
// it finds writes and reads that no value of the column restricts, joins of rows of
// different shards, and changes of the column itself. Nothing is executed.
func VetSharded(ctx context.Context, url string, statements []postgres.Statement, column string) ([]Finding, error) {
	var schema []Finding
	found, err := vet(ctx, url, statements, func(v *vetter, s postgres.Statement, tree *node) {
		walk(tree, func(q *node) {
			if q.is("QUERY") {
				v.checkShards(s, q, column)
			}
		})
	})
	if err != nil {
		return nil, err
	}
	c, err := newChecker(ctx, url)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close(ctx)
	rows, err := c.conn.Query(ctx, shardKeys, column)
	if err != nil {
		return nil, err
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, text := range texts {
		schema = append(schema, Finding{Rule: RuleShardKey, Text: text})
	}
	return append(schema, found...), err
}

// shardKeys lists unique indexes and foreign keys that are impossible on a table
// distributed by $1.
const shardKeys = `
	WITH distributed AS (
		SELECT c.oid, a.attnum
		FROM pg_class AS c
		JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = $1 AND NOT a.attisdropped
		WHERE c.relkind IN ('r', 'p') AND c.relnamespace <> 'pg_catalog'::regnamespace
	)
	SELECT format('the unique index %s of %s lacks %s, so no shard can enforce it: put %3$s into it', i.indexrelid::regclass, i.indrelid::regclass, $1)
	FROM distributed AS d
	JOIN pg_index AS i ON i.indrelid = d.oid AND i.indisunique
	WHERE d.attnum <> ALL ((i.indkey::int2[])[0:i.indnkeyatts - 1])
	UNION ALL
	SELECT format('the foreign key %s of %s to %s does not compare %s, so its rows may be on different shards: put %4$s into both sides', f.conname, f.conrelid::regclass, f.confrelid::regclass, $1)
	FROM pg_constraint AS f
	JOIN distributed AS parent ON parent.oid = f.confrelid
	LEFT JOIN distributed AS child ON child.oid = f.conrelid
	WHERE f.contype = 'f' AND f.conparentid = 0
	  AND (child.oid IS NULL OR array_position(f.conkey, child.attnum) IS DISTINCT FROM array_position(f.confkey, parent.attnum) OR array_position(f.conkey, child.attnum) IS NULL)
	ORDER BY 1`

// checkShards checks one query, without its subqueries, for access to several shards.
func (v *vetter) checkShards(s postgres.Statement, q *node, column string) {
	at := map[string]int{} // the column's number, by entry of a distributed table
	numbers := from(q)
	if target := q.word("resultRelation"); target != "0" {
		numbers = append(numbers, target)
	}
	for _, number := range numbers {
		if t := v.tables[(&scope{query: q}).entry(number).word("relid")]; t != nil && t.columns[column] > 0 {
			at[number] = t.columns[column]
		}
	}
	if len(at) == 0 {
		return
	}
	table := func(number string) string { return v.tableName((&scope{query: q}).entry(number).word("relid")) }
	target := q.word("resultRelation")
	sets := false
	for _, t := range q.list("targetList") {
		sets = sets || t.word("resname") == column && t.word("resjunk") == "false"
	}
	switch q.word("commandType") {
	case commandInsert:
		if !sets && at[target] > 0 {
			v.find(s, RuleAllShards, "it inserts into %s without %s: write %[2]s", table(target), column)
		}
		return
	case commandUpdate:
		if sets && at[target] > 0 {
			v.find(s, RuleShardKey, "it changes %s of %s, which would move the row to another shard: delete and insert it", column, table(target))
		}
	}
	joined, pinned := v.shardsOf(q, at)
	root := ""
	for _, number := range numbers {
		if at[number] == 0 {
			continue
		}
		switch {
		case root == "":
			root = number
		case joined(root) != joined(number) && (!pinned[joined(root)] || !pinned[joined(number)]):
			v.find(s, RuleShardJoin, "it joins %s with %s but not by %s, so the rows may be on different shards: compare %[3]s too",
				table(root), table(number), column)
			return
		}
	}
	if !pinned[joined(root)] {
		v.find(s, RuleAllShards, "no value of %s restricts it, so it runs on every shard: compare %[1]s with a parameter", column)
	}
}

// shardsOf groups the entries of a query into sets that are joined by the column. joined
// returns the representative entry of the set to which an entry belongs. pinned has the sets
// that are restricted to values of the caller.
func (v *vetter) shardsOf(q *node, at map[string]int) (joined func(string) string, pinned map[string]bool) {
	parent := map[string]string{}
	joined = func(number string) string {
		for parent[number] != "" {
			number = parent[number]
		}
		return number
	}
	isKey := func(e *node) bool {
		c := column(e)
		return c.word("varlevelsup") == "0" && at[c.word("varno")] > 0 && c.word("varattno") == strconv.Itoa(at[c.word("varno")])
	}
	var values []string
	for _, e := range conditions(q) {
		sides := e.list("args")
		if !e.is("OPEXPR") && !e.is("SCALARARRAYOPEXPR") || !v.equal[e.word("opno")] || len(sides) != 2 {
			continue
		}
		for i, side := range sides {
			other := sides[1-i]
			switch {
			case !isKey(side):
			case isKey(other):
				if a, b := joined(column(side).word("varno")), joined(column(other).word("varno")); a != b {
					parent[a] = b
				}
			case v.fixed(&scope{query: q}, other, nil) && !strings.Contains(other.name, "SUBLINK"):
				values = append(values, column(side).word("varno"))
			}
		}
	}
	pinned = map[string]bool{}
	for _, number := range values {
		pinned[joined(number)] = true
	}
	return joined, pinned
}
