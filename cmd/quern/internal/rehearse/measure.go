package rehearse

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Measured holds the effects of one statement.
type Measured struct {
	Statement Statement
	Duration  time.Duration
	Held      time.Duration // from its beginning to the end of its transaction

	Locks     map[string]string // by relation, the strongest mode of its lock; only relations that existed before the migration
	Taken     map[string]string // the part of Locks that no earlier statement had taken
	Rewritten []string          // tables that have a new file
	Built     map[string]string // indexes that were built, with their tables
	Read      map[string]int64  // by table, how many rows sequential scans read
}

// modes are PostgreSQL's lock modes, the weakest first (PostgreSQL manual, 13.3.1).
var modes = []string{
	"AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock",
	"ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock",
}

// Mode is a mode as SQL names it, such as ACCESS EXCLUSIVE.
func Mode(lock string) string {
	var b strings.Builder
	for i, r := range strings.TrimSuffix(lock, "Lock") {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// Stronger reports whether the first of two modes, as SQL names them, is the stronger one.
func Stronger(a, b string) bool {
	rank := func(mode string) int {
		return slices.IndexFunc(modes, func(m string) bool { return Mode(m) == mode })
	}
	return rank(a) > rank(b)
}

// relation is the state of a table, an index or a similar object at one moment.
type relation struct {
	Oid      uint32
	Name     string
	Kind     string
	Table    string // of an index
	Filenode uint32
	Modes    []string // the locks that the connection holds
	Scans    int64    // sequential scans in this transaction
	Rows     int64    // rows that these scans have read
}

const readRelations = `
SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind,
       coalesce((SELECT format('%I.%I', tn.nspname, t.relname) FROM pg_index AS x JOIN pg_class AS t ON t.oid = x.indrelid
                 JOIN pg_namespace AS tn ON tn.oid = t.relnamespace WHERE x.indexrelid = c.oid), '') AS "table",
       coalesce(pg_relation_filenode(c.oid), 0) AS filenode,
       ARRAY(SELECT l.mode FROM pg_locks AS l WHERE l.relation = c.oid AND l.pid = $1 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS modes,
       coalesce(pg_stat_get_xact_numscans(c.oid), 0) AS scans,
       coalesce(pg_stat_get_xact_tuples_returned(c.oid), 0) AS rows
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`

// relations reads the relations, with the locks of a backend.
func relations(ctx context.Context, conn *pgx.Conn, pid uint32) (map[uint32]relation, error) {
	rows, err := conn.Query(ctx, readRelations, int32(pid))
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[relation])
	all := map[uint32]relation{}
	for _, r := range list {
		all[r.Oid] = r
	}
	return all, err
}

// runner runs the statements of one migration on a scratch database.
type runner struct {
	conn     *pgx.Conn // runs the statements
	observer *pgx.Conn // reads the locks of conn, for statements that cannot run in a transaction
	url      string
	first    map[uint32]relation // the relations before the migration, because no session waits for objects that the migration itself creates
}

func newRunner(ctx context.Context, url string) (*runner, error) {
	r := &runner{url: url}
	var err error
	if r.conn, err = pgx.Connect(ctx, url); err != nil {
		return nil, err
	}
	if r.observer, err = pgx.Connect(ctx, url); err != nil {
		r.close(ctx)
		return nil, err
	}
	// A parallel worker would take locks and count scans in another process.
	_, err = r.conn.Exec(ctx, "SET max_parallel_workers_per_gather = 0; SET max_parallel_maintenance_workers = 0")
	if err == nil {
		r.first, err = relations(ctx, r.conn, 0)
	}
	if err != nil {
		r.close(ctx)
		return nil, err
	}
	return r, nil
}

func (r *runner) close(ctx context.Context) {
	for _, conn := range []*pgx.Conn{r.conn, r.observer} {
		if conn != nil {
			_ = conn.Close(ctx) // of a scratch database
		}
	}
}

// run runs the statements of a file, and measures each.
func (r *runner) run(ctx context.Context, list []Statement, noTx bool) (all []Measured, err error) {
	if noTx {
		for _, s := range list {
			m, err := r.alone(ctx, s)
			if err != nil {
				return all, fmt.Errorf("line %d: %w", s.Line, err)
			}
			all = append(all, m)
		}
		return all, nil
	}
	if err := r.exec(ctx, "BEGIN"); err != nil {
		return nil, err
	}
	for _, s := range list {
		m, err := r.within(ctx, s)
		if err != nil {
			_ = r.exec(ctx, "ROLLBACK")
			return all, fmt.Errorf("line %d: %w", s.Line, err)
		}
		all = append(all, m)
	}
	if err := r.exec(ctx, "COMMIT"); err != nil {
		return all, err
	}
	for i := range all {
		for _, later := range all[i:] {
			all[i].Held += later.Duration
		}
	}
	return all, nil
}

func (r *runner) exec(ctx context.Context, sql string) error {
	_, err := r.conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// within runs a statement in the transaction that is open. The transaction holds its locks to
// its end, so all of them can be read after the statement.
func (r *runner) within(ctx context.Context, s Statement) (Measured, error) {
	pid := r.conn.PgConn().PID()
	before, err := relations(ctx, r.conn, pid)
	if err != nil {
		return Measured{}, err
	}
	start := time.Now()
	if err := r.exec(ctx, s.SQL); err != nil {
		return Measured{}, err
	}
	m := Measured{Statement: s, Duration: time.Since(start)}
	after, err := relations(ctx, r.conn, pid)
	if err != nil {
		return m, err
	}
	// A relation that the statement dropped is no longer in the catalog, but it is still
	// locked.
	dropped, err := r.lockedOids(ctx)
	if err != nil {
		return m, err
	}
	m.Locks, m.Taken = map[string]string{}, map[string]string{}
	for oid, b := range before {
		a, ok := after[oid]
		held := a.Modes
		if !ok {
			held = dropped[oid]
		}
		mode := strongest(held)
		if _, old := r.first[oid]; !old || mode == "" {
			continue
		}
		m.Locks[b.Name] = Mode(mode)
		if mode != strongest(b.Modes) {
			m.Taken[b.Name] = Mode(mode)
		}
	}
	m.leaveOutIndexes(before)
	m.compare(r.first, before, after)
	return m, nil
}

// leaveOutIndexes removes the locks of indexes whose tables are locked in the same mode or a
// stronger one.
func (m *Measured) leaveOutIndexes(before map[uint32]relation) {
	for _, b := range before {
		if b.Table != "" && m.Locks[b.Table] != "" && !Stronger(m.Locks[b.Name], m.Locks[b.Table]) {
			delete(m.Locks, b.Name)
			delete(m.Taken, b.Name)
		}
	}
}

// lockedOids returns the modes in which the connection holds relations, by their OIDs.
func (r *runner) lockedOids(ctx context.Context) (map[uint32][]string, error) {
	rows, err := r.conn.Query(ctx, "SELECT relation, mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation IS NOT NULL")
	if err != nil {
		return nil, err
	}
	all := map[uint32][]string{}
	var (
		oid  uint32
		mode string
	)
	_, err = pgx.ForEachRow(rows, []any{&oid, &mode}, func() error {
		all[oid] = append(all[oid], mode)
		return nil
	})
	return all, err
}

func strongest(list []string) (mode string) {
	for _, m := range list {
		if slices.Index(modes, m) > slices.Index(modes, mode) {
			mode = m
		}
	}
	return mode
}

var truncates = regexp.MustCompile(`(?i)^\s*TRUNCATE\b`)

// compare finds the relations that were rewritten, built and read between two moments.
func (m *Measured) compare(first, before, after map[uint32]relation) {
	m.Built, m.Read = map[string]string{}, map[string]int64{}
	if truncates.MatchString(m.Statement.SQL) {
		return // new files, which are empty
	}
	files := map[uint32]bool{}
	tables := map[string]bool{}
	for _, b := range before {
		files[b.Filenode] = true
	}
	for _, b := range first {
		tables[b.Name] = true
	}
	for oid, a := range after {
		b, old := before[oid]
		switch {
		case a.Kind == "i" && !files[a.Filenode]:
			// An index that kept its file was renamed, or made again for the same contents.
			m.Built[a.Name] = a.Table
		case !old:
		case (a.Kind == "r" || a.Kind == "m") && a.Filenode != b.Filenode:
			m.Rewritten = append(m.Rewritten, b.Name)
		}
		if old && a.Kind == "r" && a.Scans > b.Scans {
			m.Read[b.Name] = a.Rows - b.Rows
		}
	}
	for index, table := range m.Built {
		if !tables[table] {
			delete(m.Built, index) // of a new table
		}
	}
	slices.Sort(m.Rewritten)
}

var controlsTx = regexp.MustCompile(`(?i)^\s*(BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT)\b`)

// alone runs a statement of a file without a transaction. If PostgreSQL allows it, the
// statement runs in a separate transaction, because its locks can then be read.
func (r *runner) alone(ctx context.Context, s Statement) (Measured, error) {
	switch {
	case controlsTx.MatchString(s.SQL):
		return Measured{Statement: s}, r.exec(ctx, s.SQL)
	case r.conn.PgConn().TxStatus() == 'T':
		m, err := r.within(ctx, s)
		m.Held = m.Duration
		return m, err
	}
	if err := r.exec(ctx, "BEGIN"); err != nil {
		return Measured{}, err
	}
	m, err := r.within(ctx, s)
	if err == nil {
		m.Held = m.Duration
		return m, r.exec(ctx, "COMMIT")
	}
	if failed := r.exec(ctx, "ROLLBACK"); failed != nil {
		return m, failed
	}
	refused := (*pgconn.PgError)(nil)
	if errors.As(err, &refused) && (refused.Code == pgerrcode.ActiveSQLTransaction || refused.Code == pgerrcode.InvalidTransactionTermination) {
		return r.watched(ctx, s)
	}
	return m, err
}
