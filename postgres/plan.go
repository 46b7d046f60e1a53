package postgres

import (
	"errors"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

// stalePlan reports whether a prepared statement was rejected because a migration has
// changed a type that it returns or takes. The statement did nothing, and pgx prepares it
// again the next time.
//
// The SQLSTATEs are too general, and lc_messages translates the first message, so only the
// function that raised it identifies it (src/backend/utils/cache/plancache.c). The second
// error means that a type was dropped, for example because an enum was replaced. Many
// functions raise it, all of them by elog, whose messages are never translated.
func stalePlan(err error) bool {
	if types := (conn.TypesError{}); errors.As(err, &types) {
		return true
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.SeverityUnlocalized != "ERROR" {
		return false
	}
	switch e.Code {
	case pgerrcode.FeatureNotSupported:
		return e.Routine == "RevalidateCachedQuery"
	case pgerrcode.InternalError:
		return strings.HasPrefix(e.Message, "cache lookup failed for type ")
	}
	return false
}
