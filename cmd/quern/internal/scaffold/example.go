package scaffold

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// exampleRows is how many rows an example has: one for a page, one before it and one after it.
const exampleRows = 3

// example contains rows that the table accepts, and the rows to which they refer.
type example struct {
	setup []string         // statements that add the rows to which rows refer
	rows  []map[string]any // by column: a text, or nil for NULL
	hints []string
}

// finder tries rows in a transaction that is rolled back.
type finder struct {
	tx      pgx.Tx
	setup   []string
	tables  map[string]*table
	parents map[string]map[string]any
	within  []string // the tables for which it is looking for rows, to detect cycles
}

// findExample looks for rows by trying values, because only the server knows which values a CHECK
// accepts.
func findExample(ctx context.Context, conn *pgx.Conn, t *table) (*example, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	f := &finder{tx: tx, tables: map[string]*table{}, parents: map[string]map[string]any{}}
	e := &example{}
	for n := 1; n <= exampleRows; n++ {
		row, _, err := f.add(ctx, t, n, t.given())
		if err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			e.hints = append(e.hints, fmt.Sprintf("the example rows of the test, because row %d was refused: %v", n, err))
		}
		e.rows = append(e.rows, row)
	}
	e.setup = f.setup
	return e, nil
}

// add adds the nth row of a table with values for some columns, and returns them and the
// statement.
func (f *finder) add(ctx context.Context, t *table, n int, columns []*column) (row map[string]any, statement string, err error) {
	f.within = append(f.within, t.sql())
	defer func() { f.within = f.within[:len(f.within)-1] }()
	row = map[string]any{}
	fixed := map[*column]bool{}
	for _, fk := range t.foreign {
		if err := f.refer(ctx, t, fk, n, row, fixed); err != nil {
			return row, "", err
		}
	}
	checks, err := t.checks(ctx, f.tx.Conn())
	if err != nil {
		return row, "", err
	}
	candidates, choice := map[*column][]any{}, map[*column]int{}
	for _, c := range columns {
		if !fixed[c] {
			candidates[c] = c.candidates(n, checks)
		}
	}
	for range 3000 {
		for c, list := range candidates {
			row[c.name] = list[choice[c]]
		}
		statement = insertion(t, columns, row)
		failed := f.try(ctx, statement)
		if failed == nil {
			return row, statement, nil
		}
		if err = failed; !advance(t, failed, checks, candidates, choice) {
			break
		}
	}
	return row, statement, err
}

// refer sets the columns of a reference to the values of an existing row.
func (f *finder) refer(ctx context.Context, t *table, fk foreignKey, n int, row map[string]any, fixed map[*column]bool) error {
	parent := qualified(fk.schema, fk.table)
	if slices.Contains(f.within, parent) {
		for _, c := range fk.columns {
			if !c.notNull && !fixed[c] {
				row[c.name], fixed[c] = nil, true
			}
		}
		return nil
	}
	which := 1
	if slices.ContainsFunc(fk.columns, func(c *column) bool { return c.unique }) {
		which = n
	}
	values, err := f.parent(ctx, fk, which)
	if err != nil {
		return fmt.Errorf("a row of %s: %w", parent, err)
	}
	for i, c := range fk.columns {
		row[c.name], fixed[c] = values[fk.targets[i]], true
	}
	return nil
}

// parent returns the nth row of a referenced table. It adds the row the first time.
func (f *finder) parent(ctx context.Context, fk foreignKey, n int) (map[string]any, error) {
	name := qualified(fk.schema, fk.table)
	id := fmt.Sprint(name, n)
	if row := f.parents[id]; row != nil {
		return row, nil
	}
	t := f.tables[name]
	if t == nil {
		var err error
		if t, err = readTable(ctx, f.tx.Conn(), fk.schema+"."+fk.table); err != nil {
			return nil, err
		}
		f.tables[name] = t
	}
	var columns []*column
	for _, c := range t.columns {
		needed := c.notNull && c.fallback == "" && c.drawn() == "" && !c.identity
		if !c.generated && (needed || t.isKey(c) || slices.Contains(fk.targets, c.name)) {
			columns = append(columns, c)
		}
	}
	row, statement, err := f.add(ctx, t, n, columns)
	if err != nil {
		return nil, err
	}
	f.setup = append(f.setup, statement)
	f.parents[id] = row
	return row, nil
}

// try executes a statement and keeps its effect if it succeeds.
func (f *finder) try(ctx context.Context, statement string) error {
	sp, err := f.tx.Begin(ctx)
	if err != nil {
		return err
	}
	defer sp.Rollback(context.WithoutCancel(ctx))
	if _, err := sp.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	return sp.Commit(ctx)
}

// check is a constraint of a table.
type check struct {
	columns []string
	text    string
}

