package rows

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// table is a table that itself contains rows, so it is not a partitioned one.
type table struct {
	Oid       uint32
	Name      string
	Root      string // the partitioned table to which it belongs, or empty
	Partition string // the condition of its partition, or empty

	columns []*column
	checks  []string
	uniques [][]int16
	foreign []foreign
}

type column struct {
	Number    int16
	Name      string
	Type      string // with its modifier
	Plain     string // the same, but for a domain its base type, because a value that violates the domain's checks is an error there
	Base      string // the type's name without modifier; for a domain, that of its base type
	Element   string // for an array, the type of its elements
	Inner     string // and their kind
	Kind      string // pg_type.typtype of the base type
	Length    int32  // of varchar and bit, otherwise 0
	NotNull   bool
	Default   *string
	Sequence  *string // of an identity or serial column
	Labels    []string
	Fields    int32    // of a composite type
	Checks    []string // for a domain, its checks, which refer to VALUE
	Generated bool

	distinct bool // each row has a different value
}

// foreign is a foreign key.
type foreign struct {
	table        string
	columns, key []string // of this table, and of the other
	required     bool     // at least one of its columns is NOT NULL
}

const readTable = `
SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name,
       CASE WHEN c.relispartition THEN coalesce(pg_partition_root(c.oid)::regclass::text, '') ELSE '' END AS root,
       CASE WHEN c.relispartition THEN coalesce(pg_get_partition_constraintdef(c.oid), '') ELSE '' END AS partition
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relname <> 'goose_db_version'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.oid`

const readColumns = `
SELECT a.attnum AS number, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, format_type(b.oid, m.mod) AS plain,
       format_type(b.oid, NULL) AS base, coalesce(format_type(nullif(b.typelem, 0), NULL), '') AS element, b.typtype::text AS kind,
       coalesce((SELECT i.typtype::text FROM pg_type AS i WHERE i.oid = b.typelem), '') AS "inner",
       CASE WHEN b.typname IN ('varchar', 'bpchar') AND m.mod > 4 THEN m.mod - 4 WHEN b.typname IN ('bit', 'varbit') AND m.mod > 0 THEN m.mod ELSE 0 END AS length,
       a.attnotnull OR t.typnotnull AS not_null, pg_get_expr(d.adbin, d.adrelid) AS "default",
       pg_get_serial_sequence(a.attrelid::regclass::text, a.attname) AS sequence,
       ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid IN (b.oid, b.typelem) ORDER BY e.enumsortorder) AS labels,
       coalesce((SELECT count(*)::int FROM pg_attribute AS f WHERE f.attrelid = b.typrelid AND f.attnum > 0 AND NOT f.attisdropped), 0) AS fields,
       ARRAY(SELECT pg_get_expr(k.conbin, 0) FROM pg_constraint AS k WHERE k.contypid = t.oid AND k.conbin IS NOT NULL) AS checks,
       a.attgenerated <> '' AS generated
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
JOIN pg_type AS b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
CROSS JOIN LATERAL (SELECT CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END AS mod) AS m
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum`

const readForeign = `
SELECT k.confrelid::regclass::text,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (n, o) JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o),
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (n, o) JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o),
       EXISTS (SELECT FROM unnest(k.conkey) AS u (n) JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.n WHERE a.attnotnull)
FROM pg_constraint AS k
WHERE k.conrelid = $1 AND k.contype = 'f'
ORDER BY cardinality(k.conkey) DESC, k.conname`

// readTables reads the tables with their constraints.
func readTables(ctx context.Context, conn *pgx.Conn) ([]*table, error) {
	rows, err := conn.Query(ctx, readTable)
	if err != nil {
		return nil, err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByNameLax[table])
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if err := t.read(ctx, conn); err != nil {
			return nil, err
		}
	}
	return tables, nil
}

