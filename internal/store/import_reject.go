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
	record := r.Record()
	if record == nil {
		b = append(b, `,"_raw":`...)
		b = jsontext.AppendString(b, strings.ToValidUTF8(string(r.text), "\uFFFD"))
		return append(b, '}', '\n')
	}
	rest := bytes.TrimLeft(record[1:], " \t\r")
	if rest[0] != '}' {
		b = append(b, ',')
	}
	b = append(b, rest...)
	return append(b, '\n')
}

// Record returns the row as a JSON object, nil when it cannot be read as one. It
// is made when it is asked for: it can be six times as large as the row.
func (r Reject) Record() json.RawMessage {
	if r.decoder.format == FormatCSV {
		return r.decoder.csv.object(r.text)
	}
	return withoutNote(r.text)
}

// reject makes of a fault what callers are told.
func (d *decoder) reject(at span, raw []byte, f fault) Reject {
	return Reject{Line: at.line, Field: f.field, Reason: f.reason, decoder: d, text: raw}
}

// object makes a JSON object of a CSV record, nil when it cannot be read.
func (h csvHeader) object(raw []byte) json.RawMessage {
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
		_, whole, _ := jsontext.Int(text)
		return whole && json.Valid(text)
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
		return raw
	}
	p.take(',')
	return append([]byte{'{'}, raw[p.at:]...)
}

// sorted puts faults in the order of the input.
func sorted(faults []fault) []fault {
	slices.SortStableFunc(faults, func(a, b fault) int { return cmp.Compare(a.record, b.record) })
	return faults
}
