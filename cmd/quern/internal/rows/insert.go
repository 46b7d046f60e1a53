package rows

import (
	"fmt"
	"slices"
	"strings"
)

// candidates is how many candidates are generated for each wanted row. The statement stops when
// it has enough rows.
const candidates = 60

// parentRows is the maximum number of rows of a referenced table that foreign keys refer to.
const parentRows = 10_000

// insert returns the statement that adds up to n rows. In the statement, g is the number of a
// candidate, and continues from earlier statements. g % 3 selects how its values are made: with
// all defaults and NULLs, without NULL, or mixed.
func (t *table) insert(after, n int64, has map[string]int64) (string, error) {
	given := map[string]string{} // the values that foreign keys give, by column
	var joins []string
	for i, f := range t.foreign {
		join, err := t.join(i, f, given, has)
		if err != nil {
			return "", err
		}
		joins = append(joins, join)
	}
	var names, all, values, conditions []string
	for i, c := range t.columns {
		if c.Generated {
			// A check may mention this column, whose value is not known here.
			all = append(all, fmt.Sprintf("NULL::%s AS %s", c.Plain, quoted(c.Name)))
			continue
		}
		value, ok := given[c.Name]
		if !ok {
			value = t.value(c, i)
		} else if c.Sequence == nil && !c.NotNull && value != "NULL" {
			value = fmt.Sprintf("CASE WHEN g %% 3 <> 0 THEN %s END", value)
		}
		names = append(names, quoted(c.Name))
		all = append(all, fmt.Sprintf("(%s)::%s AS %s", value, c.Plain, quoted(c.Name)))
		values = append(values, quoted(c.Name))
		if c.NotNull {
			conditions = append(conditions, quoted(c.Name)+" IS DISTINCT FROM NULL") // a composite value whose fields are all NULL is not IS NOT NULL
		}
		for _, check := range c.Checks {
			conditions = append(conditions, "("+valueWord.ReplaceAllLiteralString(check, quoted(c.Name))+") IS NOT FALSE")
		}
	}
	for _, check := range t.checks {
		if !t.mentionsGenerated(check) {
			conditions = append(conditions, "("+check+") IS NOT FALSE")
		}
	}
	if t.Partition != "" {
		conditions = append(conditions, "("+t.Partition+")")
	}
	if len(conditions) == 0 {
		conditions = []string{"true"}
	}
	// The subquery has the table's own name, because a check may use it. OFFSET 0 prevents each
	// value from being computed again for each condition.
	_, alias := cutName(t.Name)
	return fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM (SELECT %s FROM generate_series(%d, %d) AS g%s OFFSET 0) AS %s WHERE %s LIMIT %d ON CONFLICT DO NOTHING",
		t.Name, strings.Join(names, ", "), strings.Join(values, ", "), strings.Join(all, ", "), after+1, after+n*candidates, strings.Join(joins, ""), alias, strings.Join(conditions, " AND "), n), nil
}

func (t *table) mentionsGenerated(check string) bool {
	return slices.ContainsFunc(t.columns, func(c *column) bool { return c.Generated && strings.Contains(check, c.Name) })
}

// cutName splits a qualified name at its first dot outside of quotes.
func cutName(name string) (schema, last string) {
	inside := false
	for i, r := range name {
		if r == '"' {
			inside = !inside
		} else if r == '.' && !inside {
			return name[:i], name[i+1:]
		}
	}
	return "", name
}

// join joins the rows of a referenced table, and records the values that they provide.
func (t *table) join(i int, f foreign, given map[string]string, has map[string]int64) (string, error) {
	if f.table == t.Name {
		return "", t.ownKey(f, given)
	}
	rows := min(has[f.table], parentRows)
	var free, conditions, keys []string
	for k, column := range f.columns {
		keys = append(keys, quoted(f.key[k]))
		if value, ok := given[column]; ok {
			conditions = append(conditions, fmt.Sprintf("p.%s = %s", quoted(f.key[k]), value))
		} else {
			free = append(free, column)
		}
	}
	switch {
	case len(free) == 0:
		return "", nil // another foreign key has already provided all of its columns
	case rows == 0 && f.required:
		return "", fmt.Errorf("it refers to %s, which is empty", f.table)
	case rows == 0:
		for _, column := range free {
			given[column] = "NULL"
		}
		return "", nil
	}
	alias := fmt.Sprintf("p%d", i)
	for k, column := range f.columns {
		if slices.Contains(free, column) {
			given[column] = fmt.Sprintf("%s.%s", alias, quoted(f.key[k]))
		}
	}
	if len(conditions) > 0 {
		return fmt.Sprintf(" LEFT JOIN LATERAL (SELECT p.* FROM %s AS p WHERE %s LIMIT 1 OFFSET %s %% 2) AS %s ON true",
			f.table, strings.Join(conditions, " AND "), random(i), alias), nil
	}
	which := random(i)
	if t.inUnique(free[0]) {
		// This uses each row of the other table once. With two foreign keys it uses each pair
		// of rows once.
		which = "((g - 1) / " + fmt.Sprint(t.before(i, has)) + ")"
	}
	return fmt.Sprintf(" LEFT JOIN (SELECT %s, row_number() OVER () - 1 AS n FROM (SELECT %s FROM %s LIMIT %d) AS p) AS %s ON %s.n = %s %% %d",
		strings.Join(keys, ", "), strings.Join(keys, ", "), f.table, parentRows, alias, alias, which, rows), nil
}

// before returns how many combinations of rows the foreign keys before the i-th one have.
func (t *table) before(i int, has map[string]int64) int64 {
	n := int64(1)
	for _, f := range t.foreign[:i] {
		if t.inUnique(f.columns[0]) {
			n *= max(1, min(has[f.table], parentRows))
		}
	}
	return n
}

// ownKey makes a row refer to itself, or to no row if the key is nullable.
func (t *table) ownKey(f foreign, given map[string]string) error {
	for k, name := range f.columns {
		if _, ok := given[name]; ok {
			continue
		}
		given[name] = "NULL"
		if !f.required {
			continue
		}
		i := slices.IndexFunc(t.columns, func(c *column) bool { return c.Name == f.key[k] })
		if i < 0 || !t.columns[i].distinct {
			return fmt.Errorf("it refers to itself")
		}
		given[name] = t.value(t.columns[i], i)
	}
	return nil
}

// random returns an expression for a random number, at least 0, that depends on the row and on
// i.
func random(i int) string { return fmt.Sprintf("(hashint8extended(g, %d) & 1048575)", i+1) }
