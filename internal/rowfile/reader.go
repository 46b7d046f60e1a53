package rowfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Reader splits an input into records of the given columns.
type Reader struct {
	*source
	columns []Column
	format  Format
	ignore  bool // unknown columns
	rec     Record

	csv     csvHeader
	fields  []csvField
	scratch []byte
	json    jsonParser
}

// NewReader starts to read r. It decompresses gzip, skips a byte order mark,
// detects the format unless it is given, and reads the header of CSV. If the input
// has an unsupported format, the error is ErrInput and names the format.
func NewReader(r io.Reader, o Options) (*Reader, error) {
	s, err := newSource(r, o.Grow)
	if err != nil {
		return nil, err
	}
	d := &Reader{source: s, columns: o.Columns, format: o.Format, ignore: o.IgnoreUnknown, csv: csvHeader{delimiter: cmp.Or(o.Delimiter, ',')}}
	d.rec.Values = make([]Value, len(o.Columns))
	first, err := d.firstCharacter()
	if err == nil {
		err = refuseMarkup(first)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case d.format != FormatAuto:
	case first == '{' || first == 0:
		// An input of only white space has no rows in either format.
		d.format = FormatNDJSON
	default:
		d.format = FormatCSV
	}
	if d.format == FormatCSV {
		if first == '{' {
			return nil, fmt.Errorf("%w: it is NDJSON, but CSV was expected", ErrInput)
		}
		return d, d.readHeader()
	}
	return d, d.refuseCSV(first)
}

// firstCharacter returns the first character that is not white space, or 0 if there
// is none.
func (d *Reader) firstCharacter() (byte, error) {
	for n := 1; ; n++ {
		start, err := d.peek(n)
		if err != nil || len(start) < n {
			return 0, err
		}
		switch start[n-1] {
		case ' ', '\t', '\r', '\n':
			if n < readSize {
				continue
			}
		}
		return start[n-1], nil
	}
}

// refuseCSV returns an error if an input that should be NDJSON is CSV, or has lines
// that end in CR only.
func (d *Reader) refuseCSV(first byte) error {
	cr := d.endsInCR()
	line := d.buf[d.from:]
	if first == '{' {
		i := bytes.IndexByte(line, '\r')
		if cr && bytes.HasSuffix(line[:i], []byte{'}'}) && line[i+1] == '{' {
			return errCR
		}
		return nil
	}
	line, _, _ = bytes.Cut(line, []byte{'\n'})
	if delimiter, _ := findDelimiter(withoutEnd(line), 0, d.columns); delimiter != 0 {
		return fmt.Errorf("%w: it is CSV, but NDJSON was expected", ErrInput)
	}
	return nil
}

func (d *Reader) readHeader() error {
	for {
		if d.endsInCR() {
			return errCR
		}
		end, err := d.endOfLine(0)
		switch {
		case err != nil:
			return err
		case end < 0:
			return fmt.Errorf("%w: the header is longer than %d bytes", ErrInput, maxRecord)
		case end == 0:
			return fmt.Errorf("%w: it is empty: the first line of CSV must name the columns", ErrInput)
		}
		line := withoutEnd(d.buf[d.from : d.from+end])
		if len(line) > 0 {
			if fault := d.parseHeader(line); fault != nil {
				fault.Line = d.line
				return fault
			}
		}
		d.take(end, 1)
		if len(line) > 0 {
			return nil
		}
	}
}

// parseHeader reads the CSV line with the column names.
func (d *Reader) parseHeader(line []byte) (fault *ColumnError) {
	if c := sheetDelimiter(line); c != 0 {
		return &ColumnError{Delimiter: c, Reason: "it sets the delimiter for Excel instead of naming columns: remove the line"}
	}
	header, fault := parseCSVHeader(line, d.csv.delimiter, d.columns, d.ignore)
	if fault == nil && !allIgnored(header.columns) {
		d.csv = header
		return nil
	}
	if c, name := findDelimiter(line, d.csv.delimiter, d.columns); c != 0 {
		return &ColumnError{Delimiter: c, Reason: "the fields of the header are separated by a " + name}
	}
	d.csv = header
	return fault
}

// allIgnored reports whether none of the header's fields is a column.
func allIgnored(columns []int) bool {
	for _, c := range columns {
		if c >= 0 {
			return false
		}
	}
	return true
}

// Format returns the format of the input.
func (d *Reader) Format() Format { return d.format }

