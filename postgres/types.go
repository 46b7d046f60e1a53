package postgres

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

// linkTypes are the types that a connection has been told of.
type linkTypes struct {
	elements map[string]*pgtype.Type // by the names of Statement.Types
	arrays   []*pgtype.Type
	stale    bool // a migration has replaced one of them
}

// typesOf returns the types that statements use, each once.
func typesOf(statements []Statement) []string {
	var all []string
	for _, s := range statements {
		all = append(all, s.Types...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// loadTypes asks for the types of the registry, in one round trip, and reports
// whether one of them was not known or has changed. Types that do not exist yet
// are no error: a migration may create them later.
func (l *link) loadTypes(ctx context.Context, conn *pgx.Conn) (changed bool, err error) {
	l.types.stale = false
	if len(l.keeper.types) == 0 {
		return false, nil
	}
	// Not prepared: that would be another round trip, and a pooler might give the
	// second one to another server connection.
	rows, err := conn.Query(ctx, describeTypes, pgx.QueryExecModeExec, l.keeper.types)
	if err != nil {
		return false, err
	}
	var name, delimiter string
	var oid, array, base uint32
	var text bool
	_, err = pgx.ForEachRow(rows, []any{&name, &oid, &array, &base, &text, &delimiter}, func() error {
		if known := l.types.elements[name]; known != nil && known.OID == oid {
			return nil
		}
		changed = true
		l.addType(conn.TypeMap(), name, oid, array, codecOf(conn.TypeMap(), base, text), delimiter)
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

func (l *link) addType(m *pgtype.Map, name string, oid, array uint32, codec pgtype.Codec, delimiter string) {
	if l.types.elements == nil {
		l.types.elements = map[string]*pgtype.Type{}
	}
	element := &pgtype.Type{Name: name, OID: oid, Codec: codec}
	list := &pgtype.Type{Name: name + "[]", OID: array, Codec: &pgtype.ArrayCodec{ElementType: element, Delimiter: delimiter[0]}}
	m.RegisterType(element)
	m.RegisterType(list)
	l.types.elements[name] = element
	l.types.arrays = append(l.types.arrays, element, list)
}

// knowTypes asks for the types again before a statement uses one that was not
// there when the connection was made, or that has been replaced. Its errors are
// those of the connection, which the statement will meet, too.
func knowTypes(ctx context.Context, conn *pgx.Conn, s *Statement) {
	if len(s.Types) == 0 {
		return
	}
	l := linkOf(conn.PgConn())
	if l == nil {
		return
	}
	missing := func(name string) bool { return l.types.elements[name] == nil }
	if l.types.stale || slices.ContainsFunc(s.Types, missing) {
		_, _ = l.loadTypes(ctx, conn)
	}
}

// errTypes is the error of a statement whose arguments could not be encoded because
// a migration had replaced their type. Nothing was sent.
type errTypes struct{ error }

func (e errTypes) Unwrap() error { return e.error }

// replacedTypes looks at an error for types that a migration has replaced. If it is
// one of arguments that could not be encoded, and the server now has other types, it
// becomes errTypes, on which the statement is repeated.
func replacedTypes(ctx context.Context, conn *pgx.Conn, err error) error {
	if err == nil || conn.IsClosed() || ctx.Err() != nil {
		return err
	}
	l := linkOf(conn.PgConn())
	if l == nil || len(l.keeper.types) == 0 {
		return err
	}
	if stalePlan(err) {
		l.types.stale = true // to be asked for when the transaction is over
		return err
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) || conn.PgConn().TxStatus() == 'E' {
		return err
	}
	if changed, failed := l.loadTypes(ctx, conn); failed == nil && changed {
		return errTypes{err}
	}
	return err
}

// adoptTypes makes a connection read arrays of a type that a migration has replaced
// since the connection was told of it. The rows cannot wait for another question. The
// values are in the format of the type before, or text if there was none, and in both
// the element's OID does not matter.
func adoptTypes(rows pgx.Rows, s *Statement) {
	if len(s.Types) == 0 || rows.Conn() == nil {
		return
	}
	fields := rows.FieldDescriptions()
	if len(fields) != len(s.Columns) {
		return
	}
	l, m := linkOf(rows.Conn().PgConn()), rows.TypeMap()
	for i, f := range fields {
		name, isArray := strings.CutSuffix(s.Columns[i].Type, "[]")
		if _, known := m.TypeForOID(f.DataTypeOID); known || !isArray || l == nil {
			continue
		}
		element := &pgtype.Type{Name: name, Codec: &pgtype.TextFormatOnlyCodec{Codec: pgtype.TextCodec{}}}
		for _, declared := range s.Types {
			if before := l.types.elements[declared]; before != nil && unquoted(declared) == unquoted(strings.TrimRight(name, "[]")) {
				element = before
			}
		}
		list := &pgtype.Type{Name: name + "[]", OID: f.DataTypeOID, Codec: &pgtype.ArrayCodec{ElementType: element}}
		m.RegisterType(list)
		l.types.arrays = append(l.types.arrays, list)
		l.types.stale = true
	}
}

func unquoted(name string) string { return strings.ReplaceAll(name, `"`, "") }

// rowTypes are the types that a connection has been told of, for rows that are read
// when it has gone to another caller.
func rowTypes(rows pgx.Rows, s *Statement) []*pgtype.Type {
	if len(s.Types) == 0 || rows.Conn() == nil {
		return nil
	}
	adoptTypes(rows, s)
	if l := linkOf(rows.Conn().PgConn()); l != nil {
		return slices.Clone(l.types.arrays)
	}
	return nil
}
