package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"quern/internal/jsontext"
)

// rejectMember is the member of an object that says why it is in a file of
// rejects. Imports pass over what starts with an underscore.
const rejectMember = "_reject"

// AppendNDJSON appends the reject to b as a line of NDJSON, which can be mended
// and imported again: the row as an object, or its text under "_raw", and under
// "_reject" what is wrong with it.
func (r Reject) AppendNDJSON(b []byte) []byte {
	b = append(b, `{"_reject":{"line":`...)
	b = strconv.AppendInt(b, r.Line, 10)
	b = append(b, `,"field":`...)
	b = jsontext.AppendString(b, r.Field)
	b = append(b, `,"reason":`...)
	b = jsontext.AppendString(b, r.Reason)
	b = append(b, '}')
	if r.Record == nil {
		b = append(b, `,"_raw":`...)
		b = jsontext.AppendString(b, r.Raw)
		return append(b, '}', '\n')
	}
	rest := bytes.TrimLeft(r.Record[1:], " \t\r")
	if rest[0] != '}' {
		b = append(b, ',')
	}
	b = append(b, rest...)
	return append(b, '\n')
}

// reject makes of a fault what callers are told.
func (d *decoder) reject(at span, raw []byte, f fault) Reject {
	r := Reject{Line: at.line, Field: f.field, Reason: f.reason}
	if d.format == FormatCSV {
		r.Record = d.csv.object(raw)
	} else {
		r.Record = withoutNote(raw)
	}
	if r.Record == nil {
		r.Raw = strings.ToValidUTF8(string(raw), "\uFFFD")
	}
	return r
}

// object makes a JSON object of a CSV record, nil when it cannot be read.
func (h csvHeader) object(raw []byte) json.RawMessage {
	fields, _, fault := splitCSV(raw, nil, nil)
	if fault != "" || len(fields) != len(h.names) {
		return nil
	}
	b := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsontext.AppendString(b, h.names[i])
		b = append(b, ':')
		switch {
		case len(f.text) == 0 && !f.quoted:
			b = append(b, "null"...)
		case isJSONOf(h.names[i], f.text):
			b = append(b, f.text...)
		default:
			b = jsontext.AppendString(b, string(f.text))
		}
	}
	return append(b, '}')
}

// isJSONOf reports whether a field of CSV is JSON that the column takes as it
// is.
func isJSONOf(column string, text []byte) bool {
	switch column {
	case "id", "user_id", "age", "version":
		_, err := strconv.ParseInt(string(text), 10, 64)
		return err == nil && json.Valid(text)
	case "tags":
		_, reason := parseTags(text)
		return reason == ""
	}
	return false
}

// withoutNote returns a JSON object without the note of an earlier reject, nil
// when the text is no such object.
func withoutNote(raw []byte) json.RawMessage {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '{' || !json.Valid(raw) {
		return nil
	}
	p := jsonParser{text: raw}
	p.take('{')
	name, _ := p.string()
	if string(name) != rejectMember || !p.take(':') || p.skip(0) != "" {
		return bytes.Clone(raw)
	}
	p.take(',')
	return append([]byte{'{'}, raw[p.at:]...)
}

// sorted puts faults in the order of the input.
func sorted(faults []fault) []fault {
	slices.SortStableFunc(faults, func(a, b fault) int { return cmp.Compare(a.record, b.record) })
	return faults
}