// checks returns the constraints and unique indexes of a table by name.
func (t *table) checks(ctx context.Context, conn *pgx.Conn) (map[string]check, error) {
	rows, err := conn.Query(ctx, `
		SELECT o.conname, pg_get_constraintdef(o.oid),
		       (SELECT coalesce(array_agg(a.attname), '{}') FROM pg_attribute AS a WHERE a.attrelid = $1 AND a.attnum = ANY (o.conkey))
		FROM pg_constraint AS o WHERE o.conrelid = $1 AND o.contype IN ('c', 'u', 'p', 'x')
		UNION ALL
		SELECT d.typname || '.' || o.conname, replace(pg_get_constraintdef(o.oid), 'VALUE', quote_ident(a.attname)), ARRAY[a.attname]
		FROM pg_attribute AS a JOIN pg_type AS d ON d.oid = a.atttypid JOIN pg_constraint AS o ON o.contypid = d.oid
		WHERE a.attrelid = $1 AND a.attnum > 0`, t.oid)
	if err != nil {
		return nil, err
	}
	list := map[string]check{}
	for rows.Next() {
		var name string
		var c check
		if err := rows.Scan(&name, &c.text, &c.columns); err != nil {
			return nil, err
		}
		list[name] = c
	}
	return list, rows.Err()
}

// advance chooses the next values for the columns that an error concerns. It returns false if
// there are none left.
func advance(t *table, err error, checks map[string]check, candidates map[*column][]any, choice map[*column]int) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	concerned, known := checks[e.ConstraintName]
	if e.DataTypeName != "" {
		concerned, known = checks[e.DataTypeName+"."+e.ConstraintName]
	}
	for _, c := range t.columns {
		if candidates[c] == nil || known && !slices.Contains(concerned.columns, c.name) {
			continue
		}
		if choice[c]++; choice[c] < len(candidates[c]) {
			return true
		}
		choice[c] = 0 // start again, and advance the next column
	}
	return false
}

// insertion is a statement that adds a row.
func insertion(t *table, columns []*column, row map[string]any) string {
	var values []string
	for _, c := range columns {
		values = append(values, literal(row[c.name]))
	}
	if len(columns) == 0 {
		return "INSERT INTO " + t.sql() + " DEFAULT VALUES"
	}
	return fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)", t.sql(), names(columns, quotedName), strings.Join(values, ", "))
}

func literal(v any) string {
	if v == nil {
		return "NULL"
	}
	return "'" + strings.ReplaceAll(v.(string), "'", "''") + "'"
}

var (
	quotedText = regexp.MustCompile(`'((?:[^']|'')*)'`)
	number     = regexp.MustCompile(`\d+(\.\d+)?`)
)

