package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"quern/internal/pgproc"
)

// derivedSuffix is appended to the name of a statement to name the statement
// derived from it.
const derivedSuffix = "Batch"

func (s *statement) derivedName() string { return s.Name + derivedSuffix }

// derive returns a statement for each read, update and delete with @batch, which runs
// several of its calls at once.
func derive(req *request, statements []*statement) (derived []*statement, problems []problem) {
	for _, s := range statements {
		form := wrap
		switch {
		case !s.policy.batch.derived:
			continue
		case s.changes() && (s.kind == "one" || s.kind == "execrows"):
			form = wrapChange
		case s.kind != "one" || len(s.writes) > 0:
			continue // checkBatch has refused it
		}
		d, err := form(req, s)
		if err != nil {
			problems = append(problems, s.problemf("@batch: %v", err))
			continue
		}
		derived = append(derived, d)
	}
	return derived, problems
}

// wrap derives the statement that answers several calls of s. Its text is that of
// s in a LATERAL subquery, with each parameter replaced by a column of unnested
// arrays. PostgreSQL evaluates it for each call just as it evaluates s with bound
// parameters. The rest of the text is unchanged, so no part of it can be lost.
//
// OFFSET 0 keeps the planner from merging the subquery into the outer query. With
// it, the plan is that of s, executed once per call. The arrays are in a SELECT so
// that the planner does not use their lengths.
func wrap(req *request, s *statement) (*statement, error) {
	tokens, text, err := derivable(s)
	if err != nil {
		return nil, err
	}
	d, arrays, columns, err := sharedForm(req, s, "p")
	if err != nil {
		return nil, err
	}
	names, seen := map[string]string{}, map[string]bool{}
	for i, p := range s.Params {
		names[fmt.Sprintf("$%d", p.Number)] = "_batch." + columns[i]
	}
	inner := replaceParams(text, tokens, names, seen)
	if len(seen) != len(names) {
		return nil, errNotInText(s)
	}
	d.Text = fmt.Sprintf(`-- name: %s :many
SELECT _batch.ord, one.*
FROM unnest(%s) WITH ORDINALITY AS _batch (%s, ord),
LATERAL (SELECT * FROM (
%s
) AS one OFFSET 0) AS one`, d.Name, strings.Join(arrays, ", "), strings.Join(columns, ", "), inner)
	return d, nil
}

// sharedForm returns the derived statement of s without its text. It also returns the arrays
// of its parameters, and the names of the columns into which they are unnested.
func sharedForm(req *request, s *statement, prefix string) (d *statement, arrays, columns []string, err error) {
	d = &statement{
		query: query{Name: s.derivedName(), Filename: s.Filename},
		path:  s.path, kind: "many", policy: s.policy, derivedFrom: s.Name, reads: s.reads,
		doc: fmt.Sprintf("%s answers several calls of %s at once: each row has the ordinal of its call.", s.derivedName(), s.Name),
	}
	// The derived statement has neither a batch nor a queued method.
	d.policy.batch, d.policy.queue = batch{}, false
	for i, p := range s.Params {
		sent, cast, err := arrayType(req, p)
		if err != nil {
			return nil, nil, nil, err
		}
		arrays = append(arrays, fmt.Sprintf("(SELECT $%d::%s[])%s", i+1, sent, cast))
		columns = append(columns, fmt.Sprintf("%s%d", prefix, i+1))
		c := column{Name: p.name(), IsArray: true, ArrayDims: 1, Type: identifier{Name: sent}}
		d.Params = append(d.Params, parameter{Number: i + 1, Column: c})
	}
	ord := column{Name: "ord", NotNull: true, Type: identifier{Name: "bigint"}}
	d.columns = append([]column{ord}, s.columns...)
	return d, arrays, columns, nil
}

var errNoParams = errors.New("the statement has no parameters to tell its calls apart: remove @batch")

func errNotInText(s *statement) error {
	return fmt.Errorf("not all of the parameters %s are in the text that sqlc sends", listParams(s.Params))
}

