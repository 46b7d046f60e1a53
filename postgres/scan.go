package postgres

import (
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// scanWire reads one value from the wire into dest when it is of a common type
// in the form that pgx asks the server for, and reports whether it did. It
// gives what pgx would, for a fraction of the time; what it leaves is pgx's.
// Nothing that it sets shares memory with raw.
func scanWire(field *pgconn.FieldDescription, raw []byte, dest any) bool {
	switch dest := dest.(type) {
	case *int16:
		return isBinary(field, pgtype.Int2OID) && scan(dest, raw, wireInt2)
	case *int32:
		return isBinary(field, pgtype.Int4OID) && scan(dest, raw, wireInt4)
	case *int64:
		return isBinary(field, pgtype.Int8OID) && scan(dest, raw, wireInt8)
	case *float32:
		return isBinary(field, pgtype.Float4OID) && scan(dest, raw, wireFloat4)
	case *float64:
		return isBinary(field, pgtype.Float8OID) && scan(dest, raw, wireFloat8)
	case *bool:
		return isBinary(field, pgtype.BoolOID) && scan(dest, raw, wireBool)
	case *time.Time:
		return isBinary(field, pgtype.TimestamptzOID) && scan(dest, raw, wireTimestamptz) ||
			isBinary(field, pgtype.DateOID) && scan(dest, raw, wireDate)
	case **int16:
		return isBinary(field, pgtype.Int2OID) && scanNull(dest, raw, wireInt2)
	case **int32:
		return isBinary(field, pgtype.Int4OID) && scanNull(dest, raw, wireInt4)
	case **int64:
		return isBinary(field, pgtype.Int8OID) && scanNull(dest, raw, wireInt8)
	case **float32:
		return isBinary(field, pgtype.Float4OID) && scanNull(dest, raw, wireFloat4)
	case **float64:
		return isBinary(field, pgtype.Float8OID) && scanNull(dest, raw, wireFloat8)
	case **bool:
		return isBinary(field, pgtype.BoolOID) && scanNull(dest, raw, wireBool)
	case **time.Time:
		return isBinary(field, pgtype.TimestamptzOID) && scanNull(dest, raw, wireTimestamptz) ||
			isBinary(field, pgtype.DateOID) && scanNull(dest, raw, wireDate)
	case *[]byte:
		return (isBinary(field, pgtype.ByteaOID) || isJSON(field)) && scan(dest, raw, wireBytes)
	case *json.RawMessage:
		return isJSON(field) && scan(dest, raw, wireJSON)
	case *string:
		if raw == nil || !isText(field) {
			return false
		}
		*dest = string(raw)
		return true
	case **string:
		if !isText(field) {
			return false
		}
		*dest = nil
		if raw != nil {
			value := string(raw)
			*dest = &value
		}
		return true
	case *[]string:
		if raw == nil || !isJSON(field) {
			return false
		}
		list, ok := wireStrings(string(raw))
		if ok {
			*dest = list
		}
		return ok
	}
	return false
}

func isBinary(field *pgconn.FieldDescription, oid uint32) bool {
	return field.DataTypeOID == oid && field.Format == pgtype.BinaryFormatCode
}

// scanInt reads an integer of either size and in either format: what pgx asks
// for depends on how it executes.
func scanInt(field *pgconn.FieldDescription, raw []byte) (int64, bool) {
	switch {
	case isBinary(field, pgtype.Int8OID):
		return wireInt8(raw)
	case isBinary(field, pgtype.Int4OID):
		value, ok := wireInt4(raw)
		return int64(value), ok
	case field.DataTypeOID == pgtype.Int8OID, field.DataTypeOID == pgtype.Int4OID:
		value, err := strconv.ParseInt(string(raw), 10, 64)
		return value, err == nil
	}
	return 0, false
}

// isText reports a type whose values are text, the same in either format.
func isText(field *pgconn.FieldDescription) bool {
	switch field.DataTypeOID {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID:
		return true
	}
	return false
}

// isJSON reports JSON in text format, for which pgx asks.
func isJSON(field *pgconn.FieldDescription) bool {
	return (field.DataTypeOID == pgtype.JSONBOID || field.DataTypeOID == pgtype.JSONOID) && field.Format == pgtype.TextFormatCode
}

// scan sets dest to what read makes of raw, and reports whether it did.
func scan[T any](dest *T, raw []byte, read func([]byte) (T, bool)) bool {
	value, ok := read(raw)
	if ok {
		*dest = value
	}
	return ok
}

// scanNull is scan for what may be NULL, which is nil.
func scanNull[T any](dest **T, raw []byte, read func([]byte) (T, bool)) bool {
	if raw == nil {
		*dest = nil
		return true
	}
	value, ok := read(raw)
	if ok {
		*dest = &value
	}
	return ok
}

// typeMaps are for rows that were taken off their connection: a map is not to
// be used by two goroutines.
var typeMaps = sync.Pool{New: func() any {
	m := pgtype.NewMap()
	timesInUTC(m)
	return m
}}

// timesInUTC makes pgx read moments in UTC. It would give them in the zone of
// the machine.
func timesInUTC(m *pgtype.Map) {
	m.RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
}
