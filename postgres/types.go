package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"quern/postgres/internal/conn"
)

// knowTypes must be called before a statement is sent. It makes the connection know the
// statement's types.
func knowTypes(ctx context.Context, c *pgx.Conn, s *statement) { conn.KnowTypes(ctx, c, s.Types) }

// replacedTypes converts an error to one after which the statement is repeated, if a
// migration has replaced the types of its arguments.
func (b *bounds) replacedTypes(c *pgx.Conn, err error) error {
	if err == nil {
		return nil
	}
	if !c.PgConn().IsBusy() { // otherwise results are left to be read
		b.bounded.Unwatch()
	}
	return conn.ReplacedTypes(&b.bounded, c, err, stalePlan(err))
}

// adoptTypes makes a connection read arrays whose types a migration has replaced.
func adoptTypes(rows pgx.Rows, s *statement) {
	if len(s.Types) > 0 {
		conn.AdoptTypes(rows, s.Types, len(s.Columns), func(i int) string { return s.Columns[i].Type })
	}
}

// rowTypes returns the types that a connection knows, for rows that are read after another
// caller has taken the connection.
func rowTypes(rows pgx.Rows, s *statement) []*pgtype.Type {
	if len(s.Types) == 0 || rows.Conn() == nil {
		return nil
	}
	adoptTypes(rows, s)
	return conn.RowTypes(rows.Conn())
}