// withoutEnd returns the tokens of a statement without comments, and its text without the final
// semicolon.
func withoutEnd(text string) ([]located, string) {
	tokens := slices.DeleteFunc(locate(text), func(t located) bool { return t.kind == comment })
	if n := len(tokens); n > 0 && tokens[n-1].is(";") {
		return tokens[:n-1], text[:tokens[n-1].start]
	}
	return tokens, text
}

// derivable returns the tokens of a statement without comments and its text
// without the final semicolon, or the reason why it cannot be wrapped.
func derivable(s *statement) ([]located, string, error) {
	tokens, text := withoutEnd(s.Text)
	if len(tokens) == 0 || !tokens[0].is("select") && !tokens[0].is("with") {
		return nil, "", fmt.Errorf("the statement starts with neither SELECT nor WITH: rewrite it as a SELECT")
	}
	if len(s.Params) == 0 {
		return nil, "", errNoParams
	}
	for i, t := range tokens {
		switch {
		case t.is("tablesample"):
			return nil, "", fmt.Errorf("TABLESAMPLE returns another sample for each call: remove @batch")
		case (t.kind == word || t.kind == quoted) && t.text == "_batch":
			return nil, "", fmt.Errorf("the name _batch is reserved for the derived statement: use another name")
		case t.is("("):
			if err := checkCall(tokens, i); err != nil {
				return nil, "", err
			}
		}
	}
	return tokens, text, nil
}

// checkCall refuses a call of a function, whose arguments begin at tokens[i],
// unless all calls with the same arguments in one statement return the same
// result. Otherwise callers could share a result. For example, PostgreSQL runs
// (SELECT gen_random_uuid()) once for all of them.
func checkCall(tokens []located, i int) error {
	name, schema := calledAt(tokens, i)
	switch {
	case name == "", (schema == "" || schema == "pg_catalog") && pgproc.Stable(name):
		return nil
	case schema != "":
		return fmt.Errorf("%s.%s() is not a built-in function of PostgreSQL, so it is not known to be STABLE or IMMUTABLE: remove @batch", schema, name)
	}
	return fmt.Errorf("%s() is not known to be STABLE or IMMUTABLE, so coalesced calls might share its result: remove @batch, or call a built-in function that is", name)
}

// calledAt returns the function whose arguments begin at tokens[i] and its schema,
// if qualified. The name is empty if the parenthesis does not belong to a call.
func calledAt(tokens []located, i int) (name, schema string) {
	at := func(i int) token {
		if i < 0 || i >= len(tokens) {
			return token{kind: symbol}
		}
		return tokens[i].token
	}
	called, before := at(i-1), at(i-2)
	switch {
	case called.kind != word && called.kind != quoted:
		return "", ""
	case before.is(".") && at(i-4).is("."):
		return called.text, at(i-5).text + "." + at(i-3).text
	case before.is("."):
		return called.text, at(i - 3).text
	case called.kind == word && pgproc.IsConstruct(called.text, before.text), before.is("as"), namesColumns(tokens, i):
		return "", ""
	}
	return called.text, ""
}

// namesColumns reports whether the parenthesis at tokens[i] lists the columns of a
// WITH query, as in WITH a (x) AS (SELECT …), b (y) AS MATERIALIZED (…). FROM a,
// f(x) AS (y integer) looks similar but calls f.
func namesColumns(tokens []located, i int) bool {
	if i < 2 || !namesCTE(tokens[i-2].token) {
		return false
	}
	rest := tokens[i:]
	for len(rest) > 0 && !rest[0].is(")") {
		rest = rest[1:]
	}
	for _, expected := range []string{")", "as", "not", "materialized", "("} {
		switch optional := expected == "not" || expected == "materialized"; {
		case len(rest) > 0 && rest[0].is(expected):
			rest = rest[1:]
		case !optional:
			return false
		}
	}
	if len(rest) < 2 {
		return false
	}
	first, second := rest[0], rest[1]
	return first.is("select") || first.is("with") || first.is("table") || first.is("(") || first.is("values") && second.is("(")
}

