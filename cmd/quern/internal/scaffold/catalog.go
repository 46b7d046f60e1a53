package scaffold

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// table is a table as the catalog of the database describes it.
type table struct {
	schema, name string
	columns      []*column
	key          []*column
	keyIndex     string // the index of the primary key, as SQL names it
	uniques      [][]*column
	foreign      []foreignKey
	oid          uint32
}

// column is a column of a table.
type column struct {
	name      string
	quoted    string // as SQL needs it
	typ       string // as sqlc reads it, without a modifier
	oid       uint32 // of the type
	kind      string // typtype of the type, or of its elements: b, e, d, c, r, m
	array     bool
	notNull   bool
	identity  bool   // GENERATED … AS IDENTITY
	generated bool   // GENERATED … AS (…) STORED
	fallback  string // its DEFAULT, as an expression
	sequence  string // the sequence that provides its id, as an argument of nextval
	labels    []string
	comment   string
	unique    bool // part of a unique key
	bounds    bounds
}

// foreignKey is a reference of a table.
type foreignKey struct {
	columns []*column
	schema  string
	table   string
	targets []string // the columns that it refers to
	index   string   // an index that begins with its columns, as SQL names it, or empty
}

// sql returns the name of the table as SQL needs it.
func (t *table) sql() string { return qualified(t.schema, t.name) }

func qualified(schema, name string) string {
	if schema == "" || schema == "public" {
		return quote(name)
	}
	return quote(schema) + "." + quote(name)
}

func (t *table) column(name string) *column {
	i := slices.IndexFunc(t.columns, func(c *column) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return t.columns[i]
}

func (t *table) isKey(c *column) bool { return slices.Contains(t.key, c) }

// lock returns the version column for optimistic locking, or nil.
func (t *table) lock() *column {
	if c := t.column("version"); c != nil && c.typ == "integer" && c.notNull && c.fallback != "" && !t.isKey(c) {
		return c
	}
	return nil
}

// given returns the columns whose values a caller gives when it creates a row. The database
// generates the others.
func (t *table) given() []*column {
	return slices.DeleteFunc(slices.Clone(t.columns), func(c *column) bool {
		return c.identity || c.generated || t.isStamp(c) || c == t.lock() || c.drawn() != ""
	})
}

// isStamp reports whether a column has the time at which its row was created or changed.
func (t *table) isStamp(c *column) bool {
	return (c.name == "created_at" || c.name == "updated_at") && strings.HasPrefix(c.typ, "timestamp") && c.fallback != ""
}

// changed returns the columns that a caller may change.
func (t *table) changed() []*column {
	return slices.DeleteFunc(t.given(), t.isKey)
}

// drawn returns the expression that draws the id of a row from its sequence, or empty.
func (c *column) drawn() string {
	switch {
	case c.sequence != "":
		return "nextval('" + strings.ReplaceAll(c.sequence, "'", "''") + "')"
	case c.typ == "uuid" && slices.Contains([]string{"gen_random_uuid()", "uuidv7()", "uuidv4()"}, c.fallback):
		return c.fallback
	}
	return ""
}

// errNoTable means that the migrations create no such table.
var errNoTable = errors.New("the migrations create no such table")

// readTable reads the catalog. The name may include its schema, before a dot.
func readTable(ctx context.Context, conn *pgx.Conn, name string) (*table, error) {
	t := &table{}
	var kind string
	err := conn.QueryRow(ctx, `
		SELECT c.oid, n.nspname, c.relname, c.relkind::text
		FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND ($1::text IN (c.relname::text, n.nspname || '.' || c.relname))
		  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%'
		ORDER BY n.nspname <> 'public'
		LIMIT 1`, name).Scan(&t.oid, &t.schema, &t.name, &kind)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("table %s: %w: write its migration first, and name it with its schema if it is in another than public", name, errNoTable)
	}
	if err != nil {
		return nil, err
	}
	if kind != "r" && kind != "p" {
		return nil, fmt.Errorf("%s is no table but a view, a materialized view or a foreign table: write its statements by hand", name)
	}
	if err := t.readColumns(ctx, conn); err != nil {
		return nil, err
	}
	if err := t.readConstraints(ctx, conn); err != nil {
		return nil, err
	}
	return t, t.readBounds(ctx, conn)
}

