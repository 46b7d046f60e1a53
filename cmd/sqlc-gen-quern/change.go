package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"quern/internal/pgproc"
)

// change is a parsed UPDATE or DELETE of one table. Each part is a range of the statement's
// tokens.
type change struct {
	text   string
	tokens []located

	verb      string // update or delete
	target    []located
	table     string // without the default schema
	alias     string // the name by which the statement refers to the table
	set       []located
	where     []located
	returning []located
	assigned  []string // the columns that SET assigns
}

// changes reports whether a statement is an UPDATE or DELETE, and otherwise at most calls
// functions that write.
func (s *statement) changes() bool {
	return len(s.writes) > 0 && (s.writes[0] == "UPDATE" || s.writes[0] == "DELETE") &&
		!slices.ContainsFunc(s.writes[1:], func(w string) bool { return !strings.HasSuffix(w, "()") })
}

// names that the derived statement uses.
const (
	batchName = "_batch" // the calls: in the first step all of them, in the second those whose row is locked
	heldName  = "_held"
)

// wrapChange derives the statement that runs several calls of an UPDATE or DELETE. Its first
// step locks the row of each call, in a subquery that applies the whole WHERE clause to the
// newest version of the row. The planner never merges a subquery that locks, so it finds each
// row as the single statement does. A row that another transaction has locked is skipped. Its
// call then has no row in the result, and runs individually. So a batch never waits for a row,
// and two batches cannot deadlock over rows. The second step changes the locked rows, which it
// finds by their key.
//
// LIMIT NULL limits nothing, but without a constant the planner expects a tenth of the rows:
// one. So it looks up rows by their key, as for a single call. Otherwise it joins a table that
// has not been analyzed by reading all of it, and keeps that plan while the table grows.
//
// The half second is that of coalesced inserts. The second step may wait for other
// transactions, because of unique indexes, foreign keys and triggers.
func wrapChange(req *request, s *statement) (*statement, error) {
	c, err := parseChange(s)
	if err != nil {
		return nil, err
	}
	key, conditions, err := c.key(req, s.Params)
	if err != nil {
		return nil, err
	}
	d, arrays, columns, err := sharedForm(req, s, "_p")
	if err != nil {
		return nil, err
	}
	d.key = key
	names := map[string]string{}
	for i, p := range s.Params {
		names[fmt.Sprintf("$%d", p.Number)] = batchName + "." + columns[i]
	}
	seen := map[string]bool{}
	part := func(tokens []located) string { return replaceParams(c.textOf(tokens), relocated(tokens), names, seen) }
	set, where, returning := part(c.set), part(c.where), part(c.returning)
	if len(seen) != len(names) {
		return nil, errNotInText(s)
	}
	target := c.textOf(c.target)
	verb, from := "UPDATE "+target+"\nSET "+set, "FROM"
	if c.verb == "delete" {
		verb, from = "DELETE FROM "+target, "USING"
	}
	if returning != "" {
		returning = ", " + returning
	}
	var joins []string
	for _, condition := range conditions {
		joins = append(joins, part(condition))
	}
	d.Text = fmt.Sprintf(`-- name: %s :many
WITH _held AS MATERIALIZED (
SELECT _batch.*
FROM set_config('lock_timeout', '500ms', true),
unnest(%s) WITH ORDINALITY AS _batch (%s, _ord),
LATERAL (SELECT FROM %s WHERE
%s
FOR %s SKIP LOCKED) AS _row
LIMIT (SELECT NULL::bigint)
)
%s
%s _held AS _batch
WHERE %s
RETURNING _batch._ord AS ord%s`, d.Name, strings.Join(arrays, ", "), strings.Join(columns, ", "), target, where, c.lock(req), verb, from, strings.Join(joins, " AND "), returning)
	return d, nil
}

// textOf returns the text of a range of tokens, with the comments between them.
func (c *change) textOf(tokens []located) string {
	if len(tokens) == 0 {
		return ""
	}
	return c.text[tokens[0].start:tokens[len(tokens)-1].end]
}

