package wire

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// TestRow_Scan scans one row in several goroutines. Its columns are values that
// this package decodes, one that pgx decodes, NULL, and one of a type that only
// the row's connection knows.
func TestRow_Scan(t *testing.T) {
	t.Parallel()
	const mood = 100_000
	types := []*pgtype.Type{{Name: "mood", OID: mood, Codec: &pgtype.ArrayCodec{
		ElementType: &pgtype.Type{Name: "mood", OID: mood + 1, Codec: pgtype.TextCodec{}},
	}}}
	fields := []pgconn.FieldDescription{
		{Name: "id", DataTypeOID: pgtype.Int8OID, Format: pgtype.BinaryFormatCode},
		{Name: "name", DataTypeOID: pgtype.TextOID},
		{Name: "age", DataTypeOID: pgtype.Int4OID, Format: pgtype.BinaryFormatCode},
		{Name: "tags", DataTypeOID: pgtype.JSONBOID},
		{Name: "moods", DataTypeOID: mood},
	}
	type user struct {
		id    int64
		name  string
		age   *int32
		tags  []string
		moods []string
	}
	row := Row(nil).Append([]byte{0, 0, 0, 0, 0, 0, 0, 7}).Append([]byte{}).Append(nil).Append([]byte(`["\u0061"]`)).Append([]byte("{calm}"))
	want := user{id: 7, tags: []string{"a"}, moods: []string{"calm"}}
	var scans sync.WaitGroup
	for range 4 {
		scans.Go(func() {
			var got user
			if err := row.Scan(fields, types, []any{&got.id, &got.name, &got.age, &got.tags, &got.moods}); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(user{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	scans.Wait()

	var n int32
	var arg pgx.ScanArgError
	if err := row.Scan(fields[:2], nil, []any{new(int64), &n}); !errors.As(err, &arg) || arg.ColumnIndex != 1 || arg.FieldName != "name" {
		t.Errorf("a text into an int32: %v", err)
	}
	if err := row.Scan(fields, nil, []any{&n}); err == nil {
		t.Error("one destination for five columns: no error")
	}
}
