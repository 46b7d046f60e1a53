package conn

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// pgx knows the OIDs of PostgreSQL's own types. An enum, a domain or an extension's
// type has another OID in each database, so the server must be queried. A single
// value needs no OID, because it is sent and read as text, but an array does.

// describeTypes returns those of the given types that exist, each with the base type
// of a domain, and whether its values are sent as text in either format.
const describeTypes = `-- name: DescribeTypes :many
SELECT n.name, t.oid, t.typarray, b.oid, coalesce(p.prosrc IN ('enum_send', 'textsend', 'varcharsend', 'bpcharsend'), false), t.typdelim::text
FROM pg_catalog.unnest($1::text[]) AS n (name)
JOIN pg_catalog.pg_type t ON t.oid = pg_catalog.to_regtype(n.name)
CROSS JOIN LATERAL (
  WITH RECURSIVE base (oid, next) AS (
    SELECT t.oid, t.typbasetype
    UNION ALL
    SELECT d.oid, d.typbasetype
    FROM base
    JOIN pg_catalog.pg_type d ON d.oid = base.next
  )
  SELECT oid FROM base WHERE next = 0
) AS last
JOIN pg_catalog.pg_type b ON b.oid = last.oid
LEFT JOIN pg_catalog.pg_proc p ON p.oid = b.typsend
WHERE t.typarray <> 0`

// knownTypes are the types for which a connection has queried its server.
type knownTypes struct {
	elements map[string]*pgtype.Type // by the names of Options.Types
	arrays   []*pgtype.Type
	stale    bool // a migration has replaced one of them
}

// loadTypes queries the types of Options in one round trip, and reports whether one
// of them was unknown or has changed. A type that does not exist yet is not an error,
// because a migration may create it later.
func (s *state) loadTypes(ctx context.Context, conn *pgx.Conn) (changed bool, err error) {
	s.types.stale = false
	if len(s.pool.options.Types) == 0 {
		return false, nil
	}
	// Not prepared, because that would be another round trip, and a pooler might assign
	// another server connection to the second one.
	rows, err := conn.Query(ctx, describeTypes, pgx.QueryExecModeExec, s.pool.options.Types)
	if err != nil {
		return false, err
	}
	var name, delimiter string
	var oid, array, base uint32
	var text bool
	_, err = pgx.ForEachRow(rows, []any{&name, &oid, &array, &base, &text, &delimiter}, func() error {
		if known := s.types.elements[name]; known != nil && known.OID == oid {
			return nil
		}
		changed = true
		s.addType(conn.TypeMap(), name, oid, array, codecOf(conn.TypeMap(), base, text), delimiter)
		return nil
	})
	return changed, err
}

// codecOf returns the codec for values of a type.
func codecOf(m *pgtype.Map, base uint32, text bool) pgtype.Codec {
	if t, ok := m.TypeForOID(base); ok {
		return t.Codec
	}
	if text {
		return pgtype.TextCodec{}
	}
	return &pgtype.TextFormatOnlyCodec{Codec: pgtype.TextCodec{}}
}

func (s *state) addType(m *pgtype.Map, name string, oid, array uint32, codec pgtype.Codec, delimiter string) {
	if s.types.elements == nil {
		s.types.elements = map[string]*pgtype.Type{}
	}
	element := &pgtype.Type{Name: name, OID: oid, Codec: codec}
	list := &pgtype.Type{Name: name + "[]", OID: array, Codec: &pgtype.ArrayCodec{ElementType: element, Delimiter: delimiter[0]}}
	m.RegisterType(element)
	m.RegisterType(list)
	s.types.elements[name] = element
	s.types.arrays = append(s.types.arrays, element, list)
}

// KnowTypes queries the types again before a statement uses one of the given names
// that did not exist when the connection was made, or that has been replaced. It
// returns no errors, because the statement will meet the same errors of the
// connection.
func KnowTypes(ctx context.Context, conn *pgx.Conn, names []string) {
	if len(names) == 0 {
		return
	}
	s := stateOf(conn.PgConn())
	if s == nil {
		return
	}
	missing := func(name string) bool { return s.types.elements[name] == nil }
	if s.types.stale || slices.ContainsFunc(names, missing) {
		_, _ = s.loadTypes(ctx, conn)
	}
}

// ForgetTypes makes the next KnowTypes query the types in any case.
func ForgetTypes(conn *pgconn.PgConn) {
	if s := stateOf(conn); s != nil {
		s.types.stale = true
	}
}

// TypesError is the error of a statement whose arguments could not be encoded because
// a migration had replaced their type. The statement was not sent.
type TypesError struct{ error }

func (e TypesError) Unwrap() error { return e.error }

// ReplacedTypes checks whether an error is due to types that a migration has
// replaced. If arguments could not be encoded and the server now has other types, it
// returns a TypesError, and the statement is repeated. stale means that the server
// has refused a prepared statement because of its types, so they are queried after
// the end of the transaction, and the connection's batches prepare their statements again.
func ReplacedTypes(ctx context.Context, conn *pgx.Conn, err error, stale bool) error {
	if err == nil || conn.IsClosed() || ctx.Err() != nil {
		return err
	}
	s := stateOf(conn.PgConn())
	if s == nil {
		return err
	}
	if stale {
		s.types.stale = len(s.pool.options.Types) > 0
		s.dropAll()
		return err
	}
	if len(s.pool.options.Types) == 0 {
		return err
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) || conn.PgConn().TxStatus() == 'E' {
		return err
	}
	if changed, failed := s.loadTypes(ctx, conn); failed == nil && changed {
		return TypesError{err}
	}
	return err
}

// AdoptTypes makes a connection read arrays of a type that a migration has replaced since the
// connection queried it. It does not query the server again, because that is impossible before
// the rows are read. The values have the format of the previous type, or are text if there was
// none. In both cases the element's OID does not matter. The statement was generated with the
// given names of types and with n columns, the i-th of which has the type typeOf(i).
func AdoptTypes(rows pgx.Rows, names []string, n int, typeOf func(i int) string) {
	if len(names) == 0 || rows.Conn() == nil {
		return
	}
	fields := rows.FieldDescriptions()
	if len(fields) != n {
		return
	}
	s, m := stateOf(rows.Conn().PgConn()), rows.TypeMap()
	for i, f := range fields {
		name, isArray := strings.CutSuffix(typeOf(i), "[]")
		if _, known := m.TypeForOID(f.DataTypeOID); known || !isArray || s == nil {
			continue
		}
		element := &pgtype.Type{Name: name, Codec: &pgtype.TextFormatOnlyCodec{Codec: pgtype.TextCodec{}}}
		for _, declared := range names {
			if before := s.types.elements[declared]; before != nil && unquoted(declared) == unquoted(strings.TrimRight(name, "[]")) {
				element = before
			}
		}
		list := &pgtype.Type{Name: name + "[]", OID: f.DataTypeOID, Codec: &pgtype.ArrayCodec{ElementType: element}}
		m.RegisterType(list)
		s.types.arrays = append(s.types.arrays, list)
		s.types.stale = true
	}
}

func unquoted(name string) string { return strings.ReplaceAll(name, `"`, "") }

// RowTypes returns the types that a connection has queried, for rows that are read after
// another caller has acquired the connection.
func RowTypes(conn *pgx.Conn) []*pgtype.Type {
	if s := stateOf(conn.PgConn()); s != nil {
		return slices.Clone(s.types.arrays)
	}
	return nil
}
