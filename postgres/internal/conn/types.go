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

// pgx knows the OIDs of PostgreSQL's own types. An enum, a domain or a type of an
// extension has another OID in each database, so the server must be asked. A single
// value needs no OID, because it is sent and read as text. An array does.

// describeTypes returns the types whose names are given, as far as they exist, with
// the type that values of a domain are of in the end, and whether values are sent as
// text in either format.
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

// knownTypes are the types that a connection has asked its server for.
type knownTypes struct {
	elements map[string]*pgtype.Type // by the names of Options.Types
	arrays   []*pgtype.Type
	stale    bool // a migration has replaced one of them
}

// loadTypes asks for the types of Options, in one round trip, and reports
// whether one of them was not known or has changed. Types that do not exist yet
// are no error: a migration may create them later.
func (s *state) loadTypes(ctx context.Context, conn *pgx.Conn) (changed bool, err error) {
	s.types.stale = false
	if len(s.pool.options.Types) == 0 {
		return false, nil
	}
	// Not prepared: that would be another round trip, and a pooler might give the
	// second one to another server connection.
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

// codecOf returns how values of a type are read and written.
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

// KnowTypes asks for the types again before a statement uses one of the given names
// that did not exist when the connection was made, or that has been replaced. Its errors
// are those of the connection, which the statement will meet, too.
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

// ForgetTypes makes the next KnowTypes ask for the types in any case.
func ForgetTypes(conn *pgconn.PgConn) {
	if s := stateOf(conn); s != nil {
		s.types.stale = true
	}
}

// TypesError is the error of a statement whose arguments could not be encoded because
// a migration had replaced their type. Nothing was sent.
type TypesError struct{ error }

func (e TypesError) Unwrap() error { return e.error }

// ReplacedTypes looks at an error for types that a migration has replaced. If it is
// one of arguments that could not be encoded, and the server now has other types, it
// becomes a TypesError, on which the statement is repeated. stale means that the server
// has refused a prepared statement for its types: they are asked for when the
// transaction is over.
func ReplacedTypes(ctx context.Context, conn *pgx.Conn, err error, stale bool) error {
	if err == nil || conn.IsClosed() || ctx.Err() != nil {
		return err
	}
	s := stateOf(conn.PgConn())
	if s == nil || len(s.pool.options.Types) == 0 {
		return err
	}
	if stale {
		s.types.stale = true
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

// AdoptTypes makes a connection read arrays of a type that a migration has replaced
// since the connection asked for it. The rows cannot wait for another question. Their
// values are in the format of the type before, or text if there was none, and in both
// the element's OID does not matter. The statement was generated with the given names
// of types and with n columns, the i-th of which is of the type typeOf(i).
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

// RowTypes returns the types that a connection has asked for, for rows that are read
// after it has gone to another caller.
func RowTypes(conn *pgx.Conn) []*pgtype.Type {
	if s := stateOf(conn.PgConn()); s != nil {
		return slices.Clone(s.types.arrays)
	}
	return nil
}
