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

// Row is a row that was copied from its connection. For each column it has the
// length in four bytes (-1 for NULL) followed by the value. It is a single piece of
// memory without pointers, which costs the garbage collector little.
type Row []byte

// Append adds a column's value. nil is NULL.
func (r Row) Append(value []byte) Row {
	if value == nil {
		return binary.BigEndian.AppendUint32(r, math.MaxUint32)
	}
	return append(binary.BigEndian.AppendUint32(r, uint32(len(value))), value...)
}

// Cut returns the first column's value (nil for NULL) and the rest of the row.
func (r Row) Cut() (value []byte, rest Row) {
	n := int32(binary.BigEndian.Uint32(r))
	if n < 0 {
		return nil, r[4:]
	}
	return r[4 : 4+n : 4+n], r[4+n:]
}

// Scan reads all columns into dest, like pgx.Rows.Scan. types are those that the
// row's connection knows in addition to PostgreSQL's own. Several goroutines may
// scan one row at the same time.
func (r Row) Scan(fields []pgconn.FieldDescription, types []*pgtype.Type, dest []any) error {
	if len(dest) != len(fields) {
		return fmt.Errorf("%d destinations for %d columns", len(dest), len(fields))
	}
	var m *pgtype.Map
	for i := range dest {
		var value []byte
		value, r = r.Cut()
		field := &fields[i]
		if Scan(field, value, dest[i]) || len(types) == 0 && ScanText(field, value, dest[i]) {
			continue
		}
		if m == nil {
			var free func()
			m, free = TypeMap(types)
			defer free()
		}
		if err := m.Scan(field.DataTypeOID, field.Format, value, dest[i]); err != nil {
			return pgx.ScanArgError{ColumnIndex: i, FieldName: field.Name, Err: err}
		}
	}
	return nil
}

// TypeMap returns a map that knows the given types in addition to PostgreSQL's own. free
// must be called when it is no longer used.
func TypeMap(types []*pgtype.Type) (m *pgtype.Map, free func()) {
	m = typeMaps.Get().(*pgtype.Map)
	if len(types) == 0 {
		return m, func() { typeMaps.Put(m) }
	}
	for _, t := range types {
		m.RegisterType(t)
	}
	return m, func() {} // another row must not see these types
}

// typeMaps are for rows that were copied from their connection, because two
// goroutines must not use the same map.
var typeMaps = sync.Pool{New: func() any {
	m := pgtype.NewMap()
	timesInUTC(m)
	return m
}}
