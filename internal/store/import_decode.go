package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// kind is what a value was in the input.
type kind byte

const (
	kindAbsent kind = iota
	kindNull
	kindText   // of CSV, which knows no types
	kindString // of JSON, as are the rest
	kindNumber
	kindList
	kindOther // true, false, an object
)

// value is one value of a record: a text, written out, or the text of a number
// or list.
type value struct {
	kind kind
	text []byte
}

// record is what stands for one row in the input. It is valid until the next
// one is read.
type record struct {
	line   int64
	raw    []byte // as it stands in the input, without the end of its line
	values []value

	// field and fault say why it could not be read.
	field, fault string

	// cut reports that only the end of the input ended the record: with more
	// input it may become another one.
	cut bool

	// long reports that raw is only the start of a record that is too long.
	long bool
}

// decoder cuts an input into records of the given columns.
type decoder struct {
	*source
	columns []string
	format  Format
	ignore  bool // unknown columns
	rec     record

	csv     csvHeader
	fields  []csvField
	scratch []byte
	json    jsonParser
}

// shrink gives up all memory that a long record has taken, and reports whether it
// could.
func (d *decoder) shrink() bool {
	clear(d.rec.values)
	d.rec.raw, d.fields, d.scratch, d.json = nil, nil, nil, jsonParser{}
	return d.source.shrink()
}

// newDecoder finds out the format, unless it is given, and reads the header.
func newDecoder(s *source, o ImportOptions, columns []string) (*decoder, error) {
	d := &decoder{source: s, columns: columns, format: o.Format, ignore: o.IgnoreUnknown, csv: csvHeader{delimiter: o.Delimiter}}
	d.rec.values = make([]value, len(columns))
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
		// With nothing but white space there are no rows in either format.
		d.format = FormatNDJSON
	default:
		d.format = FormatCSV
	}
	if d.format == FormatCSV {
		if first == '{' {
			return nil, fmt.Errorf("%w: it is NDJSON, and was to be CSV", ErrInput)
		}
		return d, d.readHeader()
	}
	return d, d.refuseCSV(first)
}

// firstCharacter returns the first character that is not white space, 0 if there
// is none.
func (d *decoder) firstCharacter() (byte, error) {
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

// refuseCSV returns an error if what is to be NDJSON is CSV, or has lines that end
// in CR alone.
func (d *decoder) refuseCSV(first byte) error {
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
		return fmt.Errorf("%w: it is CSV, and was to be NDJSON", ErrInput)
	}
	return nil
}

func (d *decoder) readHeader() error {
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
			return fmt.Errorf("%w: it is empty: the first line of CSV names the columns", ErrInput)
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

// parseHeader reads the line that names the columns of CSV.
func (d *decoder) parseHeader(line []byte) (fault *ColumnError) {
	if c := sheetDelimiter(line); c != 0 {
		return &ColumnError{Delimiter: c, Reason: "it names the delimiter for Excel and no columns: remove the line"}
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

// allIgnored reports whether no field of a header is a column.
func allIgnored(columns []int) bool {
	for _, c := range columns {
		if c >= 0 {
			return false
		}
	}
	return true
}

// has reports whether a column may be in the records.
func (d *decoder) has(column string) bool {
	return d.format != FormatCSV || indexOf(d.csv.names, []byte(column)) >= 0
}

// next reads a record. The error is io.EOF at the end.
func (d *decoder) next() (*record, error) {
	clear(d.rec.values)
	d.rec = record{values: d.rec.values}
	for {
		if end, err := d.atEnd(); end || err != nil {
			return nil, errors.Join(err, eofIf(err == nil))
		}
		d.rec.line = d.line
		end, err := d.endOfLine(0)
		if err != nil {
			return nil, err
		}
		if end < 0 {
			d.rec.long = true
			d.rec.raw, err = d.skipLine()
			d.rec.cut = d.line == d.rec.line
			d.rec.fault = fmt.Sprintf("is longer than %d MiB", maxRecord>>20)
			return &d.rec, err
		}
		line := withoutEnd(d.buf[d.from : d.from+end])
		if len(bytes.TrimLeft(line, " \t\r")) == 0 && (d.format == FormatNDJSON || len(line) == 0) {
			d.take(end, 1)
			continue
		}
		d.rec.cut = d.buf[d.from+end-1] != '\n'
		if d.format == FormatNDJSON {
			d.json.reset(line)
			d.rec.raw = line
			d.rec.field, d.rec.fault = d.json.object(d.columns, d.rec.values, d.ignore)
			if d.rec.fault == unknownMember {
				return nil, &ColumnError{
					Line: d.line, Unknown: true,
					Reason: fmt.Sprintf("the object has a member %q: known are %s", d.rec.field, oxford(d.columns)),
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

// nextCSV reads a record whose first line ends at end. A record that is
// malformed costs its first line and no more: what follows is read as if that
// line were not there, so that a quote which is not closed does not swallow the
// rest.
func (d *decoder) nextCSV(first int) (*record, error) {
	end, lines := first, int64(1)
	open := bytes.Count(d.buf[d.from:d.from+end], []byte{'"'})%2 == 1
	for open {
		more, err := d.endOfLine(end)
		if err != nil {
			return nil, err
		}
		if more < 0 || more == end {
			// Too long, or the end of the input.
			d.rec.cut = more == end
			break
		}
		open = open != (bytes.Count(d.buf[d.from+end:d.from+more], []byte{'"'})%2 == 1)
		end = more
		lines++
	}
	if open {
		d.rec.fault = quoteNotClosed
	} else {
		d.rec.raw = withoutEnd(d.buf[d.from : d.from+end])
		var n int
		d.fields, n, d.scratch, d.rec.fault = splitCSV(d.rec.raw, d.csv.delimiter, d.fields, len(d.csv.columns), d.scratch)
		if d.rec.fault == "" {
			d.rec.fault = d.csv.values(d.fields, n, d.rec.values)
			d.rec.cut = d.buf[d.from+end-1] != '\n'
			d.take(end, lines)
			return &d.rec, nil
		}
	}
	d.rec.raw = withoutEnd(d.buf[d.from : d.from+first])
	d.take(first, 1)
	return &d.rec, nil
}
