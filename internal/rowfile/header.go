package rowfile

import (
	"bytes"
	"fmt"
	"strings"
)

// maxHeader bounds the fields of a header whose unknown columns are ignored. It is
// the limit of spreadsheet programs.
const maxHeader = 16_384

// ColumnError means that the columns of an input do not fit the import. It also
// matches ErrInput.
type ColumnError struct {
	Line   int64
	Reason string // such as `the header has an unknown column "nick": known columns are id and username`

	// Delimiter is the delimiter that the header seems to use, or 0 if the delimiter is
	// not the problem. With it as Options.Delimiter, the header can be read.
	Delimiter byte

	// Unknown is true if a column is unknown, which Options.IgnoreUnknown allows.
	Unknown bool
}

func (e *ColumnError) Error() string {
	return fmt.Sprintf("%v: line %d: %s", ErrInput, e.Line, e.Reason)
}

// Unwrap returns ErrInput.
func (e *ColumnError) Unwrap() error { return ErrInput }

// delimiters are the delimiters that findDelimiter tries, with their names.
var delimiters = []struct {
	character byte
	name      string
}{{',', "comma"}, {';', "semicolon"}, {'\t', "tab"}, {'|', "pipe"}}

// ParseDelimiter returns the CSV delimiter named by text. That is the character
// itself, or comma, semicolon, tab or pipe.
func ParseDelimiter(text string) (byte, error) {
	for _, d := range delimiters {
		if text == d.name || text == `\t` && d.character == '\t' {
			return d.character, nil
		}
	}
	if len(text) == 1 && ValidDelimiter(text[0]) {
		return text[0], nil
	}
	return 0, fmt.Errorf("%q is not a delimiter: use a single character such as ; or one of comma, semicolon, tab and pipe", text)
}

// DelimiterName returns a text that ParseDelimiter accepts for a delimiter.
func DelimiterName(c byte) string {
	for _, d := range delimiters {
		if c == d.character {
			return d.name
		}
	}
	return string(rune(c))
}

// ValidDelimiter reports whether a character can separate fields. It must not be one
// that numbers, column names or quoting use.
func ValidDelimiter(c byte) bool {
	return c == '\t' || c >= ' ' && c < 0x7f && !strings.ContainsRune(`"+-._`, rune(c)) &&
		(c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
}

// csvHeader maps the fields of a CSV file to columns.
type csvHeader struct {
	delimiter byte
	columns   []int    // the column of each field, -1 if it is ignored
	names     []string // its name, "-" if it is ignored
}

// parseCSVHeader reads the first record of a CSV file. Its fields name columns in
// any order and in any case. It ignores names that start with an underscore, like
// NDJSON, and unknown names if ignore is set.
func parseCSVHeader(record []byte, delimiter byte, columns []Column, ignore bool) (csvHeader, *ColumnError) {
	h := csvHeader{delimiter: delimiter}
	fields, n, _, fault := splitCSV(record, delimiter, nil, maxHeader, nil)
	if fault != "" {
		return h, &ColumnError{Reason: "the header " + fault}
	}
	if n > maxHeader {
		return h, &ColumnError{Reason: fmt.Sprintf("the header has %d columns, but may have only %d", n, maxHeader)}
	}
	seen := make([]bool, len(columns))
	for _, f := range fields {
		name := bytes.TrimSpace(f.text)
		i := indexFold(columns, name)
		switch {
		case i < 0 && (ignore || len(name) > 0 && name[0] == '_'):
			h.columns, h.names = append(h.columns, -1), append(h.names, "-")
			continue
		case i < 0 && len(name) == 0:
			return h, &ColumnError{Unknown: true, Reason: "the header has a column without a name: known columns are " + oxford(columns)}
		case i < 0:
			return h, &ColumnError{Unknown: true, Reason: fmt.Sprintf("the header has an unknown column %q: known columns are %s", shortened(name), oxford(columns))}
		case seen[i]:
			return h, &ColumnError{Reason: fmt.Sprintf("the header has the column %s twice", columns[i].Name)}
		}
		seen[i] = true
		h.columns, h.names = append(h.columns, i), append(h.names, columns[i].Name)
	}
	return h, nil
}

// findDelimiter returns a delimiter, and its name, with which the fields of a header
// are at least two column names. If there is none, it returns 0.
func findDelimiter(record []byte, not byte, columns []Column) (delimiter byte, name string) {
	for _, d := range delimiters {
		if d.character == not {
			continue
		}
		fields, _, _, _ := splitCSV(record, d.character, nil, maxHeader, nil)
		known := 0
		for _, f := range fields {
			if indexFold(columns, bytes.TrimSpace(f.text)) >= 0 {
				known++
			}
		}
		if known >= 2 {
			return d.character, d.name
		}
	}
	return 0, ""
}

// sheetDelimiter returns the delimiter that the first line of a file sets for Excel,
// such as sep=; or 0 if there is none.
func sheetDelimiter(record []byte) byte {
	if rest, found := bytes.CutPrefix(record, []byte("sep=")); found && len(rest) == 1 {
		return rest[0]
	}
	return 0
}

// values assigns the fields of a record to its columns. n is the number of all
// fields.
func (h csvHeader) values(fields []csvField, n int, values []Value) (fault string) {
	if n != len(h.columns) {
		return fmt.Sprintf("has %d fields, but the header has %d", n, len(h.columns))
	}
	for i, f := range fields {
		if h.columns[i] < 0 {
			continue
		}
		v := Value{Kind: Text, Text: f.text}
		if len(f.text) == 0 && !f.quoted {
			v = Value{Kind: Null}
		}
		values[h.columns[i]] = v
	}
	return ""
}

func indexFold(columns []Column, name []byte) int {
	for i, c := range columns {
		if bytes.EqualFold([]byte(c.Name), name) {
			return i
		}
	}
	return -1
}
