package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3/lock"
)

const (
	// lockPoll is the pause between two attempts to take the lock.
	lockPoll = 200 * time.Millisecond

	// lockSay is the pause between two log lines about the holder of the lock.
	lockSay = 30 * time.Second
)

// sessionLock is goose's session lock, which the goose command also uses. While
// another session holds it, the log names that session.
type sessionLock struct {
	lock.SessionLocker
	wait   time.Duration
	logger *slog.Logger
}

func newLock(cfg Config) (*sessionLock, error) {
	locker, err := lock.NewPostgresSessionLocker()
	return &sessionLock{SessionLocker: locker, wait: cfg.LockWait, logger: cfg.Logger}, err
}

// SessionLock waits for the lock.
func (l *sessionLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	start := time.Now()
	var said time.Time
	for {
		var locked bool
		if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", lock.DefaultLockID).Scan(&locked); err != nil {
			return fmt.Errorf("take the migration lock: %w", err)
		}
		if locked {
			return nil
		}
		holder, err := lookUpHolder(ctx, conn)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			// It was released a moment ago.
		case err != nil:
			return fmt.Errorf("find the holder of the migration lock: %w", err)
		case time.Since(start) > l.wait:
			return fmt.Errorf("the migration lock is still held by %s after %v: wait until it has ended, or end it with SELECT pg_terminate_backend(%d)",
				holder, l.wait, holder.pid)
		case time.Since(said) > lockSay:
			said = time.Now()
			l.logger.WarnContext(ctx, "another session holds the migration lock: waiting for it", "pid", holder.pid, "application", holder.application,
				"user", holder.user, "client", holder.client, "since", holder.since, "waiting_at_most", l.wait)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the migration lock is held by %s: %w", holder, ctx.Err())
		case <-time.After(min(lockPoll, l.wait)):
		}
	}
}

// lockHolder is the session that holds the migration lock. Properties that the
// role may not see are "unknown".
type lockHolder struct {
	pid                       int
	application, user, client string
	since                     string
}

func (h lockHolder) String() string {
	return fmt.Sprintf("process %d (application %q, user %s, client %s, connected since %s)", h.pid, h.application, h.user, h.client, h.since)
}

// holderOf finds the holder. PostgreSQL does not record when a lock was taken. A
// session that migrates takes this lock as soon as it has connected, so its start
// is close enough.
const holderOf = `
SELECT l.pid, coalesce(a.application_name, 'unknown'), coalesce(a.usename, 'unknown'),
       CASE WHEN a.backend_start IS NULL THEN 'unknown' ELSE coalesce(host(a.client_addr) || ':' || a.client_port, 'unix socket') END,
       coalesce(to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'unknown')
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid::bigint << 32 | l.objid::bigint = $1`

func lookUpHolder(ctx context.Context, conn *sql.Conn) (h lockHolder, err error) {
	err = conn.QueryRowContext(ctx, holderOf, lock.DefaultLockID).Scan(&h.pid, &h.application, &h.user, &h.client, &h.since)
	return h, err
}
