package postgres

import "time"

// Kind is how a statement answers, in sqlc's own words.
type Kind string

// The kinds of statement that sqlc knows and Quern uses.
const (
	One      Kind = "one"      // exactly one row, or ErrNotFound
	Many     Kind = "many"     // any number of rows
	Exec     Kind = "exec"     // no rows
	ExecRows Kind = "execrows" // no rows; the count of rows affected
	CopyFrom Kind = "copyfrom" // a COPY stream of rows
)

// Route is where a statement that is not part of a transaction may run.
type Route string

// The routes of the directive @route.
const (
	Primary Route = "primary"
	Replica Route = "replica"
)

// Param is one parameter of a statement, in the order of its $n placeholders.
type Param struct {
	Name string // as written in the SQL file, without the @
	Type string // the PostgreSQL type, "[]" appended for an array
}

// Column is one column of a statement's rows, as sqlc takes it to be.
type Column struct {
	Name    string
	Type    string // the PostgreSQL type, "[]" appended for an array
	NotNull bool   // the generated code scans it into a type that takes no NULL
}

// Statement is what a query's SQL file says about it: the text that is sent
// and the policy that governs it. The registry in internal/db is generated;
// the zero value of each policy field is the directive's default.
//
// A statement with DerivedFrom is not in a file. The plugin wrote it to answer
// several calls of another one at once: it takes one array for each parameter of
// that one, and its rows are those of each call, with the call's ordinal, from 1,
// in a first column.
type Statement struct {
	Name   string  // the sqlc name, and the name in logs, metrics and traces
	Kind   Kind    //
	File   string  // the file under queries/
	Doc    string  // the doc comment without its directives
	SQL    string  // exactly what is sent to the server
	Params []Param //

	// Columns are those of its rows, for kinds that return rows.
	Columns []Column

	// Types are the types of the project's own, such as enums, domains and those of
	// extensions, whose arrays the statement takes or returns. The name is that of
	// the element, as to_regtype takes it.
	Types []string

	Route   Route         // @route; Primary when empty
	Timeout time.Duration // @timeout; 0 means the setting QUERY_TIMEOUT
	Retry   bool          // @retry
	Plan    string        // @plan: "", "indexed" or "uses NAME"
	Batch   string        // @batch: the :many that runs several calls at once; empty when absent
	Class   string        // @class; DefaultClass when empty
	Stream  bool          // @stream
	Queue   bool          // @queue

	DerivedFrom string // the :one with @batch; empty for a statement of a file

	// Reads is set if the statement changes nothing: it writes and locks no rows,
	// and the functions that it calls are PostgreSQL's own and only read. If its
	// answer is lost, nothing is in doubt.
	Reads bool
}
