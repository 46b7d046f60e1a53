package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres"
	"quern/postgres/testdata"
)

// everything is a row with columns of every kind, including those that wire.Scan reads, as
// values and as pointers.
type everything struct {
	Small                     int16
	Int                       int32
	Big                       int64
	Real                      float32
	Double                    float64
	Bool                      bool
	Text, Varchar, Char, Name string
	Time, Date                time.Time
	Bytes, Raw                []byte
	Doc                       json.RawMessage
	Tags                      []string
	Numbers                   []int32
	Status                    status
	Numeric                   string
	NullSmall                 *int16
	NullInt                   *int32
	NullBig                   *int64
	NullReal                  *float32
	NullDouble                *float64
	NullBool                  *bool
	NullText                  *string
	NullTime, NullDate        *time.Time
}

// status is an enum whose values would reveal an earlier value that was not overwritten.
type status string

func (s *status) Scan(src any) error {
	*s += status("scanned " + src.(string))
	return nil
}

func (e *everything) columns() []any {
	return []any{
		&e.Small, &e.Int, &e.Big, &e.Real, &e.Double, &e.Bool, &e.Text, &e.Varchar, &e.Char, &e.Name, &e.Time, &e.Date,
		&e.Bytes, &e.Raw, &e.Doc, &e.Tags, &e.Numbers, &e.Status, &e.Numeric,
		&e.NullSmall, &e.NullInt, &e.NullBig, &e.NullReal, &e.NullDouble, &e.NullBool, &e.NullText, &e.NullTime, &e.NullDate,
	}
}

const createEverything = `
CREATE TABLE everything (
    at int GENERATED ALWAYS AS IDENTITY, of text,
    small int2 NOT NULL DEFAULT 1, int int4 NOT NULL DEFAULT 2, big int8 NOT NULL DEFAULT 3,
    real float4 NOT NULL DEFAULT 0.1, double float8 NOT NULL DEFAULT 0.1, bool bool NOT NULL DEFAULT true,
    text text NOT NULL DEFAULT 'text', varchar varchar NOT NULL DEFAULT 'varchar', char char(6) NOT NULL DEFAULT 'char',
    name name NOT NULL DEFAULT 'name', time timestamptz NOT NULL DEFAULT '2024-02-29 12:00:00.123456+01',
    date date NOT NULL DEFAULT '2024-02-29', bytes bytea NOT NULL DEFAULT '\x00ff', raw jsonb NOT NULL DEFAULT '{"a": 1}',
    doc json NOT NULL DEFAULT ' [1, 2] ', tags jsonb DEFAULT '["a", "b"]', numbers int4[] NOT NULL DEFAULT '{1,2}',
    status job_status NOT NULL DEFAULT 'running', "numeric" numeric NOT NULL DEFAULT 1.50,
    null_small int2, null_int int4, null_big int8, null_real float4, null_double float8, null_bool bool, null_text text,
    null_time timestamptz, null_date date
)`

const listEverything = `
SELECT small, int, big, real, double, bool, text, varchar, char, name, time, date, bytes, raw, doc, tags, numbers, status,
       "numeric"::text, null_small, null_int, null_big, null_real, null_double, null_bool, null_text, null_time, null_date
FROM everything
WHERE of = $1
ORDER BY at`

// values are the values of a column, row by row. The last value of some columns cannot be
// read at all.
var values = map[string][]string{
	"small":       {"-32768", "32767", "0"},
	"int":         {"-2147483648", "2147483647", "0"},
	"big":         {"-9223372036854775808", "9223372036854775807", "0"},
	"real":        {"'NaN'", "'-Infinity'", "'-0'", "1e-45", "3.4028235e38"},
	"double":      {"'NaN'", "'Infinity'", "'-0'", "5e-324", "1.7976931348623157e308"},
	"bool":        {"false"},
	"text":        {"''", "repeat('x', 1 << 20)", "repeat('é', 128)", "repeat('y', 257)", `E'\u0001\n"\\'`, "'ünïcödé 😀'"},
	"varchar":     {"''", "repeat('x', 300)"},
	"char":        {"''", "'abcdef'"},
	"name":        {"''", "'accounts'"},
	"time":        {"'1999-12-31 23:59:59.999999+00'", "'0001-01-01 00:00:00+00 BC'", "'4713-01-01 00:00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'", "'1500-01-01 00:00:00.000001+00'", "'2000-01-01 00:00:00+00'", "'infinity'"},
	"date":        {"'1999-12-31'", "'4713-01-01 BC'", "'5874897-12-31'", "'0001-01-01'", "'-infinity'"},
	"bytes":       {`''`, `'\x00'`, "decode(repeat('ab', 1000), 'hex')"},
	"raw":         {"'null'", "'[]'", `'"a"'`},
	"doc":         {"'null'", "'{}'", "E' \\n {\"a\" :\\t1} \\r'", `'"\ud83d\ude00"'`},
	"tags":        {"NULL", "'[]'", "'null'", `'["one"]'`, `'["with, comma", "with ] bracket"]'`, `'["a \" quote", "a \\ backslash"]'`, `'["\u00e9", "é", "\n"]'`, `'[""]'`, `'["a", null]'`, `jsonb_build_array(repeat('long', 500))`, `'["a", 1]'`},
	"numbers":     {"'{}'", "'{-1,0,1}'"},
	"status":      {"'failed'", "'pending'"},
	`"numeric"`:   {"-1e-20"},
	"null_small":  {"-1", "NULL"},
	"null_int":    {"-1", "NULL"},
	"null_big":    {"-1", "NULL"},
	"null_real":   {"-1", "NULL"},
	"null_double": {"-1", "NULL"},
	"null_bool":   {"false", "NULL"},
	"null_text":   {"''", "'text'", "repeat('z', 1000)", "NULL"},
	"null_time":   {"'2024-02-29 12:00:00+00'", "NULL", "'-infinity'"},
	"null_date":   {"'2024-02-29'", "NULL", "'infinity'"},
}

