package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"
)

// TestCopyAppender_LikePgx compares the appended bytes with those of pgx.
func TestCopyAppender_LikePgx(t *testing.T) {
	t.Parallel()
	m := pgtype.NewMap()
	text, n8, n4, yes, at := "text", int64(-7), int32(150), true, time.Date(1883, 3, 14, 1, 2, 3, 456_789_999, time.FixedZone("", -3600))
	for _, c := range []struct {
		name     string
		oid      uint32
		pointers []any
	}{
		{"Text", pgtype.TextOID, []any{&text, new(string), ptr(&text), new(*string), ptr("ü\x01")}},
		{"Varchar", pgtype.VarcharOID, []any{&text}},
		{"Int8", pgtype.Int8OID, []any{&n8, ptr(&n8), new(*int64), ptr(int64(1<<63 - 1)), ptr(int64(-1 << 63))}},
		{"Int4", pgtype.Int4OID, []any{&n4, ptr(&n4), new(*int32), ptr(int32(-1 << 31))}},
		{"Bool", pgtype.BoolOID, []any{&yes, new(bool), ptr(&yes), new(*bool)}},
		{"Timestamptz", pgtype.TimestamptzOID, []any{&at, ptr(&at), new(*time.Time), new(time.Time), ptr(time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)), ptr(time.Date(1, 1, 1, 0, 0, 0, 1500, time.UTC))}},
		{"Bytea", pgtype.ByteaOID, []any{ptr([]byte("\x00\xff")), ptr([]byte{}), new([]byte)}},
		{"JSON", pgtype.JSONBOID, []any{ptr(json.RawMessage(`{"a": 1}`)), new(json.RawMessage)}},
		{"Strings", pgtype.JSONBOID, []any{
			ptr([]string{}), new([]string), ptr([]string{"a", ""}), ptr([]string{"ü", `"`, `"\/`, "\n\x7f", "a\xffb", "<&>", "\u2028"}),
		}},
	} {
		for i, p := range c.pointers {
			add := CopyAppender(c.oid, p)
			if add == nil {
				t.Errorf("%s %d: pgx must encode it", c.name, i)
				continue
			}
			before := []byte("what is there")
			got := add(bytes.Clone(before), p)
			value, err := m.Encode(c.oid, pgtype.BinaryFormatCode, valueOf(p), []byte{})
			if err != nil {
				t.Fatal(c.name, i, err)
			}
			if !bytes.HasPrefix(got, before) {
				t.Errorf("%s %d: what was there is now %q", c.name, i, got)
			}
			if diff := cmp.Diff(decoded(c.name, fieldOf(value)), decoded(c.name, got[len(before):])); diff != "" {
				t.Errorf("%s %d (-pgx +own):\n%s", c.name, i, diff)
			}
		}
	}
}

// TestCopyAppender_Unknown checks that pgx encodes every value whose format depends on the type
// of the column.
func TestCopyAppender_Unknown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		oid     uint32
		pointer any
	}{
		{pgtype.Int4OID, new(int64)},
		{pgtype.Int8OID, new(int32)},
		{pgtype.JSONBOID, new(string)},
		{pgtype.UUIDOID, new(string)},
		{pgtype.TimestampOID, new(time.Time)},
		{pgtype.DateOID, new(time.Time)},
		{pgtype.TextArrayOID, new([]string)},
		{pgtype.JSONOID, new([]string)},
		{pgtype.JSONOID, new(json.RawMessage)},
		{pgtype.JSONBOID, new([]byte)},
		{pgtype.NumericOID, new(int64)},
		{12345678, new(string)},
		{pgtype.Int8OID, new(*int32)},
		{pgtype.TextOID, new([16]byte)},
	} {
		if CopyAppender(c.oid, c.pointer) != nil {
			t.Errorf("a %T for a column of type %d is not left to pgx", c.pointer, c.oid)
		}
	}
}

// valueOf returns the value to which a pointer points.
func valueOf(pointer any) any {
	switch p := pointer.(type) {
	case *[]byte:
		return *p
	case *json.RawMessage:
		return *p
	case *[]string:
		return *p
	}
	return pointer // pgx follows it
}

// fieldOf returns an encoded value with its length in front, as COPY sends it.
func fieldOf(value []byte) []byte { return Row(nil).Append(value) }

// decoded returns a field as a value to compare. Lists are equal if their strings are, because
// encoding/json also escapes characters of HTML.
func decoded(name string, field []byte) any {
	if name != "Strings" || len(field) < 5 {
		return field
	}
	if n := int(binary.BigEndian.Uint32(field)); n != len(field)-4 || field[4] != jsonbVersion {
		return field
	}
	var list []string
	if err := json.Unmarshal(field[5:], &list); err != nil {
		return err.Error()
	}
	return list
}

// ptr returns a pointer to v.
func ptr[T any](v T) *T { return &v }
