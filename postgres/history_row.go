package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// beatPatience is the age from which a beat must have reached the replicas. After that time, a
// replica that follows another primary is detected in any case.
const beatPatience = 300 * time.Millisecond

// historySQL are the statements on the table of server histories.
type historySQL struct {
	table string

	// lookAtPrimary queries the primary's position and history, the next transaction ID, the ID
	// before which all transactions have ended, whether the newest row of the table is the
	// primary's own, and whether the role may write that row. Writes advance the next
	// transaction ID, but checkpoints do not.
	lookAtPrimary string

	// lookAtReplica queries a replica's position and then its WAL receiver. The order matters,
	// because the position belongs to the history that the replica shows only if the receiver
	// still follows that history afterwards. PostgreSQL evaluates the list from left to right,
	// and each subquery in its turn.
	lookAtReplica string

	create string

	// beat increments the heartbeat number of the row. All processes together write at most ten
	// of these small HOT updates per second, and none while nothing else is written. The clock
	// may have been set back since the last beat.
	beat string

	// forceBeat ignores that limit, because its beat must be newer than the check that
	// requires it.
	forceBeat string
}

func (t tables) historySQL() historySQL {
	table := t.histories.Sanitize()
	newest := "(SELECT timeline, started, beat FROM " + table + " ORDER BY n DESC LIMIT 1)"
	beat := `
UPDATE ` + table + `
SET beat = beat + 1, beat_at = clock_timestamp()
WHERE timeline = ` + sqlTimeline + ` AND started = ` + sqlStarted
	privilege := "has_table_privilege('" + table + "', "
	return historySQL{
		table: strings.Join(t.histories, "."),
		lookAtPrimary: `-- name: LookAtPrimary :one
SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, me.timeline, me.started,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
       h.timeline IS NOT NULL, coalesce(h.beat, 0),
       ` + privilege + `'INSERT') AND ` + privilege + `'UPDATE')
FROM (SELECT ` + sqlTimeline + ` AS timeline, ` + sqlStarted + ` AS started) me
LEFT JOIN ` + newest + ` h USING (timeline, started)`,
		lookAtReplica: `-- name: LookAtReplica :one
SELECT pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery() THEN 0 ELSE ` + sqlTimeline + ` END, ` + sqlStarted + `,
       (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0')::bigint,
       (coalesce(pg_last_wal_receive_lsn(), '0/0') - '0/0')::bigint,
       (SELECT ARRAY[pid, received_tli] FROM pg_stat_wal_receiver),
       pg_has_role('pg_read_all_stats', 'USAGE'),
       coalesce(h.timeline, 0), coalesce(h.started, 0), coalesce(h.beat, 0)
FROM (SELECT) one
LEFT JOIN ` + newest + ` h ON true`,
		create: `-- name: CreateServerHistory :exec
INSERT INTO ` + table + ` (timeline, started)
SELECT ` + sqlTimeline + `, ` + sqlStarted + `
ON CONFLICT DO NOTHING`,
		beat: "-- name: BeatServerHistory :one" + beat + `
  AND (beat_at < clock_timestamp() - interval '100 ms' OR beat_at > clock_timestamp())
RETURNING beat`,
		forceBeat: "-- name: ForceServerHistoryBeat :one" + beat + `
RETURNING beat`,
	}
}

// primaryLook is the primary's answer to a check.
type primaryLook struct {
	point
	next     int64 // transaction ID
	oldest   int64 // transaction ID; all transactions before it have ended
	shown    bool  // the newest row is the primary's own
	beat     int64
	writable bool // the role may write the row
}

// rowQuerier is a connection, of a pool or separate.
type rowQuerier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func (s historySQL) lookAtPrimaryOn(ctx context.Context, conn rowQuerier) (l primaryLook, err error) {
	var at, timeline int64
	err = conn.QueryRow(ctx, s.lookAtPrimary).Scan(&at, &timeline, &l.started, &l.next, &l.oldest, &l.shown, &l.beat, &l.writable)
	l.at, l.timeline = lsn(at), uint32(timeline)
	if undefinedTable(err) {
		err = fmt.Errorf("%w: %w", errNoTable(s.table, "replicas are not used"), err)
	}
	return l, err
}

// writeHistory runs one of the statements above in a separate transaction and scans its
// result, unless dest is nil. The commit is local, because a missing synchronous standby
// must not delay the row for the other replicas. It is flushed immediately and not by the
// next cycle of the WAL writer, because a WAL sender sends only flushed WAL.
//
// It returns pgx.ErrNoRows if there was nothing to update: the server has no row, or the
// last beat was a moment ago.
func writeHistory(ctx context.Context, conn *pgxpool.Conn, sql string, dest *int64) error {
	batch := &pgx.Batch{}
	batch.Queue("begin read write")
	batch.Queue("set local synchronous_commit = local")
	q := batch.Queue(sql)
	if dest != nil {
		q.QueryRow(func(row pgx.Row) error { return row.Scan(dest) })
	}
	batch.Queue("commit")
	return conn.SendBatch(ctx, batch).Close()
}

var errHistoryPrivilege = errors.New("may not write")

// historyPrivilege returns why replicas are unused, with the GRANT as its hint.
func (s historySQL) historyPrivilege(role string) error {
	return fmt.Errorf("replicas are not used, because role %s %w %s: GRANT SELECT, INSERT, UPDATE ON %s TO %s",
		role, errHistoryPrivilege, s.table, s.table, pgx.Identifier{role}.Sanitize())
}

// lookAtReplicaOn queries a replica's position, its WAL receiver and its copy of the
// primary's row.
func (s historySQL) lookAtReplicaOn(ctx context.Context, conn rowQuerier) (l replicaLook, err error) {
	var ownTimeline, replayed, received, rowTimeline int64
	var receiver []*int32
	err = conn.QueryRow(ctx, s.lookAtReplica).Scan(&l.standby, &ownTimeline, &l.own.started, &replayed, &received,
		&receiver, &l.maySeeTimeline, &rowTimeline, &l.row.started, &l.beat)
	l.own.timeline, l.row.timeline = uint32(ownTimeline), uint32(rowTimeline)
	l.replayed, l.received = lsn(replayed), lsn(received)
	if len(receiver) == 2 && receiver[0] != nil {
		l.receiver = *receiver[0]
		if receiver[1] != nil {
			l.timeline = *receiver[1]
		}
	}
	return l, err
}
