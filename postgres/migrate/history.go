package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres"
)

// HistoryTable is the table in which a Migrator with Config.History records its runs.
// It is for people only: goose's table of versions decides what is applied.
const HistoryTable = "migration_history"

const createHistory = `
CREATE TABLE IF NOT EXISTS migration_history (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version_id  bigint      NOT NULL,
    file        text        NOT NULL,
    direction   text        NOT NULL CHECK (direction IN ('up', 'down')),
    finished_at timestamptz NOT NULL DEFAULT now(),
    duration    interval    NOT NULL,
    checksum    text        NOT NULL,
    application text        NOT NULL DEFAULT current_setting('application_name'),
    role        text        NOT NULL DEFAULT current_user
)`

// recordTimeout limits the insert of a record.
const recordTimeout = 5 * time.Second

// record writes a run to the history. A failure is a warning, because the
// migrations themselves have succeeded.
func (m *Migrator) record(ctx context.Context, results []Result) {
	if !m.history || len(results) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	_, err := m.db.ExecContext(ctx, createHistory)
	for _, r := range results {
		if err != nil {
			break
		}
		var checksum string
		if checksum, err = checksumOf(m.files, r.File); err == nil {
			_, err = m.db.ExecContext(ctx, "INSERT INTO migration_history (version_id, file, direction, duration, checksum) VALUES ($1, $2, $3, make_interval(secs => $4), $5)",
				r.Version, r.File, r.Direction, r.Duration.Seconds(), checksum)
		}
	}
	if err != nil {
		m.logger.WarnContext(ctx, "the migrations succeeded, but were not recorded in migration_history", "error", err)
	}
}

// Run is a migration that was applied or undone.
type Run struct {
	Version     int64
	File        string // empty if the run was not recorded
	Direction   string // "up" or "down"
	FinishedAt  time.Time
	Duration    time.Duration // negative if the run was not recorded
	Application string        // the application_name of the session; empty if not recorded
	Role        string        // empty if not recorded
	Edited      bool          // the file has another text now
}

// History returns all recorded runs, the first one first. Applied migrations without a
// record, such as those of the goose command, are among them, with the time that goose
// recorded.
func (m *Migrator) History(ctx context.Context) ([]Run, error) {
	const runs = `
		SELECT version_id, file, direction, finished_at, extract(epoch FROM duration)::float8, checksum, application, role
		FROM migration_history
		UNION ALL
		SELECT version_id, '', 'up', tstamp AT TIME ZONE current_setting('TimeZone'), -1, '', '', ''
		FROM goose_db_version AS g
		WHERE is_applied AND version_id > 0
		  AND NOT EXISTS (SELECT FROM migration_history AS h WHERE h.version_id = g.version_id AND h.direction = 'up')
		ORDER BY 4, 1`
	const withoutRecord = `
		SELECT version_id, '', 'up', tstamp AT TIME ZONE current_setting('TimeZone'), -1::float8, '', '', ''
		FROM goose_db_version WHERE is_applied AND version_id > 0 ORDER BY id`
	list, err := m.runs(ctx, runs)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == pgerrcode.UndefinedTable {
		list, err = m.runs(ctx, withoutRecord)
		if errors.As(err, &pg) && pg.Code == pgerrcode.UndefinedTable {
			return nil, nil
		}
	}
	return list, postgres.WrapError("migrate history", err)
}

func (m *Migrator) runs(ctx context.Context, query string) (list []Run, err error) {
	rows, err := m.db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Run
		var seconds float64
		var checksum string
		if err := rows.Scan(&r.Version, &r.File, &r.Direction, &r.FinishedAt, &seconds, &checksum, &r.Application, &r.Role); err != nil {
			return nil, err
		}
		r.FinishedAt = r.FinishedAt.UTC()
		r.Duration = time.Duration(seconds * float64(time.Second))
		if checksum != "" {
			now, err := checksumOf(m.files, r.File)
			r.Edited = err == nil && now != checksum
		}
		list = append(list, r)
	}
	return list, rows.Err()
}
