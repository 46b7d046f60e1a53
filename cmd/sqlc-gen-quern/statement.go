package main

import (
	"fmt"
	"strings"
)

// statement is one query as the checks and the emitters see it.
type statement struct {
	query
	facts

	path   string // of its file, from the folder of sqlc.yaml
	kind   string // sqlc's command without the colon
	doc    string // the doc comment without its directives
	policy policy

	derivedFrom string   // the query that has @batch; empty for a query of a file
	columns     []column // of its rows, none of a :exec
	reads       bool     // it changes nothing, as far as its text shows
}

// kinds maps sqlc's commands to the constants of postgres.Kind.
var kinds = map[string]string{
	"one":      "One",
	"many":     "Many",
	"exec":     "Exec",
	"execrows": "ExecRows",
	"copyfrom": "CopyFrom",
}

// mends says what to write in place of a command that Quern does not use.
var mends = map[string]string{
	"execresult": "use :execrows, or :exec",
	"execlastid": "use :one with RETURNING id",
	// A pgx batch runs its statements on, past the one that failed, and the
	// caller who drops an error of sqlc's BatchResults has half of them.
	"batchexec": "use :exec over arrays (unnest), or :copyfrom for rows by the thousand",
	"batchmany": "use :many over an array (= ANY(@ids::bigint[]))",
	"batchone":  "use :many over arrays (unnest), with an ordinal in each row",
}

// read makes the statements of a request, and says what each says wrong about
// itself in its comments.
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

// copySQL is the literal text of a :copyfrom, which has no constant in sqlc's
// code: pgx writes the COPY itself, from the names that sqlc hands it.
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

// name is what the SQL file calls the parameter.
func (p parameter) name() string {
	if p.Column.Name == "" {
		return fmt.Sprintf("$%d", p.Number)
	}
	return p.Column.Name
}

// spelling is how people write the types whose internal names sqlc passes on,
// after the first table of PostgreSQL's chapter 8.
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

// element is the type of a value, or of an array's elements, as it is written
// in SQL.
func (c column) element() string {
	name := c.Type.Name
	if c.Type.Schema != "" {
		name = c.Type.Schema + "." + name
	}
	// sqlc writes the schema now beside the name and now into it.
	name = strings.TrimPrefix(strings.TrimPrefix(name, "pg_catalog."), "public.")
	if s, ok := spelling[name]; ok {
		return s
	}
	return name
}

// sqlType is the type as it is written in SQL, "[]" for each dimension.
func (c column) sqlType() string {
	element := c.element()
	if strings.ToLower(element) != element {
		element = quotedType(c) // PostgreSQL folds what is not quoted to lower case
	}
	return element + strings.Repeat("[]", c.dims())
}

func (c column) dims() int {
	if !c.IsArray {
		return 0
	}
	return max(1, c.ArrayDims)
}

// describe is a column as a problem names it.
func (c column) describe() string {
	if c.NotNull {
		return c.Name + " " + c.sqlType() + " not null"
	}
	return c.Name + " " + c.sqlType()
}
