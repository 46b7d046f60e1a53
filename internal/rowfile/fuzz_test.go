package rowfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// readAll reads all records of an input. It returns each value as a text ("\x00"
// for NULL and absent values), the faults, and a hash of all records.
func readAll(input io.Reader, format Format, columns []string) (rows [][]string, faults []string, read []byte, err error) {
	h := sha256.New()
	o := Options{Format: format}
	for _, name := range columns {
		o.Columns = append(o.Columns, Column{Name: name})
	}
	d, err := NewReader(input, o)
	if err != nil {
		return nil, nil, nil, err
	}
	line := int64(0)
	for {
		rec, err := d.Next()
		if errors.Is(err, io.EOF) {
			return rows, faults, h.Sum(nil), nil
		}
		if err != nil {
			return rows, faults, nil, err
		}
		if rec.Line <= line {
			return nil, nil, nil, errors.New("the lines do not rise")
		}
		line = rec.Line
		fmt.Fprintf(h, "%t %d ", rec.Long, len(rec.Raw))
		h.Write(rec.Raw)
		r := d.Reject(rec.Line, rec.Raw, "", rec.Fault)
		if b := r.AppendNDJSON(nil); !json.Valid(b) || bytes.Count(b, []byte("\n")) != 1 {
			return nil, nil, nil, errors.New("a reject is not a line of JSON: " + string(b))
		}
		if rec.Fault != "" {
			faults = append(faults, rec.Fault)
			continue
		}
		var row []string
		for _, v := range rec.Values {
			if v.Kind == Null || v.Kind == Absent {
				row = append(row, "\x00")
			} else {
				row = append(row, string(v.Text))
			}
		}
		rows = append(rows, row)
	}
}

// FuzzCSV compares records with encoding/csv where that returns no error. It also
// checks that reading byte by byte gives the same result as reading at once.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"1,2\n", "\"\",\n", "\"a\"\"b\",\"c\r\nd\"\r\n", "a\"b,c\n1,2\n", "\"a,b\n1,2\n3,4", "\"a\"b,c\n", "1\n1,2,3\n", "\r,\r\n", ",", "\"\n\"\"\n\",x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
			return
		}
		input := append([]byte("a,b\n"), body...)
		rows, faults, sum, err := readAll(bytes.NewReader(input), FormatCSV, []string{"a", "b"})
		if err != nil {
			t.Fatal(err)
		}
		slow, slowFaults, slowSum, err := readAll(iotest.OneByteReader(bytes.NewReader(input)), FormatCSV, []string{"a", "b"})
		if err != nil || !bytes.Equal(sum, slowSum) || len(rows) != len(slow) || len(faults) != len(slowFaults) {
			t.Fatalf("byte by byte: %v, %d rows, %d faults, not %d and %d", err, len(slow), len(slowFaults), len(rows), len(faults))
		}
		want, err := csv.NewReader(bytes.NewReader(input)).ReadAll()
		if err != nil {
			return
		}
		want = want[1:]
		if len(faults) > 0 || len(rows) != len(want) {
			t.Fatalf("%q: %d rows and faults %q, want %d rows", body, len(rows), faults, len(want))
		}
		for i, row := range rows {
			for j, got := range row {
				// encoding/csv cannot represent NULL and drops carriage returns.
				got = strings.ReplaceAll(strings.TrimPrefix(got, "\x00"), "\r\n", "\n")
				if got != strings.TrimPrefix(want[i][j], "\x00") && !strings.Contains(want[i][j], "\r") {
					t.Errorf("%q: row %d has %q, want %q", body, i, got, want[i][j])
				}
			}
		}
	})
}

// FuzzNDJSON compares with encoding/json. An accepted record must mean the same
// there, and a refused one must have a reason that encoding/json does not check.
func FuzzNDJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":"x","b":1}`, `{"a":null}`, `{"a":["x","\u00e9\ud83d\ude00"],"_c":{"d":[1,2,{}]}}`, `{"a":"\ud800"}`, `{"A":1}`, `{"a":1,"a":2}`,
		`{"a":"x"} {}`, `{"a":"`, `{"a":01}`, `{"a":1e5,"b":-0}`, `[]`, `{"a":true}`, "{\"a\":\"\x01\"}", `{"a":"\/\b\f\n\r\t\"\\"}`, `{`, `{"_":`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.ContainsAny(line, "\n") || !utf8.Valid(line) || bytes.HasPrefix(line, []byte("\ufeff")) {
			return
		}
		rows, faults, _, err := readAll(bytes.NewReader(line), FormatNDJSON, []string{"a", "b"})
		if errors.Is(err, ErrInput) {
			return // it looks like another format, or has an unknown member
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(rows)+len(faults) > 1 || len(rows)+len(faults) == 0 && len(bytes.TrimSpace(line)) > 0 {
			t.Fatalf("%q: %d rows, %d faults", line, len(rows), len(faults))
		}
		if len(rows) == 0 {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("%q is taken: %v", line, err)
		}
		for i, name := range []string{"a", "b"} {
			var text string
			got := rows[0][i]
			switch raw := want[name]; {
			case raw == nil || string(raw) == "null":
				text = "\x00"
			case json.Unmarshal(raw, &text) == nil:
			case string(raw) == "true", string(raw) == "false":
				text = ""
			default:
				text = string(raw)
			}
			if got != text {
				t.Errorf("%q: %s is %q, want %q", line, name, got, text)
			}
		}
	})
}

// TestManyFields reads a record of millions of fields. They must not take memory
// individually.
func TestManyFields(t *testing.T) {
	t.Parallel()
	const commas = 4 << 20
	record := bytes.Repeat([]byte{','}, commas)
	fields, n, _, fault := splitCSV(record, ',', nil, 2, nil)
	if len(fields) != 2 || cap(fields) > 8 || n != commas+1 || fault != "" {
		t.Errorf("%d fields are kept of %d, %s", cap(fields), n, fault)
	}
	input := io.MultiReader(strings.NewReader("a,b\n1,2\n"), bytes.NewReader(record), strings.NewReader("\n3,4\n"))
	rows, faults, _, err := readAll(input, FormatCSV, []string{"a", "b"})
	if err != nil || len(rows) != 2 || len(faults) != 1 || faults[0] != "has 4194305 fields, but the header has 2" {
		t.Errorf("%q, %q, %v", rows, faults, err)
	}
	if _, _, _, err := readAll(bytes.NewReader(record), FormatCSV, []string{"a", "b"}); !errors.Is(err, ErrInput) {
		t.Errorf("as a header: %v", err)
	}
}