// relocated returns the tokens with their positions in textOf.
func relocated(tokens []located) []located {
	moved := slices.Clone(tokens)
	for i := range moved {
		moved[i].start -= tokens[0].start
		moved[i].end -= tokens[0].start
	}
	return moved
}

// parseChange parses an UPDATE or DELETE, or returns why it cannot be coalesced.
func parseChange(s *statement) (*change, error) {
	tokens, text := withoutEnd(s.Text)
	c := &change{text: text, tokens: tokens}
	if len(s.Params) == 0 {
		return nil, errNoParams
	}
	if err := c.checkTokens(); err != nil {
		return nil, err
	}
	rest := tokens
	switch {
	case rest[0].is("update"):
		c.verb, rest = "update", rest[1:]
		c.target, rest = c.upTo(rest, "set")
		if len(rest) == 0 {
			return nil, errors.New("it has no SET: write UPDATE table SET … WHERE key = @key")
		}
		c.set, rest = c.upTo(rest[1:], "from", "where", "returning")
	case rest[0].is("delete") && len(rest) > 1 && rest[1].is("from"):
		c.verb, rest = "delete", rest[2:]
		c.target, rest = c.upTo(rest, "using", "where", "returning")
	default:
		return nil, errors.New("it starts with neither UPDATE nor DELETE FROM: write it without WITH")
	}
	if len(rest) > 0 && (rest[0].is("from") || rest[0].is("using")) {
		return nil, fmt.Errorf("it has %s, so rows of another table decide which row a call changes: remove @batch, or name one table", strings.ToUpper(rest[0].text))
	}
	if len(rest) == 0 || !rest[0].is("where") {
		return nil, errors.New("it has no WHERE, so it changes more than one row: add WHERE key = @key, or remove @batch")
	}
	c.where, rest = c.upTo(rest[1:], "returning")
	if len(rest) > 0 {
		c.returning = rest[1:]
	}
	return c, c.check(s)
}

// upTo splits tokens before the first of the words that is not within parentheses or CASE.
func (c *change) upTo(tokens []located, words ...string) (before, rest []located) {
	open := 0
	for i, t := range tokens {
		if open == 0 && slices.ContainsFunc(words, t.is) && !(i > 0 && tokens[i-1].is(".")) && !isDistinctFrom(tokens, i) {
			return tokens[:i], tokens[i:]
		}
		open += opens(t.token)
	}
	return tokens, nil
}

// isDistinctFrom reports whether the FROM at tokens[i] belongs to IS DISTINCT FROM.
func isDistinctFrom(tokens []located, i int) bool {
	return i > 0 && tokens[i].is("from") && tokens[i-1].is("distinct")
}

// opens is 1 for a token that opens parentheses, brackets or a CASE, and -1 for one that closes
// them.
func opens(t token) int {
	if t.is("case") {
		return 1
	}
	if t.is("end") {
		return -1
	}
	return depth([]token{t})
}

// checkTokens refuses words that are not supported anywhere in the statement.
func (c *change) checkTokens() error {
	for i, t := range c.tokens {
		switch {
		case (t.kind == word || t.kind == quoted) && slices.Contains([]string{batchName, heldName, "_row", "_ord"}, t.text):
			return fmt.Errorf("the name %s is reserved for the derived statement: use another name", t.text)
		case t.is("select"), t.is("table"), t.is("values") && i+1 < len(c.tokens) && c.tokens[i+1].is("("):
			return fmt.Errorf("it has a subquery (%s), which may read rows that other calls change: remove @batch, or pass the value as a parameter", strings.ToUpper(t.text))
		case t.is("current") && i+1 < len(c.tokens) && c.tokens[i+1].is("of"):
			return errors.New("it has WHERE CURRENT OF, which needs a cursor: write WHERE key = @key")
		}
	}
	return nil
}

