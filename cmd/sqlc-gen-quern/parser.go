package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// parser reads the tokens of an insert. They must not contain comments.
type parser struct{ tokens []token }

// tokensOf returns the tokens of a statement without comments and without the
// final semicolon.
func tokensOf(sql string) []token {
	tokens := slices.DeleteFunc(lex(sql), func(t token) bool { return t.kind == comment })
	if n := len(tokens); n > 0 && tokens[n-1].is(";") {
		tokens = tokens[:n-1]
	}
	return tokens
}

func (p *parser) at(i int) token {
	if i >= len(p.tokens) {
		return token{kind: symbol}
	}
	return p.tokens[i]
}

// take reads the given words if they come next, and reports whether they did.
func (p *parser) take(words ...string) bool {
	for i, w := range words {
		if !p.at(i).is(w) {
			return false
		}
	}
	p.tokens = p.tokens[len(words):]
	return true
}

// name reads a name with or without its schema.
func (p *parser) name() (name string) {
	for n := p.at(0); n.kind == word || n.kind == quoted; n = p.at(0) {
		name += n.text
		p.tokens = p.tokens[1:]
		if !p.take(".") {
			break
		}
		name += "."
	}
	return name
}

// alias reads a table and its optional alias, and returns the name by which the
// statement refers to it.
func (p *parser) alias() string {
	name := p.name()
	keywords := []string{"where", "order", "on", "join", "inner", "using", "returning", "cross", "left", "right", "full", "natural"}
	if p.take("as") || p.at(0).kind == quoted || p.at(0).kind == word && !slices.Contains(keywords, p.at(0).text) {
		return p.name()
	}
	return name
}

// group reads the parentheses that come next and returns the tokens inside.
func (p *parser) group() (inside []token, ok bool) {
	if !p.at(0).is("(") {
		return nil, false
	}
	for i := range p.tokens {
		if depth(p.tokens[:i+1]) == 0 {
			inside, p.tokens = p.tokens[1:i], p.tokens[i+1:]
			return inside, true
		}
	}
	return nil, false
}

// skipTo reads up to the word, or to the end. It ignores the word inside
// parentheses.
func (p *parser) skipTo(word string) (skipped []token) {
	for i, t := range p.tokens {
		if t.is(word) && depth(p.tokens[:i]) == 0 {
			skipped, p.tokens = p.tokens[:i], p.tokens[i:]
			return skipped
		}
	}
	skipped, p.tokens = p.tokens, nil
	return skipped
}

// with reads a WITH query without a column list.
func (p *parser) with() (name string, body []token, ok bool) {
	name = p.name()
	if !p.take("as", "materialized") && !p.take("as") {
		return "", nil, false
	}
	body, ok = p.group()
	return name, body, ok
}

// insert reads an INSERT up to its rows.
func (p *parser) insert() (in insertion, err error) {
	if !p.take("insert", "into") {
		return in, errors.New("does not start with INSERT INTO: write INSERT INTO table (columns), without WITH")
	}
	p.name()
	if p.take("as") {
		p.name()
	}
	columns, ok := p.group()
	if !ok {
		return in, errors.New("names no columns: write INSERT INTO table (columns)")
	}
	for _, c := range split(columns) {
		if len(c) != 1 {
			return in, fmt.Errorf("has the column %s: name whole columns", spell(c))
		}
		in.columns = append(in.columns, c[0].text)
	}
	if p.take("overriding", "system", "value"); p.at(0).is("overriding") {
		return in, errors.New("has OVERRIDING USER VALUE, which would replace the generated id: write OVERRIDING SYSTEM VALUE")
	}
	return in, nil
}

// drawers are the functions that generate a unique id.
var drawers = []string{"nextval", "gen_random_uuid", "uuidv7", "uuid_generate_v4"}

// source reads the WITH query that unnests the arrays.
func (p *parser) source(params []parameter) (source, error) {
	s := source{columns: map[string]int{}, types: map[int][]token{}}
	name, body, ok := p.with()
	s.name = name
	in := parser{body}
	if !ok || !in.take("select") {
		return s, errors.New("its first WITH query is not a SELECT of the arrays: " + partnerForm)
	}
	list := items(in.skipTo("from"))
	if in.take("from") {
		// Selecting from anything else could repeat the rows.
		if in.name() != "set_config" {
			return s, errors.New("its first WITH query must select from nothing but set_config(…), because a table might repeat rows: " + partnerForm)
		}
		if _, ok := in.group(); !ok || len(in.tokens) > 0 {
			return s, errors.New("its first WITH query must end with FROM set_config(…): " + partnerForm)
		}
	}
	for _, item := range list {
		if err := s.add(item, params); err != nil {
			return s, err
		}
	}
	if s.ordinal == "" || s.id == "" {
		return s, errors.New("its first WITH query must have an ordinal and a generated id, which identify the rows: " + partnerForm)
	}
	return s, nil
}

