package wire

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Scan reads one value into dest if the value is of a common type in the format
// that pgx asks the server for, and reports whether it did. It sets the value that
// pgx would, in a fraction of the time. If it reports false, dest is as it was and
// pgx must read the value. dest never shares memory with raw.
func Scan(field *pgconn.FieldDescription, raw []byte, dest any) bool {
	switch dest := dest.(type) {
	case *int16:
		return isBinary(field, pgtype.Int2OID) && scan(dest, raw, readInt2)
	case *int32:
		return isBinary(field, pgtype.Int4OID) && scan(dest, raw, readInt4)
	case *int64:
		return isBinary(field, pgtype.Int8OID) && scan(dest, raw, readInt8)
	case *float32:
		return isBinary(field, pgtype.Float4OID) && scan(dest, raw, readFloat4)
	case *float64:
		return isBinary(field, pgtype.Float8OID) && scan(dest, raw, readFloat8)
	case *bool:
		return isBinary(field, pgtype.BoolOID) && scan(dest, raw, readBool)
	case *time.Time:
		return isBinary(field, pgtype.TimestamptzOID) && scan(dest, raw, readTimestamptz) ||
			isBinary(field, pgtype.DateOID) && scan(dest, raw, readDate)
	case **int16:
		return isBinary(field, pgtype.Int2OID) && scanNull(dest, raw, readInt2)
	case **int32:
		return isBinary(field, pgtype.Int4OID) && scanNull(dest, raw, readInt4)
	case **int64:
		return isBinary(field, pgtype.Int8OID) && scanNull(dest, raw, readInt8)
	case **float32:
		return isBinary(field, pgtype.Float4OID) && scanNull(dest, raw, readFloat4)
	case **float64:
		return isBinary(field, pgtype.Float8OID) && scanNull(dest, raw, readFloat8)
	case **bool:
		return isBinary(field, pgtype.BoolOID) && scanNull(dest, raw, readBool)
	case **time.Time:
		return isBinary(field, pgtype.TimestamptzOID) && scanNull(dest, raw, readTimestamptz) ||
			isBinary(field, pgtype.DateOID) && scanNull(dest, raw, readDate)
	case *[]byte:
		return (isBinary(field, pgtype.ByteaOID) || isJSON(field)) && scan(dest, raw, readBytes)
	case *json.RawMessage:
		return isJSON(field) && scan(dest, raw, readJSON)
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
		list, ok := readStrings(string(raw))
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

// Int reads an integer of either size and in either format, because the format
// that pgx asks for depends on how it executes the statement.
func Int(field *pgconn.FieldDescription, raw []byte) (int64, bool) {
	switch {
	case isBinary(field, pgtype.Int8OID):
		return readInt8(raw)
	case isBinary(field, pgtype.Int4OID):
		value, ok := readInt4(raw)
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

// isJSON reports JSON in text format, which pgx asks for.
func isJSON(field *pgconn.FieldDescription) bool {
	return (field.DataTypeOID == pgtype.JSONBOID || field.DataTypeOID == pgtype.JSONOID) && field.Format == pgtype.TextFormatCode
}

// scan sets dest to the value that read finds in raw, and reports whether it did.
func scan[T any](dest *T, raw []byte, read func([]byte) (T, bool)) bool {
	value, ok := read(raw)
	if ok {
		*dest = value
	}
	return ok
}

// scanNull is scan for a value that may be NULL, which becomes nil.
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