// Header returns the columns that the header of CSV names, in its order and "-" for
// each that is ignored, and the delimiter. It is nil for another format.
func (d *Reader) Header() (names []string, delimiter byte) { return d.csv.names, d.csv.delimiter }

// Header returns the column names in the header of CSV, in its order and with "-"
// for each ignored one, and the delimiter. For another format it returns nil.
func (d *Reader) Has(column string) bool {
	return d.format != FormatCSV || slices.Contains(d.csv.names, column)
}

// Line returns the number of the next line, starting at 1.
func (d *Reader) Line() int64 { return d.line }

// AtEnd reports whether the whole input was read.
func (d *Reader) AtEnd() (bool, error) { return d.atEnd() }

// Trailing returns the error for bytes that follow the input's gzip data, once the
// end of the data is reached. It does not affect any record.
func (d *Reader) Trailing() error {
	if d.gzip == nil {
		return nil
	}
	return d.gzip.trailing
}

// Shrink releases the memory that a long record took. It returns false if it could
// not, because more than a small buffer is already read. The last record must no
// longer be in use.
func (d *Reader) Shrink() bool {
	clear(d.rec.Values)
	d.rec.Raw, d.fields, d.scratch, d.json = nil, nil, nil, jsonParser{}
	return d.source.shrink()
}

// Next returns the next record. The error is io.EOF at the end.
func (d *Reader) Next() (*Record, error) {
	clear(d.rec.Values)
	d.rec = Record{Values: d.rec.Values}
	for {
		if end, err := d.atEnd(); end || err != nil {
			return nil, errors.Join(err, eofIf(err == nil))
		}
		d.rec.Line = d.line
		end, err := d.endOfLine(0)
		if err != nil {
			return nil, err
		}
		if end < 0 {
			d.rec.Long = true
			d.rec.Raw, err = d.skipLine()
			d.rec.Cut = d.line == d.rec.Line
			d.rec.Fault = fmt.Sprintf("is longer than %d MiB", maxRecord>>20)
			return &d.rec, err
		}
		line := withoutEnd(d.buf[d.from : d.from+end])
		if len(bytes.TrimLeft(line, " \t\r")) == 0 && (d.format == FormatNDJSON || len(line) == 0) {
			d.take(end, 1)
			continue
		}
		d.rec.Cut = d.buf[d.from+end-1] != '\n'
		if d.format == FormatNDJSON {
			d.json.reset(line)
			d.rec.Raw = line
			d.rec.Field, d.rec.Fault = d.json.object(d.columns, d.rec.Values, d.ignore)
			if d.rec.Fault == unknownMember {
				return nil, &ColumnError{
					Line: d.line, Unknown: true,
					Reason: fmt.Sprintf("the object has an unknown member %q: known members are %s", d.rec.Field, oxford(d.columns)),
				}
			}
			d.take(end, 1)
			return &d.rec, nil
		}
		return d.nextCSV(end)
	}
}

func eofIf(end bool) error {
	if end {
		return io.EOF
	}
	return nil
}

// nextCSV reads a record whose first line ends at end. If the record is malformed,
// it consumes only the first line, and the following lines are read as if that line
// did not exist. An unclosed quote therefore does not consume the rest of the
// input.
func (d *Reader) nextCSV(first int) (*Record, error) {
	end, lines := first, int64(1)
	open := bytes.Count(d.buf[d.from:d.from+end], []byte{'"'})%2 == 1
	for open {
		more, err := d.endOfLine(end)
		if err != nil {
			return nil, err
		}
		if more < 0 || more == end {
			// The record is too long, or this is the end of the input.
			d.rec.Cut = more == end
			break
		}
		open = open != (bytes.Count(d.buf[d.from+end:d.from+more], []byte{'"'})%2 == 1)
		end = more
		lines++
	}
	if open {
		d.rec.Fault = quoteNotClosed
	} else {
		d.rec.Raw = withoutEnd(d.buf[d.from : d.from+end])
		var n int
		d.fields, n, d.scratch, d.rec.Fault = splitCSV(d.rec.Raw, d.csv.delimiter, d.fields, len(d.csv.columns), d.scratch)
		if d.rec.Fault == "" {
			d.rec.Fault = d.csv.values(d.fields, n, d.rec.Values)
			d.rec.Cut = d.buf[d.from+end-1] != '\n'
			d.take(end, lines)
			return &d.rec, nil
		}
	}
	d.rec.Raw = withoutEnd(d.buf[d.from : d.from+first])
	d.take(first, 1)
	return &d.rec, nil
}
