package main

import (
	"fmt"
	"strings"
)

// statement is a query in the form that the checks and the emitters use.
type statement struct {
	query
	facts

	path   string // of its file, relative to the directory of sqlc.yaml
	kind   string // sqlc's command without the colon
	doc    string // the doc comment without its directives
	policy policy

	derivedFrom string      // the query with @batch; empty for a query of a file
	key         []keyColumn // of a derived UPDATE or DELETE
	columns     []column    // of its rows; none for a :exec
	reads       bool        // its text shows no change
}

// kinds maps sqlc's commands to the constants of postgres.Kind.
var kinds = map[string]string{
	"one":      "One",
	"many":     "Many",
	"exec":     "Exec",
	"execrows": "ExecRows",
	"copyfrom": "CopyFrom",
}

// hints tells what to write instead of a command that Quern does not support.
var hints = map[string]string{
	"execresult": "use :execrows, or :exec",
	"execlastid": "use :one with RETURNING id",
	// A pgx batch continues after a statement that failed. A caller who ignores an
	// error of sqlc's BatchResults gets only some of the results.
	"batchexec": "use :exec over arrays (unnest), or :copyfrom for rows by the thousand",
	"batchmany": "use :many over an array (= ANY(@ids::bigint[]))",
	"batchone":  "use :many over arrays (unnest), with an ordinal in each row",
}

// read converts the queries of a request to statements, and returns the
// mistakes in their comments.
func read(req *request) ([]*statement, []problem) {
	var statements []*statement
	var problems []problem
	for _, q := range req.Queries {
		s := &statement{
			query: q,
			facts: analyse(q.Text),
			path:  q.Filename,
			kind:  strings.TrimPrefix(q.Cmd, ":"),
		}
		s.reads = onlyReads(s)
		s.columns = req.resultColumns(q)
		var wrong []string
		s.doc, s.policy, wrong = parseComments(q.Comments)
		for _, w := range wrong {
			problems = append(problems, s.problemf("%s", w))
		}
		statements = append(statements, s)
	}
	return statements, problems
}

// copySQL returns the text of a :copyfrom. sqlc's code has no constant for it,
// because pgx builds the COPY itself from the names that it gets from sqlc.
func (s *statement) copySQL() string {
	var table, columns []string
	if t := s.InsertIntoTable; t != nil {
		for _, part := range []string{t.Catalog, t.Schema, t.Name} {
			if part != "" {
				table = append(table, quoteName(part))
			}
		}
	}
	for _, p := range s.Params {
		name := p.Column.OriginalName
		if name == "" {
			name = p.Column.Name
		}
		columns = append(columns, quoteName(name))
	}
	return fmt.Sprintf("copy %s ( %s ) from stdin binary;", strings.Join(table, "."), strings.Join(columns, ", "))
}

func quoteName(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// name returns the parameter's name in the SQL file.
func (p parameter) name() string {
	if p.Column.Name == "" {
		return fmt.Sprintf("$%d", p.Number)
	}
	return p.Column.Name
}

// spelling maps the internal type names that sqlc passes on to the usual ones,
// which are those in the first table of PostgreSQL's chapter 8.
var spelling = map[string]string{
	"int2": "smallint", "int4": "integer", "int8": "bigint", "int": "integer",
	"smallserial": "smallint", "serial2": "smallint",
	"serial": "integer", "serial4": "integer",
	"bigserial": "bigint", "serial8": "bigint",
	"float4": "real", "float8": "double precision", "float": "double precision",
	"bool": "boolean", "decimal": "numeric", "string": "text",
	"bpchar":                   "char",
	"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
	"time with time zone": "timetz", "time without time zone": "time",
}

// element returns the type of a value, or of an array's elements, as written in
// SQL.
func (c column) element() string {
	name := c.Type.Name
	if c.Type.Schema != "" {
		name = c.Type.Schema + "." + name
	}
	// sqlc sometimes puts the schema beside the name and sometimes into it.
	name = strings.TrimPrefix(strings.TrimPrefix(name, "pg_catalog."), "public.")
	if s, ok := spelling[name]; ok {
		return s
	}
	return name
}

// sqlType returns the type as written in SQL, with "[]" for each dimension.
func (c column) sqlType() string {
	element := c.element()
	if strings.ToLower(element) != element {
		element = quotedType(c) // PostgreSQL folds an unquoted name to lower case
	}
	return element + strings.Repeat("[]", c.dims())
}

func (c column) dims() int {
	if !c.IsArray {
		return 0
	}
	return max(1, c.ArrayDims)
}

// describe formats a column for a problem.
func (c column) describe() string {
	if c.NotNull {
		return c.Name + " " + c.sqlType() + " not null"
	}
	return c.Name + " " + c.sqlType()
}
