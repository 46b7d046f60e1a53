package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// insertion is a parsed INSERT.
type insertion struct {
	columns   []string
	values    [][]token // one for each column
	returning []item
}

// item is one expression of a list, with the name of its column.
type item struct {
	name string
	expr []token
}

// source is the WITH query of a partner that unnests the arrays.
type source struct {
	name    string
	ordinal string         // the column with the ordinal
	id      string         // the column with the generated id
	columns map[string]int // the other columns, each with the index of its parameter
	types   map[int][]token
}

// samePartner checks the :many of an insert against the :one, token by token. It must
// have the same columns with the same expressions, each parameter replaced by the
// column of its array, and the same result. It may also insert an id, but it must
// generate that itself. Before PostgreSQL 17, nothing else reliably tells which row
// belongs to which call.
func samePartner(s, many *statement) error {
	one, err := parseSingle(tokensOf(s.Text))
	if err != nil {
		return err
	}
	p := parser{tokensOf(many.Text)}
	if !p.take("with") {
		return errors.New("it does not start with WITH: " + partnerForm)
	}
	given, err := p.source(many.Params)
	if err != nil {
		return err
	}
	if !p.take(",") {
		return errors.New("the WITH query of the arrays must be followed by the WITH query of the INSERT: " + partnerForm)
	}
	name, body, ok := p.with()
	if !ok {
		return errors.New("its second WITH query does not parse: " + partnerForm)
	}
	all, alias, err := parseShared(body, given)
	if err != nil {
		return err
	}
	key, err := sameValues(one, all, given, alias, s.Params)
	if err != nil {
		return err
	}
	return p.sameResult(one, all, given, name, key)
}

// partnerForm is the hint for a partner in another form.
const partnerForm = "write WITH given AS (SELECT generate_subscripts(@a::text[], 1) AS ord, nextval('…') AS id, unnest(@a::text[]) AS a), " +
	"created AS (INSERT INTO … (id, a) SELECT g.id, g.a FROM given AS g ON CONFLICT DO NOTHING RETURNING id, a) " +
	"SELECT g.ord::integer AS ord, c.id, c.a FROM created AS c JOIN given AS g ON g.id = c.id"

// parseSingle parses the :one.
func parseSingle(tokens []token) (insertion, error) {
	p := parser{tokens}
	in, err := p.insert()
	if err != nil {
		return in, fmt.Errorf("this insert %w", err)
	}
	values, ok := []token(nil), p.take("values")
	if ok {
		values, ok = p.group()
	}
	if !ok || p.at(0).is(",") {
		return in, errors.New("this insert is not one row of VALUES: write INSERT INTO table (columns) VALUES (expressions) RETURNING …")
	}
	in.values = split(values)
	if p.skipTo("returning"); !p.take("returning") {
		return in, errors.New("this insert has no RETURNING: add it")
	}
	in.returning = items(p.tokens)
	if len(in.values) != len(in.columns) {
		return in, fmt.Errorf("this insert has %d columns and %d expressions: give one for each", len(in.columns), len(in.values))
	}
	return in, nil
}

// parseShared parses the INSERT of the partner. alias is its name for the rows of
// given.
func parseShared(tokens []token, given source) (in insertion, alias string, err error) {
	p := parser{tokens}
	if in, err = p.insert(); err != nil {
		return in, "", fmt.Errorf("its INSERT %w", err)
	}
	if !p.take("select") {
		return in, "", errors.New("its INSERT has no SELECT: " + partnerForm)
	}
	in.values = split(p.skipTo("from"))
	if !p.take("from") || p.at(0).text != given.name {
		return in, "", fmt.Errorf("its INSERT must select from %s only: %s", given.name, partnerForm)
	}
	alias = p.alias()
	for i, clause := 0, p.skipTo("on"); i < len(clause); i++ {
		// The INSERT may omit a row, because its caller then runs it individually. It must
		// not repeat or change one.
		if i == 0 && !clause[0].is("where") && !clause[0].is("order") || slices.Contains(notInShared, clause[i].text) && depth(clause[:i]) == 0 {
			return in, "", fmt.Errorf("its INSERT has %s after FROM %s: use only WHERE and ORDER BY", strings.ToUpper(clause[i].text), given.name)
		}
	}
	if p.skipTo("returning"); !p.take("returning") {
		return in, "", errors.New("its INSERT has no RETURNING: " + partnerForm)
	}
	in.returning = items(p.tokens)
	if len(in.values) != len(in.columns) {
		return in, "", fmt.Errorf("its INSERT has %d columns and %d expressions: give one for each", len(in.columns), len(in.values))
	}
	return in, alias, nil
}

