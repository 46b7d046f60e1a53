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

// beatPatience is how old a beat is that a replica must have. A replica that
// follows another primary is noticed after that time, whatever it shows.
const beatPatience = 300 * time.Millisecond

// historySQL are the statements on the table of server histories.
type historySQL struct {
	table string

	// lookAtPrimary asks where the primary is, in which history, which transaction
	// would be the next (it moves when something is written, and not for a
	// checkpoint), before which one all have ended, whether its newest row is its own,
	// and whether the role may write that row.
	lookAtPrimary string

	// lookAtReplica asks a replica where it is, and then by whom that was sent: its
	// position belongs to the history that it shows only if its WAL receiver still
	// follows that. The order counts, and PostgreSQL evaluates the list from left to
	// right and each of its subqueries when its turn comes.
	lookAtReplica string

	create string

	// beat writes, by all processes together, ten small HOT updates a second while
	// something is written, and none while nothing is. The clock may have been set
	// back since the last beat.
	beat string

	// forceBeat is not held to that pause: its beat must be younger than the look
	// that asked for it.
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

// primaryLook is what the primary answered.
type primaryLook struct {
	point
	next     int64 // transaction
	oldest   int64 // transaction: all before it have ended
	shown    bool  // its newest row is its own
	beat     int64
	writable bool // the role may write the row
}

// rowQuerier is a connection, of a pool or not.
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

// writeHistory runs one of the statements above in a transaction of its own and
// reads what it returns, if dest is not nil. The commit is local: a missing
// synchronous standby must not keep the row from the replicas that are there.
// It is durable at once, and not with the next cycle of the WAL writer, because
// a WAL sender sends what is flushed.
//
// The error is pgx.ErrNoRows if there was nothing to update: no row of the
// server's own, or a beat of a moment ago.
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

// historyPrivilege says why replicas stay unused, and the GRANT that helps.
func (s historySQL) historyPrivilege(role string) error {
	return fmt.Errorf("replicas are not used, because role %s %w %s: GRANT SELECT, INSERT, UPDATE ON %s TO %s",
		role, errHistoryPrivilege, s.table, s.table, pgx.Identifier{role}.Sanitize())
}

// lookAtReplicaOn asks a replica for what it shows of the primary's history.
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