var placeholder = regexp.MustCompile(`^\$[0-9]+$`)

// replaceParams replaces each parameter with the name of its column, and adds it to seen. The
// blanks separate the column from the text that follows, such as AND in "$1AND".
func replaceParams(text string, tokens []located, columns map[string]string, seen map[string]bool) string {
	var b strings.Builder
	end := 0
	for _, t := range tokens {
		column, ok := columns[t.text]
		if t.kind != literal || !ok {
			continue // checkLost has refused a $n that is not a parameter
		}
		seen[t.text] = true
		// Avoid two blanks in a row.
		b.WriteString(text[end:t.start])
		if !strings.HasSuffix(b.String(), " ") {
			b.WriteByte(' ')
		}
		b.WriteString(column + " ")
		if end = t.end; end < len(text) && text[end] == ' ' {
			end++
		}
	}
	b.WriteString(text[end:])
	return strings.TrimRight(b.String(), " \n")
}

// nativeArrays are the types, as written in SQL, whose arrays pgx can encode
// without querying the server for their OIDs.
var nativeArrays = []string{
	"smallint", "integer", "bigint", "real", "double precision", "numeric", "boolean", "text", "name", "bytea", "uuid",
	"date", "time", "timestamp", "timestamptz", "interval", "json", "jsonb", "inet", "cidr", "macaddr", "oid",
	"int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange",
}

// arrayType returns the element type in which a parameter is sent, and the cast
// from an array of it to the parameter's type.
func arrayType(req *request, p parameter) (sent, cast string, err error) {
	c := p.Column
	raw := strings.TrimPrefix(c.Type.Name, "pg_catalog.")
	element := c.element()
	switch {
	case c.IsArray || c.IsSqlcSlice:
		return "", "", fmt.Errorf("the parameter %s is an array (%s), which unnest would flatten: remove @batch", p.name(), c.sqlType())
	case strings.HasPrefix(raw, "any"), raw == "record", raw == "unknown", raw == "":
		return "", "", fmt.Errorf("sqlc does not know the type of the parameter %s: add a cast, such as @%s::bigint", p.name(), p.name())
	case raw == "bit", raw == "varbit":
		return "", "", fmt.Errorf("the parameter %s has the type %s, whose length is lost in an array: remove @batch", p.name(), raw)
	case raw == "char":
		return "", "", fmt.Errorf(`the parameter %s has the type "char", whose array is an array of char(1): cast it to bpchar or text: @%s::text`, p.name(), p.name())
	case req.composite(c):
		return "", "", fmt.Errorf("the parameter %s has the composite type %s, which unnest would expand into columns: remove @batch", p.name(), element)
	case raw == "bpchar":
		return "bpchar", "", nil
	case raw == "varchar":
		return "text", "", nil // PostgreSQL compares it as text
	case slices.Contains(nativeArrays, element):
		return element, "", nil
	}
	return "text", "::" + quotedType(c) + "[]", nil
}

// quotedType returns the quoted name of a type that is not built in, or whose
// arrays pgx does not know.
func quotedType(c column) string {
	schema, name := c.Type.Schema, c.Type.Name
	if before, after, ok := strings.Cut(name, "."); ok && schema == "" {
		schema, name = before, after
	}
	if schema == "" {
		return quoteName(name)
	}
	return quoteName(schema) + "." + quoteName(name)
}

// composite reports whether a type has columns, because it is a
// composite type or a table's row type.
func (r *request) composite(c column) bool {
	for _, s := range r.Catalog.Schemas {
		is := func(name string) bool {
			return c.element() == s.Name+"."+name || s.Name == r.Catalog.DefaultSchema && c.element() == name
		}
		for _, t := range s.CompositeTypes {
			if is(t.Name) {
				return true
			}
		}
		for _, t := range s.Tables {
			if is(t.Rel.Name) {
				return true
			}
		}
	}
	return false
}