// check checks the parts of the statement.
func (c *change) check(s *statement) error {
	p := parser{unlocated(c.target)}
	p.take("only")
	named := p
	c.table = strings.TrimPrefix(named.name(), "public.")
	c.alias = p.alias()
	if p.take("*"); len(p.tokens) > 0 || c.table == "" {
		return fmt.Errorf("its table %s does not parse: write one table, with or without an alias", spell(unlocated(c.target)))
	}
	for _, assignment := range split(unlocated(c.set)) {
		a := parser{assignment}
		columns, several := a.group()
		if !several {
			columns = assignment[:1]
		}
		for _, column := range split(columns) {
			c.assigned = append(c.assigned, column[0].text)
		}
	}
	for i, t := range c.where {
		if t.is("(") {
			if err := checkCall(c.where, i); err != nil {
				return err
			}
		}
	}
	for _, part := range [][]located{c.set, c.returning} {
		for i, t := range part {
			if t.is("(") {
				if err := checkEffect(part, i); err != nil {
					return err
				}
			}
		}
	}
	return c.checkReturning(s)
}

// checkEffect refuses a built-in function in SET or RETURNING whose effect or result is that of
// the transaction, which several calls share. PostgreSQL drops a second notification that is
// equal, for example. All other functions are called once for each changed row, as in the single
// statement, even if they are VOLATILE. So each call draws its own random(), nextval() or uuid.
func checkEffect(tokens []located, i int) error {
	name, schema := calledAt(tokens, i)
	if schema != "" && schema != "pg_catalog" || name == "nextval" || !pgproc.Writes(name) {
		return nil
	}
	return fmt.Errorf("%s() has an effect on the transaction, which coalesced calls share: remove @batch", name)
}

// checkReturning checks that the columns can follow the ordinal.
func (c *change) checkReturning(s *statement) error {
	list := split(unlocated(c.returning))
	switch {
	case s.kind == "one" && len(list) == 0:
		return errors.New("it is a :one without RETURNING: add it, or make it an :execrows")
	case s.kind == "execrows" && len(list) > 0:
		return errors.New("it is an :execrows with RETURNING: remove RETURNING, or make it a :one")
	}
	for _, item := range list {
		if last := item[len(item)-1]; last.is("*") && (len(item) == 1 || item[len(item)-2].is(".")) {
			return errors.New("RETURNING * would return the columns of the derived statement, too: name the columns")
		}
	}
	if len(list) > 0 && list[0][0].is("with") {
		return errors.New("RETURNING WITH renames OLD and NEW, which is not supported: name the columns")
	}
	return nil
}

// key returns the columns by which the statement finds its row, and their conditions.
func (c *change) key(req *request, params []parameter) (key []keyColumn, conditions [][]located, err error) {
	compared := map[string]int{} // columns, with the index of their condition
	var all [][]located
	for _, condition := range c.conjuncts() {
		column, number := c.compared(condition)
		param := slices.IndexFunc(params, func(p parameter) bool { return fmt.Sprintf("$%d", p.Number) == number })
		if _, twice := compared[column]; param < 0 || twice {
			continue
		}
		compared[column] = len(all)
		all, key = append(all, condition), append(key, keyColumn{column, param})
	}
	if len(key) == 0 {
		return nil, nil, errors.New("its WHERE compares no column with a parameter by =, so it may change several rows: add AND key = @key, where key is unique, or remove @batch")
	}
	unique, known := req.keys[c.table]
	if req.keys != nil && !known {
		return nil, nil, fmt.Errorf("the schema files of sqlc.yaml do not declare the unique keys of %s by CREATE TABLE: declare it there, or remove @batch", c.table)
	}
	if known {
		at := slices.IndexFunc(unique, func(u uniqueKey) bool {
			return len(u.columns) > 0 && !slices.ContainsFunc(u.columns, func(column string) bool { _, ok := compared[column]; return !ok })
		})
		if at < 0 {
			return nil, nil, fmt.Errorf("no unique key of %s is among the columns that its WHERE compares with a parameter by = (%s), so it may change several rows: compare a unique key, or remove @batch",
				c.table, listKey(key))
		}
		key = slices.DeleteFunc(key, func(k keyColumn) bool { return !slices.Contains(unique[at].columns, k.column) })
	}
	for _, k := range key {
		if slices.Contains(c.assigned, k.column) {
			err = fmt.Errorf("SET changes the column %s of the key by which it finds its row: remove it from SET, or remove @batch", k.column)
		} else if req.nullable(c.table, k.column) {
			err = fmt.Errorf("the column %s of its key may be NULL: declare it NOT NULL, or remove @batch", k.column)
		}
		conditions = append(conditions, all[compared[k.column]])
	}
	return key, conditions, err
}

