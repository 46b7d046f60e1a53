package wire

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// AppendCopy appends a column's value to a row of a binary COPY: its length in four bytes
// (-1 for NULL) and the value. The value is read through a pointer, because converting a
// pointer to an interface allocates nothing.
type AppendCopy func(b []byte, pointer any) []byte

// CopyAppender returns the function for values that pointer points to and a column of the
// given type, or nil if only pgx can encode them. The server gets the same values from both.
func CopyAppender(oid uint32, pointer any) AppendCopy {
	switch pointer.(type) {
	case *string:
		return appenderOf[string](oid == pgtype.TextOID || oid == pgtype.VarcharOID, appendText)
	case **string:
		return optionalOf[string](oid == pgtype.TextOID || oid == pgtype.VarcharOID, appendText)
	case *int64:
		return appenderOf[int64](oid == pgtype.Int8OID, appendInt8)
	case **int64:
		return optionalOf[int64](oid == pgtype.Int8OID, appendInt8)
	case *int32:
		return appenderOf[int32](oid == pgtype.Int4OID, appendInt4)
	case **int32:
		return optionalOf[int32](oid == pgtype.Int4OID, appendInt4)
	case *bool:
		return appenderOf[bool](oid == pgtype.BoolOID, appendBool)
	case **bool:
		return optionalOf[bool](oid == pgtype.BoolOID, appendBool)
	case *time.Time:
		return appenderOf[time.Time](oid == pgtype.TimestamptzOID, appendTimestamptz)
	case **time.Time:
		return optionalOf[time.Time](oid == pgtype.TimestamptzOID, appendTimestamptz)
	case *[]byte:
		return appenderOf[[]byte](oid == pgtype.ByteaOID, appendBytea)
	case *[]string:
		return appenderOf[[]string](oid == pgtype.JSONBOID, appendStrings)
	case *json.RawMessage:
		return appenderOf[json.RawMessage](oid == pgtype.JSONBOID, appendJSONB)
	}
	return nil
}

func appenderOf[T any](fits bool, add func([]byte, *T) []byte) AppendCopy {
	if !fits {
		return nil
	}
	return func(b []byte, pointer any) []byte { return add(b, pointer.(*T)) }
}

func optionalOf[T any](fits bool, add func([]byte, *T) []byte) AppendCopy {
	if !fits {
		return nil
	}
	return func(b []byte, pointer any) []byte {
		if p := *pointer.(**T); p != nil {
			return add(b, p)
		}
		return appendNull(b)
	}
}

func appendNull(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff) }

func appendText(b []byte, v *string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(*v))), *v...)
}

func appendInt8(b []byte, v *int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(*v))
}

func appendInt4(b []byte, v *int32) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), uint32(*v))
}

func appendBool(b []byte, v *bool) []byte {
	if *v {
		return append(b, 0, 0, 0, 1, 1)
	}
	return append(b, 0, 0, 0, 1, 0)
}

// appendTimestamptz cuts off fractions of a microsecond, like pgx.
func appendTimestamptz(b []byte, v *time.Time) []byte {
	us := (v.Unix()-epoch)*1e6 + int64(v.Nanosecond())/1e3
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(us))
}

func appendBytea(b []byte, v *[]byte) []byte {
	if *v == nil {
		return appendNull(b)
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(*v))), *v...)
}

// jsonbVersion is the first byte of a jsonb value (jsonb_recv).
const jsonbVersion = 1

func appendJSONB(b []byte, v *json.RawMessage) []byte {
	if *v == nil {
		return appendNull(b)
	}
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(*v))+1), jsonbVersion)
	return append(b, *v...)
}

// appendStrings appends a list as a JSON array. A nil list is NULL.
func appendStrings(b []byte, v *[]string) []byte {
	if *v == nil {
		return appendNull(b)
	}
	from := len(b)
	b = append(b, 0, 0, 0, 0, jsonbVersion, '[')
	for i, s := range *v {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(b, s)
	}
	b = append(b, ']')
	binary.BigEndian.PutUint32(b[from:], uint32(len(b)-from-4))
	return b
}

func appendJSONString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			text, err := json.Marshal(s)
			if err != nil {
				panic(err) // cannot fail for a string
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