func (t *table) readColumns(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
		SELECT a.attname, quote_ident(a.attname), a.atttypid, format_type(coalesce(b.oid, a.atttypid), NULL),
		       coalesce(e.typtype, y.typtype)::text, y.typelem <> 0 AND y.typcategory = 'A',
		       a.attnotnull OR y.typnotnull, a.attidentity <> '', a.attgenerated <> '',
		       coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
		       coalesce(pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), a.attname), ''),
		       (SELECT coalesce(array_agg(l.enumlabel ORDER BY l.enumsortorder), '{}') FROM pg_enum AS l WHERE l.enumtypid IN (y.oid, y.typelem)),
		       coalesce(col_description(c.oid, a.attnum), ''),
		       CASE WHEN coalesce(b.oid, a.atttypid) IN ('varchar'::regtype, 'bpchar'::regtype)
		            THEN CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE y.typtypmod END - 4 ELSE -1 END
		FROM pg_attribute AS a
		JOIN pg_class AS c ON c.oid = a.attrelid
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		JOIN pg_type AS y ON y.oid = a.atttypid
		LEFT JOIN pg_type AS e ON e.oid = y.typelem AND y.typcategory = 'A'
		LEFT JOIN pg_type AS b ON y.typtype = 'd' AND b.oid = y.typbasetype
		LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY a.attnum`, t.oid)
	if err != nil {
		return err
	}
	for rows.Next() {
		c, length := &column{}, int64(0)
		if err := rows.Scan(&c.name, &c.quoted, &c.oid, &c.typ, &c.kind, &c.array, &c.notNull, &c.identity, &c.generated,
			&c.fallback, &c.sequence, &c.labels, &c.comment, &length); err != nil {
			return err
		}
		c.typ = shortType(c.typ)
		if length > 0 {
			c.bounds.narrow("<=", length) // varchar(length) or char(length)
		}
		c.sequence = strings.TrimPrefix(c.sequence, "public.")
		if c.generated || c.identity || c.sequence != "" {
			c.fallback = ""
		}
		t.columns = append(t.columns, c)
	}
	return rows.Err()
}

// shortType returns sqlc's name for a type that format_type spells out.
func shortType(name string) string {
	base, array := strings.CutSuffix(name, "[]")
	if short, ok := map[string]string{
		"character varying": "varchar", "character": "bpchar", "timestamp with time zone": "timestamptz",
		"timestamp without time zone": "timestamp", "time without time zone": "time", "time with time zone": "timetz",
		"bit varying": "varbit",
	}[base]; ok {
		base = short
	}
	if array {
		return base + "[]"
	}
	return base
}

func (t *table) readConstraints(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
		SELECT o.contype::text, CASE WHEN o.conindid <> 0 THEN o.conindid::regclass::text ELSE '' END, coalesce(fn.nspname, ''), coalesce(f.relname, ''),
		       (SELECT array_agg(a.attname ORDER BY k.n) FROM unnest(o.conkey) WITH ORDINALITY AS k (num, n)
		        JOIN pg_attribute AS a ON a.attrelid = o.conrelid AND a.attnum = k.num),
		       (SELECT coalesce(array_agg(a.attname ORDER BY k.n), '{}') FROM unnest(o.confkey) WITH ORDINALITY AS k (num, n)
		        JOIN pg_attribute AS a ON a.attrelid = o.confrelid AND a.attnum = k.num),
		       coalesce((SELECT x.indexrelid::regclass::text FROM pg_index AS x
		        WHERE x.indrelid = o.conrelid AND x.indpred IS NULL AND x.indisvalid
		          AND (SELECT am.amname FROM pg_am AS am JOIN pg_class AS ic ON ic.relam = am.oid WHERE ic.oid = x.indexrelid) = 'btree'
		          AND (x.indkey::int2[])[0:cardinality(o.conkey) - 1] @> o.conkey
		        ORDER BY x.indnatts DESC, x.indexrelid LIMIT 1), '')
		FROM pg_constraint AS o
		LEFT JOIN pg_class AS f ON f.oid = o.confrelid
		LEFT JOIN pg_namespace AS fn ON fn.oid = f.relnamespace
		WHERE o.conrelid = $1 AND o.contype IN ('p', 'u', 'f') AND o.conparentid = 0
		ORDER BY o.conkey, o.conname`, t.oid)
	if err != nil {
		return err
	}
	for rows.Next() {
		var kind, index, schema, target, served string
		var names, targets []string
		if err := rows.Scan(&kind, &index, &schema, &target, &names, &targets, &served); err != nil {
			return err
		}
		var columns []*column
		for _, name := range names {
			columns = append(columns, t.column(name))
		}
		switch kind {
		case "p":
			t.key, t.keyIndex = columns, index
		case "u":
			t.uniques = append(t.uniques, columns)
		case "f":
			t.foreign = append(t.foreign, foreignKey{columns: columns, schema: schema, table: target, targets: targets, index: served})
		}
		if kind != "f" {
			for _, c := range columns {
				c.unique = true
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return t.readUniqueIndexes(ctx, conn)
}

// readUniqueIndexes reads which columns are unique by an index without a constraint.
func (t *table) readUniqueIndexes(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
		SELECT DISTINCT a.attname
		FROM pg_index AS x JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid AND d.refobjid = x.indrelid
		JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = d.refobjsubid
		WHERE x.indrelid = $1 AND x.indisunique`, t.oid)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		if c := t.column(name); c != nil {
			c.unique = true
		}
	}
	return err
}

// quote returns an identifier as SQL needs it.
func quote(name string) string {
	plain := name != ""
	for i, r := range name {
		plain = plain && (r == '_' || r >= 'a' && r <= 'z' || i > 0 && r >= '0' && r <= '9')
	}
	if plain && !reserved[name] {
		return name
	}
	return pgx.Identifier{name}.Sanitize()
}
