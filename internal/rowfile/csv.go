package rowfile

import "bytes"

// csvField is a field of a CSV record (RFC 4180).
type csvField struct {
	text   []byte
	quoted bool // in quotes, so that an empty one is a text and not NULL
}

// splitCSV takes a record, without the end of its line, apart at the delimiter: it
// returns its first fields, up to most, and how many there are. A record can have millions,
// each of which would take the memory of many characters. encoding/csv does not
// tell an empty field from a quoted one, and changes line ends within quotes.
// scratch is what fields with quotes in them are written out to.
func splitCSV(record []byte, delimiter byte, fields []csvField, most int, scratch []byte) (_ []csvField, n int, _ []byte, fault string) {
	fields, scratch = fields[:0], scratch[:0]
	add := func(f csvField) {
		if n++; n <= most {
			fields = append(fields, f)
		}
	}
	if cap(scratch) < len(record) {
		// It never grows below, so that the fields stay where they are.
		scratch = make([]byte, 0, len(record))
	}
	for {
		if len(record) == 0 || record[0] != '"' {
			end := bytes.IndexByte(record, delimiter)
			if end < 0 {
				end = len(record)
			}
			if bytes.IndexByte(record[:end], '"') >= 0 {
				return fields, n, scratch, "has a quote inside a field that does not start with one: put the field in quotes and double those in it"
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
				return fields, n, scratch, "has text behind the closing quote of a field: double the quotes inside it"
			}
		}
		if len(record) == 0 {
			return fields, n, scratch, ""
		}
		record = record[1:]
	}
}

const quoteNotClosed = "has a quote that is not closed"

// oxford lists the columns' names as a sentence does.
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
