package scaffold

import (
	"fmt"
	"slices"
	"strings"
)

// statements writes the file of a table's statements.
type statements struct {
	strings.Builder
	*table
	noun noun
}

// statementsOf returns the text of queries/NOUN.sql.
func statementsOf(t *table, n noun) string {
	s := &statements{table: t, noun: n}
	s.get()
	s.list(nil, "", t.keyIndex)
	for _, f := range t.parents() {
		s.list(&f, "By"+by(f), f.index)
	}
	s.create()
	s.copy()
	if len(t.changed()) > 0 {
		s.update()
	}
	s.remove()
	return strings.TrimRight(s.String(), "\n") + "\n"
}

// parents returns the references by which rows can be listed, which are those with an index.
func (t *table) parents() []foreignKey {
	var list []foreignKey
	for _, f := range t.foreign {
		same := func(g foreignKey) bool { return slices.Equal(f.columns, g.columns) }
		// A reference that consists of the whole key has at most one row.
		if f.index != "" && !slices.ContainsFunc(list, same) && !slices.Equal(f.columns, t.key) {
			list = append(list, f)
		}
	}
	return list
}

// unlisted returns a note for each reference by which rows cannot be listed, because it has no
// index.
func (t *table) unlisted() (notes []string) {
	for _, f := range t.foreign {
		if f.index != "" {
			continue
		}
		columns := names(f.columns, quotedName)
		reference := t.sql() + "." + columns
		if len(f.columns) > 1 {
			reference = t.sql() + " (" + columns + ")"
		}
		for _, c := range t.key {
			if !slices.Contains(f.columns, c) {
				columns += ", " + c.quoted
			}
		}
		note := fmt.Sprintf("%s has no index, so there is no list by it: CREATE INDEX ON %s (%s)", reference, t.sql(), columns)
		if !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	return notes
}

// by names a list after the columns of its reference: User for user_id.
func by(f foreignKey) string {
	var words []string
	for _, c := range f.columns {
		words = append(words, splitWords(strings.TrimSuffix(c.name, "_id"))...)
	}
	return camel(words)
}

// statement writes the comment and the directives of a statement, and its name.
func (s *statements) statement(name, kind, doc string, directives ...string) {
	fmt.Fprintf(s, "-- %s\n", strings.ReplaceAll(wrap(name+" "+doc, 78), "\n", "\n-- "))
	if len(directives) > 0 {
		s.WriteString("--\n")
	}
	for _, d := range directives {
		fmt.Fprintf(s, "-- %s\n", d)
	}
	fmt.Fprintf(s, "-- name: %s :%s\n", name, kind)
}

func names(columns []*column, each func(*column) string) string {
	var list []string
	for _, c := range columns {
		list = append(list, each(c))
	}
	return strings.Join(list, ", ")
}

func quotedName(c *column) string { return c.quoted }

func (s *statements) selects() {
	fmt.Fprintf(s, "SELECT %s\nFROM %s\n", names(s.columns, quotedName), s.sql())
}

// ofKey compares the key with parameters of its columns' names.
func (s *statements) ofKey() string {
	var list []string
	for _, c := range s.key {
		list = append(list, c.quoted+" = "+param(c.name))
	}
	return strings.Join(list, " AND ")
}

func (s *statements) get() {
	s.statement("Get"+s.noun.one, "one", fmt.Sprintf("returns the %s with the given %s.", s.noun.words, s.keyWords()),
		"@route replica", "@timeout 250ms", "@plan indexed", "@batch")
	s.selects()
	fmt.Fprintf(s, "WHERE %s;\n\n", s.ofKey())
}

func (s *statements) keyWords() string {
	return names(s.key, func(c *column) string { return strings.ReplaceAll(c.name, "_", " ") })
}

// list writes the statements for a page forward and for a page back.
func (s *statements) list(f *foreignKey, suffix, index string) {
	of, where := "", ""
	if f != nil {
		// It says "of its" because the parent may have any name.
		of = " with the given " + names(f.columns, func(c *column) string { return strings.ReplaceAll(c.name, "_", " ") })
		for _, c := range f.columns {
			where += fmt.Sprintf("%s = %s::%s\n  AND ", c.quoted, param(c.name), c.typ)
		}
	}
	columns, keys := names(s.key, quotedName), "@key"
	order, back := columns, names(s.key, func(c *column) string { return c.quoted + " DESC" })
	if len(s.key) > 1 {
		columns = "(" + columns + ")"
		// sqlc assumes that all parameters have the type of the first column.
		keys = "(" + names(s.key, func(c *column) string { return "@key_" + argument(c.name) + "::" + c.typ }) + ")"
	}
	for _, side := range []struct{ name, doc, sign, order string }{
		{
			"List" + s.noun.many + suffix + "After",
			fmt.Sprintf("returns a page of the %s%s in the order of their keys, from the first one after the given key.", s.noun.plural, of), ">", order,
		},
		{
			"List" + s.noun.many + suffix + "Before",
			fmt.Sprintf("returns a page of the %s%s in the reverse order of their keys, from the first one before the given key.", s.noun.plural, of), "<", back,
		},
	} {
		s.statement(side.name, "many", side.doc, "@route replica", "@plan uses "+index, "@stream")
		s.selects()
		fmt.Fprintf(s, "WHERE %s%s %s %s\nORDER BY %s\nLIMIT @row_limit::bigint;\n\n", where, columns, side.sign, keys, side.order)
	}
}

// value returns the expression for a column in an INSERT, given how its parameter is written.
// An absent parameter is NULL, and the column's default is then stored.
func (c *column) value(given string) string {
	switch {
	case c.fallback != "":
		return fmt.Sprintf("COALESCE(%s::%s, %s)", given, c.typ, c.fallback)
	case c.kind == "d" && !c.array:
		return given + "::" + c.typ // sqlc does not know the type of a domain
	}
	return given
}

// insert returns the parameter of an INSERT for a column.
func (c *column) insert() string {
	if c.fallback != "" || c.kind == "d" && !c.notNull {
		return "sqlc.narg('" + argument(c.name) + "')"
	}
	return param(c.name)
}

// id returns the column whose value the database generates, if that column is the whole key or
// the part of it that identifies a row.
func (t *table) id() *column {
	i := slices.IndexFunc(t.key, func(c *column) bool { return c.drawn() != "" })
	if i < 0 {
		return nil
	}
	return t.key[i]
}

// alone returns why calls that create a row cannot share a statement, or empty if they can.
func (t *table) alone() string {
	switch given := t.given(); {
	case t.id() == nil:
		return "no generated id distinguishes its row from those of other calls"
	case len(given) == 0:
		return "it takes no parameters"
	case slices.ContainsFunc(given, func(c *column) bool { return c.array }):
		return "a parameter is an array, and unnest flattens an array of arrays"
	case slices.ContainsFunc(given, func(c *column) bool { return c.kind != "b" && c.kind != "e" && c.kind != "d" }):
		return "arrays of a parameter's type cannot be sent"
	}
	return ""
}

func (s *statements) create() {
	given, all := s.given(), names(s.columns, quotedName)
	doc, directives := fmt.Sprintf("adds a %s.", s.noun.words), []string(nil)
	if why := s.alone(); why == "" {
		directives = []string{"@batch Create" + s.noun.one + "Batch"}
	} else {
		doc += " Each call runs by itself, because " + why + "."
	}
	s.statement("Create"+s.noun.one, "one", doc, directives...)
	if len(given) == 0 {
		fmt.Fprintf(s, "INSERT INTO %s DEFAULT VALUES\nRETURNING %s;\n\n", s.sql(), all)
		return
	}
	fmt.Fprintf(s, "INSERT INTO %s (%s)\nVALUES (%s)\nRETURNING %s;\n\n", s.sql(), names(given, quotedName),
		names(given, func(c *column) string { return c.value(c.insert()) }), all)
	if s.alone() == "" {
		s.createBatch(given)
	}
}

// createBatch writes the statement that several calls of create share.
func (s *statements) createBatch(given []*column) {
	id, one := s.id(), "Create"+s.noun.one
	doc := fmt.Sprintf("adds the %s of several calls of %s: the nth elements of the arrays make the one with ord n.", s.noun.plural, one)
	if len(s.foreign) > 0 {
		doc += " One that refers to a row that does not exist is left out, so that it does not fail the others."
	}
	s.statement(one+"Batch", "many", doc, "@plan indexed")
	array := func(c *column) string { return param(c.name) + "::" + c.typ + "[]" }
	stored := append([]*column{id}, given...)
	fmt.Fprintf(s, `WITH given AS (
    SELECT generate_subscripts(%s, 1) AS ord,
           %s AS %s`, array(given[0]), id.drawn(), id.quoted)
	for _, c := range given {
		fmt.Fprintf(s, ",\n           unnest(%s) AS %s", array(c), c.quoted)
	}
	fmt.Fprintf(s, `
    -- A call that waits longer for another transaction runs by itself.
    FROM set_config('lock_timeout', '500ms', true)
), created AS (
    INSERT INTO %s (%s)
    OVERRIDING SYSTEM VALUE
    SELECT g.%s, %s
    FROM given AS g
`, s.sql(), names(stored, quotedName), id.quoted, names(given, func(c *column) string { return c.value("g." + c.quoted) }))
	s.existing()
	fmt.Fprintf(s, `    ON CONFLICT DO NOTHING
    RETURNING %s
)
SELECT g.ord::integer AS ord, %s
FROM created AS c
JOIN given AS g ON g.%s = c.%s;

`, names(s.columns, quotedName), names(s.columns, func(c *column) string { return "c." + c.quoted }), id.quoted, id.quoted)
}

// existing omits rows whose reference does not exist. It does not use EXISTS, because a plan
// for any number of rows might then read the whole referenced table.
func (s *statements) existing() {
	and := "WHERE"
	for _, f := range s.foreign {
		last := len(f.columns) - 1
		var same, null []string
		for i, c := range f.columns {
			same = append(same, fmt.Sprintf("p.%s = %s", quote(f.targets[i]), c.value("g."+c.quoted)))
			if !c.notNull {
				null = append(null, "g."+c.quoted+" IS NULL OR ")
			}
		}
		cond := fmt.Sprintf("%s = (SELECT p.%s FROM %s AS p WHERE %s)", f.columns[last].value("g."+f.columns[last].quoted),
			quote(f.targets[last]), qualified(f.schema, f.table), strings.Join(same, " AND "))
		if len(null) > 0 {
			cond = "(" + strings.Join(null, "") + cond + ")"
		}
		fmt.Fprintf(s, "    %s %s\n", and, cond)
		and = "  AND"
	}
}

func (s *statements) copy() {
	given := s.given()
	if len(given) == 0 {
		return
	}
	s.statement("Copy"+s.noun.many, "copyfrom", fmt.Sprintf("adds many %s at once, all or none. No default is filled in.", s.noun.plural), "@class bulk")
	fmt.Fprintf(s, "INSERT INTO %s (%s)\nVALUES (%s);\n\n", s.sql(), names(given, quotedName),
		names(given, func(c *column) string { return param(c.name) }))
}

// set returns the expression of an UPDATE for a column that may stay as it is.
func (c *column) set() string {
	arg := "sqlc.narg('" + argument(c.name) + "')"
	if c.kind == "d" && !c.array {
		arg += "::" + c.typ
	}
	if c.notNull {
		return fmt.Sprintf("COALESCE(%s, %s)", arg, c.quoted)
	}
	return fmt.Sprintf("CASE WHEN @set_%s::boolean THEN %s ELSE %s END", argument(c.name), arg, c.quoted)
}

func (s *statements) update() {
	doc := fmt.Sprintf("changes what is given of a %s and keeps the rest.", s.noun.words)
	if slices.ContainsFunc(s.changed(), func(c *column) bool { return !c.notNull }) {
		doc += " A column that may be NULL is changed if its set_ parameter says so."
	}
	if s.lock() != nil {
		doc += fmt.Sprintf(" With if_version it changes nothing unless the %s still has that version.", s.noun.words)
	} else {
		doc += " The table has no version integer NOT NULL DEFAULT 1, so the last of concurrent changes is kept."
	}
	s.statement("Update"+s.noun.one, "one", doc, "@plan uses "+s.keyIndex)
	var sets []string
	for _, c := range s.changed() {
		sets = append(sets, c.quoted+" = "+c.set())
	}
	if c := s.column("updated_at"); c != nil && s.isStamp(c) {
		sets = append(sets, "updated_at = now()")
	}
	if s.lock() != nil {
		sets = append(sets, "version = version + 1")
	}
	fmt.Fprintf(s, "UPDATE %s\nSET %s\nWHERE %s%s\nRETURNING %s;\n\n", s.sql(), strings.Join(sets, ",\n    "), s.ofKey(), s.ifVersion(), names(s.columns, quotedName))
}

func (s *statements) ifVersion() string {
	if s.lock() == nil {
		return ""
	}
	return "\n  AND (sqlc.narg('if_version')::integer IS NULL OR version = sqlc.narg('if_version'))"
}

func (s *statements) remove() {
	doc := fmt.Sprintf("removes a %s.", s.noun.words)
	if s.lock() != nil {
		doc += fmt.Sprintf(" With if_version it removes nothing unless the %s still has that version.", s.noun.words)
	}
	s.statement("Delete"+s.noun.one, "execrows", doc, "@plan uses "+s.keyIndex)
	fmt.Fprintf(s, "DELETE FROM %s\nWHERE %s%s;\n", s.sql(), s.ofKey(), s.ifVersion())
}

// wrap breaks a text into lines of at most width characters.
func wrap(text string, width int) string {
	var b strings.Builder
	length := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case length+1+len(word) > width:
			b.WriteByte('\n')
			length = 0
		default:
			b.WriteByte(' ')
			length++
		}
		b.WriteString(word)
		length += len(word)
	}
	return b.String()
}