// plainly runs a statement with pgx only.
func plainly[R any](ctx context.Context, pool *pgxpool.Pool, dests func(*R) []any, sql string, args ...any) (all []R, err error) {
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var row R
		if err := rows.Scan(dests(&row)...); err != nil {
			return all, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// streamed collects the rows of a stream.
func streamed[R any](ctx context.Context, db postgres.DBTX, dests func(*R) []any, sql string, args ...any) (all []R, err error) {
	for row, e := range postgres.Stream(ctx, db, dests, sql, args...) {
		if err = e; err == nil {
			all = append(all, row)
		}
	}
	return all, err
}

// sameAsPlainly compares a stream with pgx alone, both the rows and the error after them.
func sameAsPlainly[R any](t *testing.T, pool *pgxpool.Pool, db postgres.DBTX, dests func(*R) []any, sql string, args ...any) {
	t.Helper()
	want, wantErr := plainly(t.Context(), pool, dests, sql, args...)
	got, err := streamed(t.Context(), db, dests, sql, args...)
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("rows (-pgx +stream):\n%.2000s", diff)
	}
	var typed *postgres.Error
	switch {
	case err == nil && wantErr == nil:
	case !errors.As(err, &typed):
		t.Errorf("error %v is not typed, and pgx returned %v", err, wantErr)
	case wantErr == nil || typed.Err.Error() != wantErr.Error():
		t.Errorf("error %v, and pgx returned %v", typed.Err, wantErr)
	}
}

// TestStream reads each value in every format in which it can be sent.
func TestStream(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	d.Exec(t, createEverything)
	for column, list := range values {
		for _, value := range list {
			d.Exec(t, "INSERT INTO everything (of, "+column+") VALUES ($1, "+value+")", column)
		}
	}
	for column := range values {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			dests := (*everything).columns
			pool := d.Router.Pool()
			sameAsPlainly(t, pool, d.Router, dests, listEverything, column)
			// In text format.
			sameAsPlainly(t, pool, d.Router, dests, listEverything, pgx.QueryExecModeSimpleProtocol, column)
			err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				sameAsPlainly(t, pool, tx, dests, listEverything, column) // after BEGIN
				sameAsPlainly(t, pool, tx, dests, listEverything, column)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStream_Columns reads one column, more and fewer columns than destinations, and
// columns into destinations of other types.
func TestStream_Columns(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	pool := d.Router.Pool()
	sameAsPlainly(t, pool, d.Router, func(n *int64) []any { return []any{n} }, "SELECT g::bigint FROM generate_series(1, 3) g")
	sameAsPlainly(t, pool, d.Router, func(n *int64) []any { return []any{n} }, "SELECT g FROM generate_series(1, 3) g")
	sameAsPlainly(t, pool, d.Router, func(n *int32) []any { return []any{n} }, "SELECT g FROM generate_series(2147483646::bigint, 2147483648) g")
	sameAsPlainly(t, pool, d.Router, func(n *int32) []any { return []any{n} }, "SELECT NULLIF(g, 2) FROM generate_series(1, 3) g")
	sameAsPlainly(t, pool, d.Router, func(s *string) []any { return []any{s} }, "SELECT g FROM generate_series(1, 3) g")
	sameAsPlainly(t, pool, d.Router, func(n *int32) []any { return []any{n, new(string)} }, "SELECT 1")
	sameAsPlainly(t, pool, d.Router, func(n *int32) []any { return []any{n} }, "SELECT 1, 2")
	sameAsPlainly(t, pool, d.Router, func(n *int32) []any { return []any{nil, n} }, "SELECT 1, 2")
	sameAsPlainly(t, pool, d.Router, func(*int32) []any { return nil }, "SELECT FROM generate_series(1, 3)")
	sameAsPlainly(t, pool, d.Router, func(n *int32) []any { return []any{n} }, "SELECT 6 / (3 - g) FROM generate_series(1, 5) g")
}

// TestStream_Memory keeps rows while the buffers that they came in are reused.
func TestStream_Memory(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	type row struct {
		Short, Long string
		Null        *string
		List        []string
		Raw         []byte
		Doc         json.RawMessage
	}
	sameAsPlainly(t, d.Router.Pool(), d.Router, func(r *row) []any {
		return []any{&r.Short, &r.Long, &r.Null, &r.List, &r.Raw, &r.Doc}
	}, `SELECT g::text, repeat(g::text, 50), g::text, jsonb_build_array(g::text, g::text), convert_to(g::text, 'UTF8'), to_json(g)
	    FROM generate_series(100001, 103000) g`)
}

// TestStream_Left leaves loops early. All of them use one connection.
func TestStream_Left(t *testing.T) {
	t.Parallel()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 1})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := postgres.Stream(ctx, d.Router, func(n *int32) []any { return []any{n} },
		"SELECT g FROM generate_series(1, $1::integer) g", 2_000_000)
	for range 2 {
		for n, err := range stream {
			if err != nil || n > 2 {
				t.Fatal(n, err)
			}
			if n == 2 {
				break
			}
		}
	}
	rows := 0
	var last error
	for _, err := range stream {
		cancel()
		rows, last = rows+1, err
	}
	if rows == 2_000_000 || !errors.Is(last, context.Canceled) {
		t.Errorf("after the context has ended: %d rows, and %v", rows, last)
	}
	if d.Count(t, "SELECT 1") != 1 {
		t.Error("the connection is not available")
	}
}
