package wire

import (
	"encoding/binary"

	"github.com/jackc/pgx/v5/pgtype"
)

// arrayCodec encodes arrays of the types that generated code uses, in binary
// (PostgreSQL manual, array_recv). It takes a fraction of the time of pgx, which plans
// each element separately. The bytes are the same, and pgx encodes values of other
// types.
type arrayCodec struct{ *pgtype.ArrayCodec }

func (c arrayCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if format == pgtype.BinaryFormatCode {
		element := c.ElementType.OID
		switch value.(type) {
		case []int64:
			if element == pgtype.Int8OID {
				return arrayPlan[int64]{element, 8, func(b []byte, v int64) []byte {
					return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(v))
				}}
			}
		case []int32:
			if element == pgtype.Int4OID {
				return arrayPlan[int32]{element, 4, func(b []byte, v int32) []byte {
					return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), uint32(v))
				}}
			}
		case []bool:
			if element == pgtype.BoolOID {
				return arrayPlan[bool]{element, 1, func(b []byte, v bool) []byte {
					if v {
						return append(b, 0, 0, 0, 1, 1)
					}
					return append(b, 0, 0, 0, 1, 0)
				}}
			}
		case []string:
			if element == pgtype.TextOID {
				return arrayPlan[string]{element, 16, func(b []byte, v string) []byte {
					return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
				}}
			}
		}
	}
	return c.ArrayCodec.PlanEncode(m, oid, format, value)
}

// arrayPlan encodes arrays of one type.
type arrayPlan[T any] struct {
	element uint32                     // the type's OID
	size    int                        // size of an element in bytes, possibly estimated
	add     func(b []byte, v T) []byte // appends the length of an element and the element
}

// Encode encodes a nil slice as NULL.
func (p arrayPlan[T]) Encode(value any, b []byte) ([]byte, error) {
	values := value.([]T)
	if values == nil {
		return nil, nil
	}
	const header, length = 20, 4
	if need := len(b) + header + len(values)*(length+p.size); need > cap(b) {
		b = append(make([]byte, 0, need), b...)
	}
	b = binary.BigEndian.AppendUint32(b, 1) // dimension
	b = binary.BigEndian.AppendUint32(b, 0) // no element is NULL
	b = binary.BigEndian.AppendUint32(b, p.element)
	b = binary.BigEndian.AppendUint32(b, uint32(len(values)))
	b = binary.BigEndian.AppendUint32(b, 1) // index of the first element
	for _, v := range values {
		b = p.add(b, v)
	}
	return b, nil
}