// keyColumn is a column of a key and the index of its parameter.
type keyColumn struct {
	column string
	param  int
}

func listKey(key []keyColumn) string {
	var names []string
	for _, k := range key {
		names = append(names, k.column)
	}
	return strings.Join(names, ", ")
}

// nullable reports whether a column of a table may be NULL.
func (r *request) nullable(tableName, name string) bool {
	for _, s := range r.Catalog.Schemas {
		for _, t := range s.Tables {
			if t.Rel.Name != tableName && s.Name+"."+t.Rel.Name != tableName {
				continue
			}
			for _, c := range t.Columns {
				if c.Name == name {
					return !c.NotNull
				}
			}
		}
	}
	return false // not known here
}

// conjuncts splits WHERE into the conditions that must all be true. It returns none if an OR
// joins them.
func (c *change) conjuncts() (parts [][]located) {
	open, start, between := 0, 0, false
	for i, t := range c.where {
		switch {
		case open > 0:
		case t.is("or"):
			return nil
		case t.is("between"):
			between = true
		case t.is("and") && between: // BETWEEN a AND b
			between = false
		case t.is("and"):
			parts, start = append(parts, c.where[start:i]), i+1
		}
		open += opens(t.token)
	}
	return append(parts, c.where[start:])
}

// compared returns the column and the parameter of a condition of the form column = $1, in
// either order, with or without a cast of the parameter. Otherwise the column is empty.
func (c *change) compared(condition []located) (column, param string) {
	tokens := unlocated(condition)
	at := slices.IndexFunc(tokens, func(t token) bool { return t.is("=") })
	if at < 0 {
		return "", ""
	}
	left, right := tokens[:at], tokens[at+1:]
	if len(left) > 0 && placeholder.MatchString(left[0].text) {
		left, right = right, left
	}
	if len(left) == 3 && left[1].is(".") && left[0].text == c.alias {
		left = left[2:]
	}
	if len(left) != 1 || left[0].kind != word && left[0].kind != quoted || len(right) == 0 || !placeholder.MatchString(right[0].text) || !isCast(right[1:]) {
		return "", ""
	}
	return left[0].text, right[0].text
}

// isCast reports whether tokens are empty or a cast by ::.
func isCast(tokens []token) bool {
	if len(tokens) == 0 {
		return true
	}
	p := parser{tokens}
	return p.take(":", ":") && !slices.ContainsFunc(p.tokens, func(t token) bool {
		return t.kind == literal && placeholder.MatchString(t.text) || t.kind == symbol && !strings.Contains("().[],", t.text)
	})
}

// lock returns how strongly the first step locks a row. The lock must not be weaker than that
// of the change. Otherwise the change would wait for transactions that the first step has not
// seen. An UPDATE of a column that a foreign key may refer to locks as a DELETE does
// (PostgreSQL manual, 13.3.2).
func (c *change) lock(req *request) string {
	unique, known := req.keys[c.table]
	stronger := c.verb == "delete" || !known || slices.ContainsFunc(unique, func(key uniqueKey) bool {
		return slices.ContainsFunc(key.columns, func(column string) bool { return slices.Contains(c.assigned, column) })
	})
	if stronger {
		return "UPDATE"
	}
	return "NO KEY UPDATE"
}

func unlocated(tokens []located) []token {
	plain := make([]token, len(tokens))
	for i, t := range tokens {
		plain[i] = t.token
	}
	return plain
}