// candidates returns values of a column for the nth row, the most likely ones first. It begins
// with values that the constraints of the column mention.
func (c *column) candidates(n int, checks map[string]check) []any {
	var list []any
	for _, name := range slices.Sorted(mapKeys(checks)) {
		k := checks[name]
		if !slices.Contains(k.columns, c.name) || strings.HasPrefix(k.text, "FOREIGN") {
			continue
		}
		switch {
		case slices.Contains([]string{"text", "varchar", "bpchar", "citext"}, c.typ):
			if strings.Contains(k.text, "ANY") {
				for _, m := range quotedText.FindAllStringSubmatch(k.text, -1) {
					list = append(list, strings.ReplaceAll(m[1], "''", "'"))
				}
			}
		case isNumber(c.typ):
			for _, m := range number.FindAllString(k.text, -1) {
				list = append(list, m)
			}
		}
	}
	// Values in the same place differ between rows, too.
	if len(list) > 1 {
		k := (n - 1) % len(list)
		list = append(slices.Clone(list[k:]), list[:k]...)
	}
	if isNumber(c.typ) {
		list = append(c.values(n), list...)
	} else {
		list = append(list, c.values(n)...)
	}
	if len(list) == 0 || !c.notNull {
		list = append(list, nil)
	}
	return list
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func isNumber(typ string) bool {
	return slices.Contains([]string{"smallint", "integer", "bigint", "numeric", "real", "double precision"}, typ)
}

// values are values of a column's type for the nth row.
func (c *column) values(n int) []any {
	element, array := strings.CutSuffix(c.typ, "[]")
	if len(c.labels) > 0 {
		var list []any
		for i := range c.labels {
			list = append(list, arrayed(c.labels[(i+n-1)%len(c.labels)], array))
		}
		return list
	}
	var list []any
	for _, v := range valuesOf(element, n) {
		list = append(list, arrayed(v, array))
	}
	return list
}

func arrayed(v string, array bool) string {
	if !array {
		return v
	}
	return `{"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"}`
}

func valuesOf(typ string, n int) []string {
	f := fmt.Sprintf
	switch typ {
	case "smallint", "integer", "bigint":
		return []string{f("%d", n), f("%d", 10+n), f("%d", 100+n), f("%d", 2000+n), f("%d", -n), "0"}
	case "numeric", "real", "double precision":
		return []string{f("%d.5", n), f("0.%d", n), f("%d", 100+n), f("-%d", n), "0"}
	case "text", "varchar", "bpchar", "citext", "name":
		letter := string(rune('A' + n - 1))
		return []string{
			f("word %d", n), f("word%d", n), f("word%d@example.com", n), f("https://example.com/%d", n), f("w%d", n), f("%d", n), letter, strings.ToLower(letter),
			"A" + letter, "AB" + letter, strings.ToLower("A" + letter), strings.ToLower("AB" + letter), f("+4930123456%d", n), f("1234%d", n), f("AB-%d", n),
			f("#aabb0%d", n), f("2026-01-0%d", n), strings.Repeat("long ", 8) + letter, "",
		}
	case "boolean":
		return []string{f("%t", n%2 == 1), f("%t", n%2 == 0)}
	case "uuid":
		return []string{f("6ba7b810-9dad-41d1-80b4-00c04fd4300%d", n)}
	case "timestamptz":
		return []string{f("2026-01-31T12:00:0%dZ", n), f("2126-01-31T12:00:0%dZ", n)}
	case "timestamp":
		return []string{f("2026-01-31 12:00:0%d", n), f("2126-01-31 12:00:0%d", n)}
	case "date":
		return []string{f("2026-01-0%d", n), f("2126-01-0%d", n), f("1990-01-0%d", n)}
	case "time", "timetz":
		return []string{f("12:00:0%d", n)}
	case "interval":
		return []string{f("0%d:00:00", n)}
	case "json", "jsonb":
		return []string{f(`{"n":%d}`, n), f(`["n%d"]`, n), f("%d", n), f(`"n%d"`, n)}
	case "bytea":
		return []string{f(`\x0%d`, n)}
	case "inet":
		return []string{f("10.0.0.%d", n)}
	case "cidr":
		return []string{f("10.0.%d.0/24", n)}
	case "macaddr":
		return []string{f("08:00:2b:01:02:0%d", n)}
	case "int4range", "int8range", "numrange":
		return []string{f("[%d,%d)", 10*n, 10*n+5)}
	case "daterange":
		return []string{f("[2026-0%d-01,2026-0%d-11)", n, n)}
	case "tsrange":
		return []string{f(`["2026-0%d-01 00:00:00","2026-0%d-02 00:00:00")`, n, n)}
	case "tstzrange":
		return []string{f(`["2026-0%d-01 00:00:00Z","2026-0%d-02 00:00:00Z")`, n, n)}
	case "int4multirange", "int8multirange", "nummultirange":
		return []string{f("{[%d,%d)}", 10*n, 10*n+5)}
	case "bit", "varbit":
		return []string{"1", "101", "10110101"}
	case "point":
		return []string{f("(%d,%d)", n, n)}
	case "money":
		return []string{f("$%d.00", n)}
	case "xml":
		return []string{f("<n>%d</n>", n)}
	case "oid":
		return []string{f("%d", n)}
	case "hstore":
		return []string{f(`"n"=>"%d"`, n)}
	case "ltree":
		return []string{f("top.n%d", n)}
	case "tsvector":
		return []string{f("'word%d'", n)}
	}
	return nil
}

// wireJSON encodes a value as the API has it in JSON.
func (m *wired) wireJSON(v any) string {
	if v == nil {
		return "null"
	}
	text := v.(string)
	element, array := strings.CutPrefix(m.wire, "[]")
	if array && m.wire != "[]byte" {
		inner := strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.TrimSuffix(strings.TrimPrefix(text, `{"`), `"}`))
		return "[" + jsonOf(element, inner) + "]"
	}
	return jsonOf(m.wire, text)
}

func jsonOf(wire, text string) string {
	switch wire {
	case "bool", "int16", "int32", "int64", "float32", "float64", "json.RawMessage":
		return text
	case "[]byte":
		var raw []byte
		for i := 2; i+1 < len(text); i += 2 {
			n, _ := strconv.ParseUint(text[i:i+2], 16, 8)
			raw = append(raw, byte(n))
		}
		text = base64.StdEncoding.EncodeToString(raw)
	}
	quoted, _ := json.Marshal(text) // which cannot fail
	return string(quoted)
}

// wireExample returns the example of a member in the OpenAPI document, without quotes if it is
// a text.
func (d data) wireExample(m *wired) string {
	v, ok := d.rows[0][m.name]
	switch {
	case !ok && m.column == d.lock():
		return "1"
	case !ok && d.isStamp(m.column) && m.wire == "time.Time":
		return "2026-01-31T12:00:00Z"
	case !ok && slices.Contains([]string{"int16", "int32", "int64"}, m.wire):
		return "1"
	case !ok && m.wire == "uuid.UUID":
		return "6ba7b810-9dad-41d1-80b4-00c04fd43001"
	case v == nil:
		return ""
	}
	text := m.wireJSON(v)
	if unquoted := ""; text[0] == '"' && json.Unmarshal([]byte(text), &unquoted) == nil {
		return unquoted
	}
	return text
}
