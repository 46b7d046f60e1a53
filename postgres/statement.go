package postgres

import "time"

// Kind is the kind of a statement's result, as sqlc names it.
type Kind string

// The kinds of statement that sqlc has and Quern supports.
const (
	One      Kind = "one"      // exactly one row, or ErrNotFound
	Many     Kind = "many"     // any number of rows
	Exec     Kind = "exec"     // no rows
	ExecRows Kind = "execrows" // no rows; the count of rows affected
	CopyFrom Kind = "copyfrom" // a COPY stream of rows
)

// Route is where a statement outside a transaction may run.
type Route string

// The routes of the directive @route.
const (
	Primary Route = "primary"
	Replica Route = "replica"
)

// Param is one parameter of a statement, in the order of the $n placeholders.
type Param struct {
	Name string // as in the SQL file, without the @
	Type string // the PostgreSQL type, with "[]" appended for an array
}

// Column is one column of a statement's rows, as sqlc reports it.
type Column struct {
	Name    string
	Type    string // the PostgreSQL type, with "[]" appended for an array
	NotNull bool   // the generated code scans it into a type that cannot be NULL
}

// KeyColumn is a column that a statement compares with a parameter by =, to find the row that
// it changes.
type KeyColumn struct {
	Column string
	Param  int // the index in Params
}

// Statement describes a query of a SQL file: the text that is sent and its policy. The
// registry in internal/db is generated. The zero value of each policy field is the
// directive's default.
//
// A statement with DerivedFrom is not in a file. The plugin derived it from another
// statement, to answer several calls of that statement at once. Each of its parameters is
// an array of that statement's parameter. Its rows are those of the calls, with the ordinal
// of the call, starting at 1, as their first column. If it changes rows, it omits the calls
// whose row it does not find, or finds locked.
type Statement struct {
	Name   string  // the sqlc name, also in logs, metrics and traces
	Kind   Kind    //
	File   string  // the file below queries/
	Doc    string  // the doc comment without its directives
	SQL    string  // the exact text that is sent to the server
	Params []Param //

	// Columns are the columns of its rows, for kinds that return rows.
	Columns []Column

	// Types are the project's types, such as enums, domains and types of extensions, whose
	// arrays the statement takes or returns. Each is the name of the element type, as
	// to_regtype takes it.
	Types []string

	Route   Route         // @route; Primary when empty
	Timeout time.Duration // @timeout; 0 means the setting QUERY_TIMEOUT
	Retry   bool          // @retry
	Plan    string        // @plan: "", "indexed" or "uses NAME"
	Batch   string        // @batch: the :many that runs several calls at once; empty if there is none
	Class   string        // @class; DefaultClass when empty
	Stream  bool          // @stream
	Queue   bool          // @queue

	DerivedFrom string // the statement with @batch; empty for a statement of a file

	// Key is how a derived UPDATE or DELETE finds the row of each call. Together, the columns
	// identify a row. It is empty for all other statements.
	Key []KeyColumn

	// Reads is set if the statement changes nothing. It neither writes nor locks rows, and
	// calls only functions of PostgreSQL that read. If its answer is lost, nothing is in
	// doubt.
	Reads bool
}