func (t *table) read(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, readColumns, t.Oid)
	if err != nil {
		return err
	}
	if t.columns, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByNameLax[column]); err != nil {
		return err
	}
	rows, err = conn.Query(ctx, "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conrelid = $1 AND contype = 'c'", t.Oid)
	if err != nil {
		return err
	}
	if t.checks, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return err
	}
	rows, err = conn.Query(ctx, "SELECT indkey::smallint[] FROM pg_index WHERE indrelid = $1 AND indisunique ORDER BY indisprimary DESC, indexrelid", t.Oid)
	if err != nil {
		return err
	}
	if t.uniques, err = pgx.CollectRows(rows, pgx.RowTo[[]int16]); err != nil {
		return err
	}
	rows, err = conn.Query(ctx, readForeign, t.Oid)
	if err != nil {
		return err
	}
	var f foreign
	_, err = pgx.ForEachRow(rows, []any{&f.table, &f.columns, &f.key, &f.required}, func() error {
		t.foreign = append(t.foreign, foreign{f.table, slices.Clone(f.columns), slices.Clone(f.key), f.required})
		return nil
	})
	t.distinguish()
	return err
}

// distinguish selects the columns whose value must differ in each row, so that no unique key is
// violated. It selects one column of each key if possible.
func (t *table) distinguish() {
	for _, c := range t.columns {
		c.distinct = c.Sequence != nil
	}
	for _, key := range t.uniques {
		var of []*column
		for _, c := range t.columns {
			if slices.Contains(key, c.Number) {
				of = append(of, c)
			}
		}
		if slices.ContainsFunc(of, func(c *column) bool { return c.distinct }) {
			continue
		}
		// A column that a check restricts has few possible values.
		if !t.distinguishOne(of, func(c *column) bool { texts, numbers := t.constants(c); return len(texts)+len(numbers) == 0 }) {
			t.distinguishOne(of, func(*column) bool { return true })
		}
	}
}

// distinguishOne selects the last of the columns that may be selected.
func (t *table) distinguishOne(of []*column, may func(*column) bool) bool {
	for _, c := range slices.Backward(of) {
		if !t.refers(c.Name) && c.canBeDistinct() && may(c) {
			c.distinct = true
			return true
		}
	}
	return false
}

// refers reports whether a column is part of a foreign key.
func (t *table) refers(name string) bool {
	return slices.ContainsFunc(t.foreign, func(f foreign) bool { return slices.Contains(f.columns, name) })
}

// inUnique reports whether a column is part of a unique key that contains no distinct column.
func (t *table) inUnique(name string) bool {
	for _, key := range t.uniques {
		has, distinct := false, false
		for _, c := range t.columns {
			if slices.Contains(key, c.Number) {
				has = has || c.Name == name
				distinct = distinct || c.distinct
			}
		}
		if has && !distinct {
			return true
		}
	}
	return false
}

var (
	stringLiteral = regexp.MustCompile(`'((?:[^']|'')*)'`)
	numberLiteral = regexp.MustCompile(`[^\w.'](-?\d+(?:\.\d+)?)\b`)
	valueWord     = regexp.MustCompile(`\bVALUE\b`)
)

// constants returns the strings and numbers that the checks of a column contain. The column
// usually accepts some of them.
func (t *table) constants(c *column) (texts, numbers []string) {
	from := slices.Clone(c.Checks)
	named := regexp.MustCompile(`(^|\W)` + regexp.QuoteMeta(c.Name) + `(\W|$)`)
	for _, check := range append([]string{t.Partition}, t.checks...) {
		if named.MatchString(check) {
			from = append(from, check)
		}
	}
	const most = 12
	for _, text := range from {
		for _, m := range stringLiteral.FindAllStringSubmatch(text, -1) {
			if len(texts) < most {
				texts = append(texts, strings.ReplaceAll(m[1], "''", "'"))
			}
		}
		for _, m := range numberLiteral.FindAllStringSubmatch(" "+stringLiteral.ReplaceAllString(text, "''"), -1) {
			if len(numbers) < most {
				numbers = append(numbers, m[1])
			}
		}
	}
	return texts, numbers
}
