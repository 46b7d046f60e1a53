package wire

import (
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Register makes a connection's type map decode times in UTC and encode the common
// arrays with arrayCodec.
func Register(m *pgtype.Map) {
	timesInUTC(m)
	quickArrays(m)
}

// timesInUTC replaces pgx's codec, which returns times in the machine's time zone.
func timesInUTC(m *pgtype.Map) {
	m.RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
}

func quickArrays(m *pgtype.Map) {
	for _, oid := range []uint32{pgtype.Int8ArrayOID, pgtype.Int4ArrayOID, pgtype.BoolArrayOID, pgtype.TextArrayOID} {
		if t, ok := m.TypeForOID(oid); ok {
			if codec, ok := t.Codec.(*pgtype.ArrayCodec); ok {
				m.RegisterType(&pgtype.Type{Name: t.Name, OID: oid, Codec: arrayCodec{codec}})
			}
		}
	}
}
