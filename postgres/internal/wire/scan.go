package wire

import (
	"database/sql"
	"encoding/json"
	"reflect"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Scan decodes a value into dest if it has a common type in the format that pgx
// requests from the server, and reports whether it did. The result is that of pgx,
// in a fraction of the time. If it returns false, dest is unchanged and pgx must
// decode the value. dest never shares memory with raw.
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

// ScanText decodes a value in text format whose type pgx does not know, such as an enum, into
// a sql.Scanner that is a string, as sqlc generates for enums. It is like Scan, but the caller
// must know that no type is registered for the field.
func ScanText(field *pgconn.FieldDescription, raw []byte, dest any) bool {
	if raw == nil || field.Format != pgtype.TextFormatCode || field.DataTypeOID < firstUserOID {
		return false
	}
	scanner, ok := dest.(sql.Scanner)
	if t := reflect.TypeOf(dest); !ok || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.String {
		return false
	}
	if _, other := dest.(pgtype.TextScanner); other {
		return false // pgx prefers it
	}
	return scanner.Scan(string(raw)) == nil
}

// firstUserOID is the first OID that the server assigns to a type of a user
// (FirstNormalObjectId).
const firstUserOID = 16384

func isBinary(field *pgconn.FieldDescription, oid uint32) bool {
	return field.DataTypeOID == oid && field.Format == pgtype.BinaryFormatCode
}

// Int decodes an integer of either size and in either format, because the format
// that pgx requests depends on how it executes the statement.
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

// isText reports whether the type's values are text, which is the same in either
// format.
func isText(field *pgconn.FieldDescription) bool {
	switch field.DataTypeOID {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID:
		return true
	}
	return false
}

// isJSON reports whether the field is JSON in text format, which pgx requests.
func isJSON(field *pgconn.FieldDescription) bool {
	return (field.DataTypeOID == pgtype.JSONBOID || field.DataTypeOID == pgtype.JSONOID) && field.Format == pgtype.TextFormatCode
}

// scan sets dest to the value that read decodes from raw, and reports whether it
// did.
func scan[T any](dest *T, raw []byte, read func([]byte) (T, bool)) bool {
	value, ok := read(raw)
	if ok {
		*dest = value
	}
	return ok
}

// scanNull is like scan, but for a nullable value. NULL becomes nil.
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