var notInShared = []string{"union", "intersect", "except", "group", "having", "window", "limit", "offset", "fetch", "for"}

// sameValues compares the values that the two INSERTs store. It returns the column of
// the id that the partner generates.
func sameValues(one, all insertion, given source, alias string, params []parameter) (key string, err error) {
	for i, column := range all.columns {
		at := slices.Index(one.columns, column)
		isID := isColumn(all.values[i], alias, given.id)
		switch {
		case isID && (at >= 0 || key != ""):
			return "", fmt.Errorf("its generated id goes into the column %s, which this insert sets too: generate the key there, and do not set it in this insert", column)
		case isID:
			key = column
			continue
		case at < 0 || one.isDefault(at):
			return "", fmt.Errorf("it sets the column %s, but this insert does not: insert the same columns", column)
		}
		if err := sameExpr(one.values[at], all.values[i], given, alias, params); err != nil {
			return "", fmt.Errorf("the column %s: %w", column, err)
		}
	}
	for i, column := range one.columns {
		if !slices.Contains(all.columns, column) && !one.isDefault(i) {
			return "", fmt.Errorf("it does not set the column %s: insert the same columns", column)
		}
	}
	if key == "" {
		return "", fmt.Errorf("it does not insert the generated id: insert %s.%s as the key, which identifies the rows", alias, given.id)
	}
	return key, nil
}

func (in insertion) isDefault(i int) bool {
	return len(in.values[i]) == 1 && in.values[i][0].is("default")
}

// sameExpr compares two expressions. A parameter in one corresponds to a column of
// given in the other. If the array is cast, the parameter's cast may be missing.
func sameExpr(one, all []token, given source, alias string, params []parameter) error {
	differs := fmt.Errorf("it is %s there and %s here: write the same expression, with %s.NAME for each parameter", spell(all), spell(one), alias)
	nested := slices.ContainsFunc(one, func(t token) bool { return t.is("select") })
	if nested {
		// An uncorrelated subquery runs once for all rows.
		if err := checkCalls(one); err != nil {
			return err
		}
		if slices.ContainsFunc(one, func(t token) bool { return t.text == alias }) {
			return fmt.Errorf("the name %s is ambiguous in %s: use another alias for %s", alias, spell(all), given.name)
		}
	}
	for len(one) > 0 {
		if one[0].kind != literal || !placeholder.MatchString(one[0].text) {
			if len(all) == 0 || all[0] != one[0] {
				return differs
			}
			one, all = one[1:], all[1:]
			continue
		}
		param := slices.IndexFunc(params, func(p parameter) bool { return fmt.Sprintf("$%d", p.Number) == one[0].text })
		one = one[1:]
		switch {
		case len(all) >= 3 && all[0].text == alias && all[1].is("."):
			all = all[2:]
		case nested:
			return differs // a table of the subquery may have a column with that name
		}
		if len(all) == 0 || all[0].kind != word && all[0].kind != quoted {
			return differs
		}
		if of, ok := given.columns[all[0].text]; !ok || of != param {
			return differs
		}
		all = all[1:]
		cast := append([]token{{symbol, ":"}, {symbol, ":"}}, given.types[param]...)
		if n := len(cast); n > 2 && len(one) >= n && slices.Equal(one[:n], cast) && !(len(all) >= n && slices.Equal(all[:n], cast)) {
			if len(one) > n && (one[n].is("(") || one[n].is("[")) {
				return differs // a longer type, such as numeric(10, 2)
			}
			one = one[n:]
		}
	}
	if len(all) > 0 {
		return differs
	}
	return nil
}