// add records a column: the ordinal, the id, or the elements of an array.
func (s *source) add(item item, params []parameter) error {
	call := parser{item.expr}
	function := call.name()
	args, ok := call.group()
	switch {
	case item.name == "" || !ok:
		return fmt.Errorf("%s in its first WITH query is not a function call with an alias: %s", spell(item.expr), partnerForm)
	case slices.Contains(drawers, function) && len(call.tokens) == 0:
		s.id = item.name
		return nil
	case function == "generate_subscripts", function == "generate_series":
		if !isOrdinalCall(function, args) || !isIntegerCast(call.tokens) {
			return fmt.Errorf("the ordinal %s does not number an array from 1: write generate_subscripts(@a::text[], 1)", spell(item.expr))
		}
		s.ordinal = item.name
		return nil
	case function == "unnest" && len(call.tokens) == 0 && len(args) > 0:
		param := slices.IndexFunc(params, func(p parameter) bool { return fmt.Sprintf("$%d", p.Number) == args[0].text })
		element, ok := elementCast(args[1:])
		if param >= 0 && ok {
			s.columns[item.name], s.types[param] = param, element
			return nil
		}
	}
	return fmt.Errorf("%s in its first WITH query is neither the ordinal, nor a generated id (%s), nor unnest of one array: %s",
		spell(item.expr), strings.Join(drawers, ", "), partnerForm)
}

// elementCast reads the cast of an array, if there is one, and returns its type
// without the brackets.
func elementCast(tokens []token) ([]token, bool) {
	n := len(tokens)
	if n == 0 {
		return nil, true
	}
	if n < 5 || !tokens[0].is(":") || !tokens[1].is(":") || !tokens[n-2].is("[") || !tokens[n-1].is("]") {
		return nil, false
	}
	return tokens[2 : n-2], true
}

// isOrdinalCall reports whether a call numbers the elements of an array from 1.
func isOrdinalCall(function string, args []token) bool {
	list := split(args)
	if len(list) != 2 {
		return false
	}
	if function == "generate_subscripts" {
		return placeholder.MatchString(list[0][0].text) && spell(list[1]) == "1"
	}
	size := parser{list[1]}
	of := size.name()
	array, ok := size.group()
	return ok && len(array) > 0 && spell(list[0]) == "1" && (of == "cardinality" || of == "array_length") && placeholder.MatchString(array[0].text)
}

// items splits a list of expressions and finds the name of each column.
func items(tokens []token) (list []item) {
	for _, expr := range split(tokens) {
		i := item{expr: expr}
		n := len(expr)
		switch {
		case n >= 3 && expr[n-2].is("as"):
			i.expr, i.name = expr[:n-2], expr[n-1].text
		case n == 1, n == 3 && expr[1].is("."):
			i.name = expr[n-1].text
		}
		list = append(list, i)
	}
	return list
}

func split(tokens []token) (parts [][]token) {
	start := 0
	for i, t := range tokens {
		if t.is(",") && depth(tokens[start:i]) == 0 {
			parts, start = append(parts, tokens[start:i]), i+1
		}
	}
	parts = append(parts, tokens[start:])
	return slices.DeleteFunc(parts, func(part []token) bool { return len(part) == 0 })
}

// depth returns how many parentheses and brackets are open after the tokens.
func depth(tokens []token) (n int) {
	for _, t := range tokens {
		switch {
		case t.is("("), t.is("["):
			n++
		case t.is(")"), t.is("]"):
			n--
		}
	}
	return n
}

// checkCalls applies checkCall to all calls in an expression.
func checkCalls(expr []token) error {
	tokens := make([]located, len(expr))
	for i, t := range expr {
		tokens[i] = located{token: t}
	}
	for i, t := range expr {
		if t.is("(") {
			if err := checkCall(tokens, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// spell formats an expression for a problem.
func spell(tokens []token) string {
	var b strings.Builder
	for i, t := range tokens {
		if i > 0 && t.kind != symbol && tokens[i-1].kind != symbol || i > 0 && tokens[i-1].is(",") {
			b.WriteByte(' ')
		}
		if t.kind == quoted {
			b.WriteString(quoteName(t.text))
			continue
		}
		b.WriteString(t.text)
	}
	return b.String()
}
