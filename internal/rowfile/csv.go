package rowfile

import "bytes"

// csvField is a field of a CSV record (RFC 4180).
type csvField struct {
	text   []byte
	quoted bool // in quotes, so an empty field is an empty text and not NULL
}

// splitCSV splits a record, without its line end, at the delimiter. It returns the first
// fields, up to most, and the number of all fields. A record can have millions of fields,
// and each would take the memory of many characters. encoding/csv is not used because it
// does not distinguish an empty field from a quoted one, and changes line ends inside
// quotes. Fields that contain quotes are unescaped into scratch.
func splitCSV(record []byte, delimiter byte, fields []csvField, most int, scratch []byte) (_ []csvField, n int, _ []byte, fault string) {
	fields, scratch = fields[:0], scratch[:0]
	add := func(f csvField) {
		if n++; n <= most {
			fields = append(fields, f)
		}
	}
	if cap(scratch) < len(record) {
		// scratch does not grow in the loop, so fields that point into it stay valid.
		scratch = make([]byte, 0, len(record))
	}
	for {
		if len(record) == 0 || record[0] != '"' {
			end := bytes.IndexByte(record, delimiter)
			if end < 0 {
				end = len(record)
			}
			if bytes.IndexByte(record[:end], '"') >= 0 {
				return fields, n, scratch, "has a quote inside an unquoted field: quote the field and double the quotes inside it"
			}
			add(csvField{text: record[:end]})
			record = record[end:]
		} else {
			record = record[1:]
			from := len(scratch)
			field := csvField{quoted: true}
			for {
				end := bytes.IndexByte(record, '"')
				if end < 0 {
					return fields, n, scratch, quoteNotClosed
				}
				doubled := end+1 < len(record) && record[end+1] == '"'
				if !doubled && len(scratch) == from {
					field.text = record[:end]
					record = record[end+1:]
					break
				}
				scratch = append(scratch, record[:end]...)
				if !doubled {
					field.text = scratch[from:]
					record = record[end+1:]
					break
				}
				scratch = append(scratch, '"')
				record = record[end+2:]
			}
			add(field)
			if len(record) > 0 && record[0] != delimiter {
				return fields, n, scratch, "has text after the closing quote of a field: double the quotes inside it"
			}
		}
		if len(record) == 0 {
			return fields, n, scratch, ""
		}
		record = record[1:]
	}
}

const quoteNotClosed = "has a quote that is not closed"

// oxford lists the names of columns with commas and "and".
func oxford(columns []Column) string {
	var b bytes.Buffer
	for i, c := range columns {
		switch {
		case i > 0 && i == len(columns)-1:
			b.WriteString(" and ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(c.Name)
	}
	return b.String()
}
