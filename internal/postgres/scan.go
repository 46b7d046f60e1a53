package postgres

import (
	"bytes"
	"encoding/binary"
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
	case *int64:
		if field.DataTypeOID == pgtype.Int8OID && field.Format == pgtype.BinaryFormatCode && len(raw) == 8 {
			*dest = int64(binary.BigEndian.Uint64(raw))
			return true
		}
	case *int32:
		if field.DataTypeOID == pgtype.Int4OID && field.Format == pgtype.BinaryFormatCode && len(raw) == 4 {
			*dest = int32(binary.BigEndian.Uint32(raw))
			return true
		}
	case **int32:
		if field.DataTypeOID == pgtype.Int4OID && field.Format == pgtype.BinaryFormatCode && (raw == nil || len(raw) == 4) {
			*dest = nil
			if raw != nil {
				value := int32(binary.BigEndian.Uint32(raw))
				*dest = &value
			}
			return true
		}
	case *string:
		if field.DataTypeOID == pgtype.TextOID && raw != nil {
			*dest = string(raw)
			return true
		}
	case *time.Time:
		if field.DataTypeOID == pgtype.TimestamptzOID && field.Format == pgtype.BinaryFormatCode && len(raw) == 8 {
			return scanTime(raw, dest)
		}
	case *[]string:
		if field.DataTypeOID == pgtype.JSONBOID && field.Format == pgtype.TextFormatCode {
			return scanStrings(raw, dest)
		}
	}
	return false
}

// epoch is where PostgreSQL's time begins, in microseconds of Unix time.
const epoch = 946684800 * 1_000_000

// scanTime reads a timestamptz: microseconds since 2000. The infinities, at
// both ends of the range, are left to pgx.
func scanTime(raw []byte, dest *time.Time) bool {
	at := int64(binary.BigEndian.Uint64(raw))
	if at == 1<<63-1 || at == -1<<63 {
		return false
	}
	*dest = time.Unix(at/1_000_000+epoch/1_000_000, at%1_000_000*1000).UTC()
	return true
}

// scanStrings reads a JSON array of strings in which nothing is escaped, as
// PostgreSQL writes a jsonb: ["a", "b"]. Anything else is left to pgx.
func scanStrings(raw []byte, dest *[]string) bool {
	if len(raw) < 2 || raw[0] != '[' || raw[len(raw)-1] != ']' || bytes.IndexByte(raw, '\\') >= 0 {
		return false
	}
	if len(raw) == 2 {
		*dest = []string{}
		return true
	}
	// One piece of memory holds all of them.
	rest := string(raw[1 : len(raw)-1])
	values := make([]string, 0, 1+bytes.Count(raw, []byte(`", "`)))
	for {
		end := -1
		if len(rest) >= 2 && rest[0] == '"' {
			end = indexQuote(rest[1:])
		}
		if end < 0 {
			return false
		}
		values = append(values, rest[1:1+end])
		rest = rest[end+2:]
		if rest == "" {
			*dest = values
			return true
		}
		if len(rest) < 2 || rest[:2] != ", " {
			return false
		}
		rest = rest[2:]
	}
}

// indexQuote returns where the first quote of s is, or -1.
func indexQuote(s string) int {
	for i := range len(s) {
		if s[i] == '"' {
			return i
		}
	}
	return -1
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
