// Package rowfile reads rows from CSV and NDJSON files written by other programs, gzipped
// or not.
//
//	Reader   reader.go, source.go, gzip.go  an input, split into records with line numbers
//	Options  rowfile.go                     its format, columns and delimiter
//	CSV      csv.go, header.go              RFC 4180; the header names columns in any order
//	NDJSON   json.go                        one object per line, stricter than encoding/json
//	Reject   reject.go                      a record that is not imported, as a line of NDJSON
//	ErrInput sniff.go                       the name of an unsupported format
//
// A malformed record does not affect other records. Memory is bounded, and a record of
// more than 8 MiB is a fault. The package does not know the meaning of columns.
package rowfile

import (
	"errors"
	"fmt"
)

var (
	// ErrInput means that the input as a whole cannot be read: it has another format, no
	// header or an unknown column (ColumnError), or its reader failed.
	ErrInput = errors.New("the input cannot be read")

	// ErrArray means that the input is a JSON array instead of NDJSON. It also matches
	// ErrInput.
	ErrArray = errors.New("it is a JSON array")
)

// Unreadable wraps an error of an input's reader with ErrInput.
func Unreadable(err error) error {
	if errors.Is(err, ErrInput) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrInput, err)
}

// Format is the format of an input.
type Format string

// The formats.
const (
	FormatAuto   Format = ""       // detected from the first character of an input
	FormatCSV    Format = "csv"    // RFC 4180; the first line names the columns
	FormatNDJSON Format = "ndjson" // one JSON object per line
)

// Column is one column of the records.
type Column struct {
	Name string

	// JSON reports whether a CSV field is valid JSON with the same value, such as a number. It
	// is used to convert a Reject to JSON. If it is nil, all fields are converted to strings.
	JSON func(text []byte) bool
}

// Options sets how to read an input.
type Options struct {
	// Format is the format of the input. Defaults to FormatAuto.
	Format Format

	// Delimiter separates the fields of CSV. Defaults to a comma.
	Delimiter byte

	// IgnoreUnknown skips unknown columns and members. Without it, the first one is a
	// ColumnError. Names that start with an underscore are always skipped. Defaults to off.
	IgnoreUnknown bool

	// Columns are the columns that records may have.
	Columns []Column

	// Grow is called before a record takes more than half a MiB of memory, at most 8 MiB. If
	// it returns an error, reading ends with that error. Defaults to none.
	Grow func() error
}

// Kind is the type of a value in the input.
type Kind byte

// The kinds of values.
const (
	Absent Kind = iota
	Null
	Text   // of CSV, which has no types
	String // of JSON, like the following kinds
	Number
	List
	Other // true, false, an object
)

// Value is one value of a record. Its text is an unescaped string, or the source text of
// a number or list.
type Value struct {
	Kind Kind
	Text []byte
}

// Record is one row of the input. It is valid until the next one is read.
type Record struct {
	Line   int64
	Raw    []byte  // the source text without its line end
	Values []Value // in the order of Options.Columns

	// Field and Fault tell why it could not be read. Fault is empty if it could.
	Field, Fault string

	// Cut is true if the record was ended only by the end of the input. With more input it
	// may become another record.
	Cut bool

	// Long is true if Raw is only the start of a record that is too long.
	Long bool
}
