package wire

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"pgregory.net/rapid"
)

// kind is a kind of value that this package decodes, with a generator.
type kind struct {
	oid    uint32
	format int16
	dest   func() any
	plain  string                       // a value that must not be left to pgx; "-" if all may be
	values func(*rapid.T) (wire []byte) // any value that a server could send
}

func kinds() map[string]kind {
	const text, binary = pgtype.TextFormatCode, pgtype.BinaryFormatCode
	all := map[string]kind{}
	add := func(name string, oid uint32, format int16, plain string, values func(*rapid.T) []byte, dests ...func() any) {
		for _, dest := range dests {
			all[fmt.Sprintf("%s/%T", name, dest())] = kind{oid, format, dest, plain, values}
		}
	}
	add("int2", pgtype.Int2OID, binary, "\x80\x01", numbers(2), to[int16], to[*int16])
	add("int4", pgtype.Int4OID, binary, "\x80\x00\x00\x01", numbers(4), to[int32], to[*int32])
	add("int8", pgtype.Int8OID, binary, "\x80\x00\x00\x00\x00\x00\x00\x01", numbers(8), to[int64], to[*int64])
	add("float4", pgtype.Float4OID, binary, "\x3f\x80\x00\x00", numbers(4), to[float32], to[*float32])
	add("float8", pgtype.Float8OID, binary, "\x3f\xf0\x00\x00\x00\x00\x00\x00", numbers(8), to[float64], to[*float64])
	add("bool", pgtype.BoolOID, binary, "\x01", numbers(1), to[bool], to[*bool])
	add("timestamptz", pgtype.TimestamptzOID, binary, "\x00\x02\xe0\x85\x1f\x5c\x00\x01", numbers(8), to[time.Time], to[*time.Time])
	add("date", pgtype.DateOID, binary, "\xff\xff\xff\x01", numbers(4), to[time.Time], to[*time.Time])
	add("bytea", pgtype.ByteaOID, binary, "\x00\xff", texts, to[[]byte])
	for name, oid := range map[string]uint32{
		"text": pgtype.TextOID, "varchar": pgtype.VarcharOID, "bpchar": pgtype.BPCharOID, "name": pgtype.NameOID,
	} {
		add(name, oid, text, "a", texts, to[string], to[*string])
		add(name+" binary", oid, binary, "", texts, to[string], to[*string])
	}
	for name, oid := range map[string]uint32{"json": pgtype.JSONOID, "jsonb": pgtype.JSONBOID} {
		add(name, oid, text, `["a", "b"]`, documents, to[[]byte], to[json.RawMessage], to[[]string])
		add(name+" binary", oid, binary, "-", binaryDocuments, to[[]byte], to[json.RawMessage], to[[]string])
	}
	return all
}

func to[T any]() any { return new(T) }

// numbers generates values of n bytes: random ones, zero, the greatest and the
// least.
func numbers(n int) func(*rapid.T) []byte {
	return func(t *rapid.T) []byte {
		edge := rapid.SampledFrom([]string{"\x80\x00", "\x7f\xff", "\x00\x00", "\xff\xff", "\x7f\xc0", ""}).Draw(t, "edge")
		fill := rapid.SampledFrom([]string{"\x00", "\xff", ""}).Draw(t, "fill")
		b := []byte(edge + strings.Repeat(fill, n))
		return append(b, rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "rest")...)[:n]
	}
}

func texts(t *rapid.T) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "text")
}

// documents generates JSON with white space, escapes and any nesting.
func documents(t *rapid.T) []byte {
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t"})
	plain := rapid.StringOf(rapid.SampledFrom([]rune("ab,[]{}: 'é😀\u007f\u2028")))
	str := rapid.OneOf(plain, plain, rapid.String())
	leaf := rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 7).Draw(t, "odd") == 0 {
			return rapid.SampledFrom([]string{"null", "1", "-1.5e400", "true", "{}", "[]", `{"a":["b"]}`, `"\ud800"`, `"\u00e9"`, `["a"]`, "\"\xff\""}).Draw(t, "leaf")
		}
		s := str.Draw(t, "string")
		if !strings.ContainsAny(s, "\"\\") && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
			return `"` + s + `"`
		}
		b, _ := json.Marshal(s)
		return string(b)
	})
	if rapid.IntRange(0, 9).Draw(t, "scalar") == 0 {
		return []byte(space.Draw(t, "space") + leaf.Draw(t, "scalar") + space.Draw(t, "space"))
	}
	var b strings.Builder
	b.WriteString(space.Draw(t, "space") + "[" + space.Draw(t, "space"))
	for i, s := range rapid.SliceOfN(leaf, 0, 4).Draw(t, "elements") {
		if i > 0 {
			b.WriteString("," + space.Draw(t, "space"))
		}
		b.WriteString(s + space.Draw(t, "space"))
	}
	b.WriteString("]" + space.Draw(t, "space"))
	return []byte(b.String())
}

// binaryDocuments generates jsonb, which begins with a version byte.
func binaryDocuments(t *rapid.T) []byte { return append([]byte{1}, documents(t)...) }

