package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Row is a row that was copied off its connection: for each column the length, in
// four bytes and -1 for NULL, and then the value. It is one piece of memory without
// pointers, so that it costs the garbage collector little.
type Row []byte

// Append adds a column's value. nil is NULL.
func (r Row) Append(value []byte) Row {
	if value == nil {
		return binary.BigEndian.AppendUint32(r, math.MaxUint32)
	}
	return append(binary.BigEndian.AppendUint32(r, uint32(len(value))), value...)
}

// Cut returns the first column's value, nil for NULL, and the row without it.
func (r Row) Cut() (value []byte, rest Row) {
	n := int32(binary.BigEndian.Uint32(r))
	if n < 0 {
		return nil, r[4:]
	}
	return r[4 : 4+n : 4+n], r[4+n:]
}

// Scan reads all columns into dest, as pgx.Rows.Scan does. types are those that the
// row's connection knows besides PostgreSQL's own. Several goroutines may scan one
// row at the same time.
func (r Row) Scan(fields []pgconn.FieldDescription, types []*pgtype.Type, dest []any) error {
	if len(dest) != len(fields) {
		return fmt.Errorf("%d destinations for %d columns", len(dest), len(fields))
	}
	var m *pgtype.Map
	for i := range dest {
		var value []byte
		value, r = r.Cut()
		field := &fields[i]
		if Scan(field, value, dest[i]) {
			continue
		}
		if m == nil {
			m = typeMaps.Get().(*pgtype.Map)
			if len(types) == 0 {
				defer typeMaps.Put(m)
			}
			for _, t := range types {
				m.RegisterType(t)
			}
		}
		if err := m.Scan(field.DataTypeOID, field.Format, value, dest[i]); err != nil {
			return pgx.ScanArgError{ColumnIndex: i, FieldName: field.Name, Err: err}
		}
	}
	return nil
}

// typeMaps are for rows that were taken off their connection, because two goroutines
// must not use one map.
var typeMaps = sync.Pool{New: func() any {
	m := pgtype.NewMap()
	timesInUTC(m)
	return m
}}