// sameResult compares the results of the two INSERTs. The tokens that the parser has not read
// are those of the last SELECT. name is the name of the WITH query with the INSERT, and key is
// the column of the id.
func (p *parser) sameResult(one, all insertion, given source, name, key string) error {
	if !p.take("select") {
		return errors.New("it has more than two WITH queries: " + partnerForm)
	}
	list := items(p.skipTo("from"))
	p.take("from")
	aliases := map[string]string{}
	first := p.at(0).text
	aliases[first] = p.alias()
	p.take("inner")
	joined := p.take("join")
	second := p.at(0).text
	aliases[second] = p.alias()
	created, source := aliases[name], aliases[given.name]
	if !joined || created == "" || source == "" {
		return fmt.Errorf("its last SELECT is not FROM %s JOIN %s: %s", name, given.name, partnerForm)
	}
	returned := slices.IndexFunc(all.returning, func(i item) bool {
		n := len(i.expr)
		return (n == 1 || n == 3 && i.expr[1].is(".")) && i.expr[n-1].text == key
	})
	if returned < 0 {
		return fmt.Errorf("its INSERT does not return the generated id, which identifies the rows: add %s to RETURNING", key)
	}
	if id := all.returning[returned].name; !p.joins(created, id, source, given.id) {
		return fmt.Errorf("its last SELECT joins by more or other than the id that was drawn, which tells the rows apart: end it with ON %s.%s = %s.%s",
			source, given.id, created, id)
	}
	if len(list) != len(one.returning)+1 || !isOrdinalOf(list[0].expr, source, given.ordinal) {
		return fmt.Errorf("its last SELECT does not return the ordinal and then %d columns: %s", len(one.returning), partnerForm)
	}
	for i, want := range one.returning {
		got := list[i+1]
		at := slices.IndexFunc(all.returning, func(r item) bool { return isColumn(got.expr, created, r.name) })
		if at < 0 || !slices.Equal(all.returning[at].expr, want.expr) {
			return fmt.Errorf("it returns %s where this insert returns %s: return the same", spell(got.expr), spell(want.expr))
		}
		if slices.ContainsFunc(want.expr, func(t token) bool { return t.is("select") }) {
			if err := checkCalls(want.expr); err != nil {
				return err
			}
		}
	}
	return nil
}

// joins reads the end of the last SELECT, which must be the join condition. Anything
// after it could filter out stored rows.
func (p *parser) joins(created, key, source, id string) bool {
	if p.take("using") {
		columns, ok := p.group()
		return ok && len(columns) == 1 && columns[0].text == id && key == id && len(p.tokens) == 0
	}
	if !p.take("on") {
		return false
	}
	a := p.skipTo("=")
	p.take("=")
	is := func(t []token, of, name string) bool { return len(t) == 3 && isColumn(t, of, name) }
	return is(a, created, key) && is(p.tokens, source, id) || is(p.tokens, created, key) && is(a, source, id)
}

// isColumn reports whether expr is the column, with or without its table's alias.
func isColumn(expr []token, alias, name string) bool {
	if len(expr) == 3 && expr[0].text == alias && expr[1].is(".") {
		expr = expr[2:]
	}
	return len(expr) == 1 && (expr[0].kind == word || expr[0].kind == quoted) && expr[0].text == name && name != ""
}

// isOrdinalOf reports whether expr is the ordinal, with or without a cast.
func isOrdinalOf(expr []token, alias, name string) bool {
	p := parser{expr}
	return isColumn(p.skipTo(":"), alias, name) && isIntegerCast(p.tokens)
}

// isIntegerCast reports whether tokens are empty or a cast to an integer type.
func isIntegerCast(tokens []token) bool {
	return slices.Contains([]string{"", "::integer", "::int", "::int4", "::bigint", "::int8"}, spell(tokens))
}