// TestScan compares all decoded values with pgx's result for the same bytes,
// and checks that the usual values are decoded here.
func TestScan(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds() {
		types := pgtype.NewMap()
		types.RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		field := &pgconn.FieldDescription{DataTypeOID: kind.oid, Format: kind.format}
		read := func(src []byte) (any, bool) {
			dest := kind.dest()
			return dest, Scan(field, src, dest)
		}
		same := func(t interface{ Fatalf(string, ...any) }, src []byte) {
			got, ok := read(src)
			if !ok {
				return
			}
			want := kind.dest()
			if err := types.Scan(kind.oid, kind.format, src, want); err != nil {
				t.Fatalf("%q: pgx returned %v, but Scan returned %v", src, err, reflect.ValueOf(got).Elem())
			}
			if !exactly(want, got) {
				t.Fatalf("%q (-pgx +read):\n%s", src, cmp.Diff(want, got))
			}
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, ok := read([]byte(kind.plain)); ok == (kind.plain == "-") {
				t.Errorf("%q: read %v", kind.plain, ok)
			}
			same(t, nil)
			same(t, []byte(kind.plain))
			rapid.Check(t, func(t *rapid.T) {
				same(t, kind.values(t))
				if kind.format == pgtype.BinaryFormatCode {
					same(t, rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "any length"))
				}
			})
		})
	}
}

// exactly distinguishes nil from empty, treats NaN as equal to itself, and
// compares the location of times.
func exactly(a, b any) bool {
	return reflect.DeepEqual(a, b) || fmt.Sprintf("%#v", deref(a)) == fmt.Sprintf("%#v", deref(b))
}

func deref(p any) any {
	v := reflect.ValueOf(p)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	return v.Interface()
}

// FuzzReadStrings is TestScan for any text, from a server that does not check
// its JSON.
func FuzzReadStrings(f *testing.F) {
	for _, s := range []string{`["a", "b"]`, `[]`, `[ ]`, `["a",]`, `["a"  ,"b"]`, `["\u0041"]`, "[\"\xff\"]", "[\"\x00\"]", `[["a"]]`, `["a" "b"]`, `[",", "]"]`, `null`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := readStrings(s)
		if !ok {
			return
		}
		var want []string
		if err := json.Unmarshal([]byte(s), &want); err != nil {
			t.Fatalf("%q: encoding/json returned %v", s, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q (-encoding/json +readStrings):\n%s", s, diff)
		}
	})
}

// TestReadJSON_Depth checks that values that encoding/json would refuse are
// left to it.
func TestReadJSON_Depth(t *testing.T) {
	t.Parallel()
	for depth, want := range map[int]bool{maxJSONDepth: true, maxJSONDepth + 1: false} {
		s := []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
		if _, ok := readJSON(s); ok != want || ok != json.Valid(s) {
			t.Errorf("depth %d: read %v, want %v; valid %v", depth, ok, want, json.Valid(s))
		}
	}
}

// mood is what sqlc generates for an enum.
type mood string

func (m *mood) Scan(src any) error {
	s, ok := src.(string)
	if !ok || s == "refused" {
		return fmt.Errorf("unsupported scan type for mood: %T", src)
	}
	*m = mood(s)
	return nil
}

// TestScanText compares values of a type that pgx does not know with pgx's result.
func TestScanText(t *testing.T) {
	t.Parallel()
	const enum = 16_400
	for _, c := range []struct {
		name   string
		oid    uint32
		format int16
		raw    []byte
		dest   func() any
		quick  bool
	}{
		{"Enum", enum, pgtype.TextFormatCode, []byte("calm"), to[mood], true},
		{"Empty", enum, pgtype.TextFormatCode, []byte{}, to[mood], true},
		{"Null", enum, pgtype.TextFormatCode, nil, to[mood], false},
		{"Refused", enum, pgtype.TextFormatCode, []byte("refused"), to[mood], false},
		{"Binary", enum, pgtype.BinaryFormatCode, []byte("calm"), to[mood], false},
		{"Known", pgtype.TextOID, pgtype.TextFormatCode, []byte("calm"), to[mood], false},
		{"NoScanner", enum, pgtype.TextFormatCode, []byte("calm"), to[string], false},
		{"TextScanner", enum, pgtype.TextFormatCode, []byte("calm"), to[pgtype.Text], false},
		{"Struct", enum, pgtype.TextFormatCode, []byte("calm"), to[sql.NullString], false},
	} {
		got, want := c.dest(), c.dest()
		field := &pgconn.FieldDescription{DataTypeOID: c.oid, Format: c.format}
		if ok := ScanText(field, c.raw, got); ok != c.quick {
			t.Errorf("%s: read %v, want %v", c.name, ok, c.quick)
		}
		if !c.quick {
			continue
		}
		if err := pgtype.NewMap().Scan(c.oid, c.format, c.raw, want); err != nil || !reflect.DeepEqual(want, got) {
			t.Errorf("%s: %v, pgx has %v, %v", c.name, reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem(), err)
		}
	}
}
