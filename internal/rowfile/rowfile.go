// Package rowfile reads rows from CSV and NDJSON files as other programs write
// them, gzipped or not.
//
//	Reader   reader.go, source.go, gzip.go  an input, cut into records with their lines
//	Options  rowfile.go                     its format, columns and delimiter
//	CSV      csv.go, header.go              RFC 4180; the header names columns in any order
//	NDJSON   json.go                        an object a line, stricter than encoding/json
//	Reject   reject.go                      a record that is not taken over, as a line of NDJSON
//	ErrInput sniff.go                       what an input is that is in no format of these
//
// A record that is malformed costs itself and no other. Memory is bounded: a record
// of more than 8 MiB is a fault. Nothing here knows what the columns mean.
package rowfile

import (
	"errors"
	"fmt"
)

var (
	// ErrInput says that the input as a whole cannot be read: it is in another
	// format, has no header or an unknown column (ColumnError), or its reader failed.
	ErrInput = errors.New("the input cannot be read")

	// ErrArray says that the input is a JSON array where NDJSON has an object a
	// line. It is also ErrInput.
	ErrArray = errors.New("it is a JSON array")
)

// Unreadable marks an error of an input's reader as ErrInput.
func Unreadable(err error) error {
	if errors.Is(err, ErrInput) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrInput, err)
}

// Format is how rows are written.
type Format string

// The formats.
const (
	FormatAuto   Format = ""       // of an input: told by its first character
	FormatCSV    Format = "csv"    // RFC 4180, its first line naming the columns
	FormatNDJSON Format = "ndjson" // a JSON object a line
)

// Column is one column of the records.
type Column struct {
	Name string

	// JSON reports whether a field of CSV is JSON that stands for the same value
	// in a Reject, such as a number. Without it, fields are strings there.
	JSON func(text []byte) bool
}

// Options say how to read an input.
type Options struct {
	// Format is how the input is written. Defaults to FormatAuto.
	Format Format

	// Delimiter separates the fields of CSV. Defaults to a comma.
	Delimiter byte

	// IgnoreUnknown passes over columns and members that are unknown. Without it,
	// the first one is a ColumnError. Defaults to off. Names that start with an
	// underscore are passed over in any case.
	IgnoreUnknown bool

	// Columns are the columns that records may have.
	Columns []Column

	// Grow is asked before a record takes more than half a MiB of memory, at most
	// 8 MiB. Its error ends the reading. Defaults to no question.
	Grow func() error
}

// Kind is what a value was in the input.
type Kind byte

// The kinds of value.
const (
	Absent Kind = iota
	Null
	Text   // of CSV, which knows no types
	String // of JSON, as are the rest
	Number
	List
	Other // true, false, an object
)

// Value is one value of a record: a text, written out, or the text of a number
// or list.
type Value struct {
	Kind Kind
	Text []byte
}

// Record is what stands for one row in the input. It is valid until the next
// one is read.
type Record struct {
	Line   int64
	Raw    []byte  // as it stands in the input, without the end of its line
	Values []Value // in the order of Options.Columns

	// Field and Fault say why it could not be read. Fault is empty if it could.
	Field, Fault string

	// Cut reports that only the end of the input ended the record: with more
	// input it may become another one.
	Cut bool

	// Long reports that Raw is only the start of a record that is too long.
	Long bool
}
