package rowfile

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"quern/internal/jsonfmt"
)

// Reject is a record that is not imported. It is valid until the callback that
// received it returns.
type Reject struct {
	Line   int64  // where it starts in the input, counted from 1
	Field  string // the column at fault; empty if it is the whole record
	Reason string // such as "has 51 characters, and may have 50"

	reader *Reader
	text   []byte
}

// rejectMember is the member of a rejected object that tells why it was
// rejected. Imports skip members that start with an underscore.
const rejectMember = "_reject"

// AppendNDJSON appends the reject to b as a line of NDJSON that can be corrected
// and imported again. The row is an object, or its text under "_raw". "_reject"
// has the reason.
func (r Reject) AppendNDJSON(b []byte) []byte {
	b = append(b, `{"_reject":{"line":`...)
	b = strconv.AppendInt(b, r.Line, 10)
	b = append(b, `,"field":`...)
	b = jsonfmt.AppendString(b, r.Field)
	b = append(b, `,"reason":`...)
	b = jsonfmt.AppendString(b, r.Reason)
	b = append(b, '}')
	record := r.Record()
	if record == nil {
		b = append(b, `,"_raw":`...)
		b = jsonfmt.AppendString(b, strings.ToValidUTF8(string(r.text), "\uFFFD"))
		return append(b, '}', '\n')
	}
	rest := bytes.TrimLeft(record[1:], " \t\r")
	if rest[0] != '}' {
		b = append(b, ',')
	}
	b = append(b, rest...)
	return append(b, '\n')
}

// Record returns the row as a JSON object, or nil if it cannot be parsed. It is
// created on demand, because it can be six times as large as the row.
func (r Reject) Record() json.RawMessage {
	if r.reader.format == FormatCSV {
		return r.reader.csv.object(r.text, r.reader.columns)
	}
	return withoutNote(r.text)
}

// Reject returns a Reject for the record that starts on the given line and has
// the text raw.
func (d *Reader) Reject(line int64, raw []byte, field, reason string) Reject {
	return Reject{Line: line, Field: field, Reason: reason, reader: d, text: raw}
}

// object converts a CSV record to a JSON object. It returns nil if the record is
// malformed.
func (h csvHeader) object(raw []byte, columns []Column) json.RawMessage {
	fields, n, _, fault := splitCSV(raw, h.delimiter, nil, len(h.names), nil)
	if fault != "" || n != len(h.names) {
		return nil
	}
	b := []byte{'{'}
	for i, f := range fields {
		if h.columns[i] < 0 {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = jsonfmt.AppendString(b, h.names[i])
		b = append(b, ':')
		switch {
		case len(f.text) == 0 && !f.quoted:
			b = append(b, "null"...)
		case columns[h.columns[i]].JSON != nil && columns[h.columns[i]].JSON(f.text):
			b = append(b, f.text...)
		default:
			b = jsonfmt.AppendString(b, string(f.text))
		}
	}
	return append(b, '}')
}

// withoutNote returns a JSON object without the reason of an earlier reject, or
// nil if the text is not an object.
func withoutNote(raw []byte) json.RawMessage {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '{' || !json.Valid(raw) {
		return nil
	}
	p := jsonParser{text: raw}
	p.take('{')
	name, _ := p.string()
	if string(name) != rejectMember || !p.take(':') || p.skip(0) != "" {
		return raw
	}
	p.take(',')
	return append([]byte{'{'}, raw[p.at:]...)
}
