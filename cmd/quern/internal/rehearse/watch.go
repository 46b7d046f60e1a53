package rehearse

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// maxReplaced bounds how often a statement is stopped at a lock. REINDEX CONCURRENTLY waits six
// times.
const maxReplaced = 20

// look is the interval at which the locks of a running statement are read.
const look = time.Millisecond

// watched runs a statement that cannot run in a transaction, such as CREATE INDEX CONCURRENTLY.
// After it has ended its locks are gone, so they are read while it runs. Two other connections
// hold locks on all tables, so that even a fast statement stops at each lock that it requests.
// The lock of the first connection conflicts with every lock of a schema change, that of the
// second one only with ACCESS EXCLUSIVE.
func (r *runner) watched(ctx context.Context, s Statement) (Measured, error) {
	m := Measured{Statement: s, Locks: map[string]string{}}
	pid := r.conn.PgConn().PID()
	before, err := relations(ctx, r.observer, pid)
	if err != nil {
		return m, err
	}
	var holders []*pgx.Conn
	defer func() {
		for _, h := range holders {
			_ = h.Close(ctx) // which ends its transaction
		}
	}()
	for _, mode := range []string{"SHARE UPDATE EXCLUSIVE", "ACCESS SHARE"} {
		h, err := hold(ctx, r.url, before, mode, "")
		if err != nil {
			return m, err
		}
		holders = append(holders, h)
	}
	replaced := 0
	done := make(chan error, 1)
	start := time.Now()
	var worked time.Duration // how long it ran before it waited for a holder
	go func() { done <- r.exec(ctx, s.SQL) }()
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		case <-time.After(look):
		}
		seen, waits, failed := r.see(ctx, pid)
		if failed != nil {
			return m, failed
		}
		for oid, held := range seen {
			if b, ok := r.first[oid]; ok && (m.Locks[b.Name] == "" || Stronger(Mode(strongest(held)), m.Locks[b.Name])) {
				m.Locks[b.Name] = Mode(strongest(held))
			}
		}
		if waits && replaced < maxReplaced {
			// The statement must run on to its next lock. A new holder takes its locks with
			// NOWAIT, so it does not get the table for which the statement waits. The oldest
			// holder is then closed, and the statement gets its lock. It does not wait for the
			// new holder, which came later.
			replaced++
			worked += time.Since(start)
			h, failed := hold(ctx, r.url, before, "ACCESS SHARE", " NOWAIT")
			if failed != nil {
				return m, failed
			}
			holders = append(holders, h)
			_ = holders[0].Close(ctx)
			holders = holders[1:]
			start = time.Now()
		} else if waits {
			for _, h := range holders {
				_ = h.Close(ctx)
			}
			holders = nil
		}
	}
	m.Duration = worked + time.Since(start)
	m.Held = m.Duration
	if err != nil {
		return m, err
	}
	after, err := relations(ctx, r.observer, pid)
	if err != nil {
		return m, err
	}
	// An index is locked only briefly after its last use, and it is a matter of chance to see
	// that lock. Only locks on tables stop the statement.
	for _, b := range before {
		if b.Table != "" {
			delete(m.Locks, b.Name)
		}
	}
	m.Taken = m.Locks
	m.compare(r.first, before, after)
	return m, nil
}

// hold returns a connection that holds locks on all tables in a mode. With NOWAIT it holds only
// those that it gets without waiting.
func hold(ctx context.Context, url string, all map[uint32]relation, mode, wait string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	var lock strings.Builder
	lock.WriteString("BEGIN; DO $hold$ BEGIN ")
	for _, r := range all {
		if r.Kind == "r" || r.Kind == "p" {
			fmt.Fprintf(&lock, "BEGIN LOCK TABLE ONLY %s IN %s MODE%s; EXCEPTION WHEN lock_not_available OR undefined_table THEN NULL; END; ", r.Name, mode, wait)
		}
	}
	lock.WriteString("END $hold$")
	if _, err := conn.PgConn().Exec(ctx, lock.String()).ReadAll(); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// see returns the modes of the locks that a backend holds or waits for, by the relations' OIDs,
// and whether it waits for one.
func (r *runner) see(ctx context.Context, pid uint32) (all map[uint32][]string, waits bool, err error) {
	rows, err := r.observer.Query(ctx, `SELECT coalesce(relation, 0), mode, NOT granted FROM pg_locks WHERE pid = $1`, int32(pid))
	if err != nil {
		return nil, false, err
	}
	all = map[uint32][]string{}
	var (
		oid     uint32
		mode    string
		waiting bool
	)
	_, err = pgx.ForEachRow(rows, []any{&oid, &mode, &waiting}, func() error {
		if oid != 0 {
			all[oid] = append(all[oid], mode)
		}
		waits = waits || waiting
		return nil
	})
	return all, waits, err
}
