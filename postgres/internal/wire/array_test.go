package wire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// TestArrays_LikePgx compares the encoded bytes with those of pgx.
func TestArrays_LikePgx(t *testing.T) {
	t.Parallel()
	ours, theirs := pgtype.NewMap(), pgtype.NewMap()
	quickArrays(ours)
	var age int32 = 7
	for _, c := range []struct {
		name  string
		oid   uint32
		value any
		quick bool
	}{
		{"Int8", pgtype.Int8ArrayOID, []int64{0, 1, -1, 1 << 62, -1 << 63}, true},
		{"Int4", pgtype.Int4ArrayOID, []int32{0, 1, -1, 1<<31 - 1, -1 << 31}, true},
		{"Bool", pgtype.BoolArrayOID, []bool{true, false, true}, true},
		{"Text", pgtype.TextArrayOID, []string{"", "a", `"{},\`, "ü", strings.Repeat("long ", 1000)}, true},
		{"Empty", pgtype.Int8ArrayOID, []int64{}, true},
		{"EmptyText", pgtype.TextArrayOID, []string{}, true},
		{"Null", pgtype.Int8ArrayOID, []int64(nil), true},
		{"NullText", pgtype.TextArrayOID, []string(nil), true},
		{"OtherSize", pgtype.Int8ArrayOID, []int32{1, 2}, false},
		{"WithNull", pgtype.Int4ArrayOID, []*int32{&age, nil}, false},
		{"OfAnything", pgtype.Int4ArrayOID, pgtype.FlatArray[any]{&age, (*int32)(nil)}, false},
		{"TwoDimensions", pgtype.Int4ArrayOID, [][]int32{{1, 2}, {3, 4}}, false},
		{"AsText", pgtype.Int8ArrayOID, "{1,2}", false},
	} {
		for _, format := range []int16{pgtype.BinaryFormatCode, pgtype.TextFormatCode} {
			before := []byte("what is there")
			got, err := ours.Encode(c.oid, format, c.value, bytes.Clone(before))
			want, wantErr := theirs.Encode(c.oid, format, c.value, bytes.Clone(before))
			if !bytes.Equal(got, want) || (got == nil) != (want == nil) || (err == nil) != (wantErr == nil) {
				t.Errorf("%s in format %d: %q, %v, want %q, %v", c.name, format, got, err, want, wantErr)
			}
		}
		plan := ours.PlanEncode(c.oid, pgtype.BinaryFormatCode, c.value)
		quick := false
		switch plan.(type) {
		case arrayPlan[int64], arrayPlan[int32], arrayPlan[bool], arrayPlan[string]:
			quick = true
		}
		if quick != c.quick {
			t.Errorf("%s: it is written by a %T", c.name, plan)
		}
	}
}
