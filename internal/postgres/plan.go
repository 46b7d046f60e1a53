package postgres

import (
	"errors"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// stalePlan reports whether a prepared statement was refused because a migration
// changed what it returns. The statement did nothing, and pgx
// prepares it again the next time.
//
// The SQLSTATE is too general, and lc_messages translates the message, so only
// the function that raised it tells it apart (src/backend/utils/cache/plancache.c).
func stalePlan(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.SeverityUnlocalized != "ERROR" {
		return false
	}
	return e.Code == pgerrcode.FeatureNotSupported && e.Routine == "RevalidateCachedQuery"
}
