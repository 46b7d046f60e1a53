package postgres

import (
	"regexp"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// forwarders are the routines that report the error of another server: of Citus,
// postgres_fdw and dblink.
var forwarders = map[string]bool{"ReportResultError": true, "pgfdw_report_error": true, "dblink_res_error": true}

// quotedName matches the last quoted name of a message, without the number of a shard:
// Citus runs a statement on tables such as posts_102014, whose constraints have the same
// number. Shards are numbered from 102008.
var quotedName = regexp.MustCompile(`"([^"]+?)(?:_\d{6,})?"[^"]*$`)

// forwardedConstraint returns the name of the constraint in an error that another server
// returned to this one. The SQLSTATE and the message of such an error are forwarded, but
// not its other fields. If the message is in a language that puts the name elsewhere, the
// result is wrong or empty, and the error has its kind alone.
func forwardedConstraint(e *pgconn.PgError) string {
	if !forwarders[e.Routine] {
		return ""
	}
	switch e.Code {
	case pgerrcode.UniqueViolation, pgerrcode.ForeignKeyViolation, pgerrcode.CheckViolation, pgerrcode.ExclusionViolation:
		if name := quotedName.FindStringSubmatch(e.Message); name != nil {
			return name[1]
		}
	}
	return ""
}
