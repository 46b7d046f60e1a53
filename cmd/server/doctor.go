package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"

	"quern/localpg"
	"quern/postgres"
)

// oldestServer is the oldest major version that is still maintained and that the
// SQL here was tested on.
const oldestServer = 14

type doctorCommand struct {
	Counts  bool `help:"Also count all users and posts, and compare the kept counts with them."`
	Rebuild bool `help:"Replace the kept counts with the numbers of rows before they are compared; implies --counts."`
}

// Run checks the settings and the server, and fails if it finds a problem. It
// changes nothing, unless --rebuild is set, and creates no data directory.
func (c doctorCommand) Run(ctx context.Context, a *app) (err error) {
	printSettings(a.stdout, a.sources)
	x := &report{}
	for _, e := range a.settings.endpoints() {
		if !beyondLoopback(ctx, e.value) {
			continue
		}
		x.beyond = append(x.beyond, e)
		if a.settings.Insecure {
			x.note("%s is %s: %s", e.setting, e.value, exposed)
		}
	}
	if len(x.beyond) > 0 {
		if err := a.settings.refuseEmbedded(true); err != nil {
			x.wrong("%v", err)
		}
	}
	x.checkCertificate(a.settings)
	for _, m := range a.names {
		x.note("%s", m)
	}
	switch fresh, err := a.freshDataDir(); {
	case err != nil:
		x.wrong("%v", err)
	case fresh:
		x.checkBinaries(ctx)
		x.note("there is no database yet: `server serve` creates one in %s", a.settings.postgresDir())
	default:
		x.checkTLS(ctx, a)
		if err := x.inspect(ctx, a, c); err != nil {
			x.wrong("%v", err)
		}
	}
	x.print(a.stdout)
	if n := x.count(wrong); n > 0 {
		return fmt.Errorf("doctor: %s found, listed above", count(n, "problem"))
	}
	return nil
}

// freshDataDir reports whether the embedded PostgreSQL will be used and has not
// been started before.
func (a *app) freshDataDir() (bool, error) {
	if a.settings.DatabaseURL != "" {
		return false, nil
	}
	_, err := os.Stat(a.settings.postgresDir())
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// level is the severity of a finding.
type level string

const (
	wrong level = "wrong" // must be fixed
	note  level = "note"  // should be known to the operator
)

type finding struct {
	level level
	text  string
}

// report holds the facts about a server, and the findings.
type report struct {
	facts    [][2]string
	findings []finding
	beyond   []*endpoint // those that other machines can reach
}

func (x *report) fact(name, format string, args ...any) {
	x.facts = append(x.facts, [2]string{name, fmt.Sprintf(format, args...)})
}

func (x *report) wrong(format string, args ...any) {
	x.findings = append(x.findings, finding{wrong, fmt.Sprintf(format, args...)})
}

func (x *report) note(format string, args ...any) {
	x.findings = append(x.findings, finding{note, fmt.Sprintf(format, args...)})
}

func (x *report) count(l level) int {
	return len(slices.DeleteFunc(slices.Clone(x.findings), func(f finding) bool { return f.level != l }))
}

// checkBinaries checks whether the embedded PostgreSQL can be started.
func (x *report) checkBinaries(ctx context.Context) {
	dir, err := localpg.Find(ctx)
	switch {
	case errors.Is(err, localpg.ErrNotInstalled):
		x.note("no PostgreSQL is installed on this machine: the first start downloads one, unless DATABASE_URL is set")
	case err != nil:
		x.wrong("%v", err)
	default:
		x.fact("programs", "%s", dir)
	}
}

// inspect checks the server that the settings name.
func (x *report) inspect(ctx context.Context, a *app, c doctorCommand) (err error) {
	d, err := a.joinDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()

	cfg := a.settings.onePostgres(d.url, a.log)
	cfg.ConnectRetries = -1 // a server that is down is a finding
	if err := x.checkHosts(ctx, cfg); err != nil {
		return err
	}
	router, err := postgres.Connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer router.Close()
	s, err := look(ctx, router)
	if err != nil {
		return err
	}
	low, high := a.settings.poolSize()
	x.describe(s, low, high)
	x.check(s, high, d)
	if err := x.checkSettings(ctx, s, router); err != nil {
		return err
	}
	if err := x.checkIndexes(ctx, router); err != nil {
		return err
	}
	if err := x.checkCitus(ctx, router); err != nil {
		return err
	}
	mayReadStatus, err := x.checkGrants(ctx, s, router)
	if err != nil {
		return err
	}
	if mayReadStatus {
		if err := x.checkMigrations(ctx, a, d); err != nil {
			return err
		}
		// A pending migration or a missing privilege is reported already, and these fail with it.
		if x.count(wrong) == 0 && !a.settings.pooled() {
			if err := x.checkPlans(ctx, cfg); err != nil {
				return err
			}
		}
		if x.count(wrong) == 0 {
			if err := x.checkTokens(ctx, a, router); err != nil {
				return err
			}
			if err := x.checkCounts(ctx, router, c); err != nil {
				return err
			}
		}
	}
	return x.checkReplicas(ctx, a, d)
}

// checkReplicas reports whether each replica would be used, and if not, why.
func (x *report) checkReplicas(ctx context.Context, a *app, d *database) error {
	reports, err := postgres.InspectReplicas(ctx, a.settings.postgres(d.url, a.log))
	for _, r := range reports {
		switch {
		case r.Problem != "":
			x.wrong("replica %s is not used: %s", r.Name, r.Problem)
		case r.Role == "primary":
			x.fact("replica", "%s is the primary: it is used as a replica once it is one", r.Name)
		default:
			x.fact("replica", "%s follows the primary", r.Name)
		}
	}
	return err
}

// checkHosts reports the role of each host if DATABASE_URL lists several.
func (x *report) checkHosts(ctx context.Context, cfg postgres.Config) error {
	list, err := postgres.LookAtHosts(ctx, cfg)
	if err != nil {
		return err
	}
	for _, h := range list {
		switch {
		case h.Err != nil:
			x.fact("host "+h.Name, "no answer")
			x.note("host %s: %v", h.Name, h.Err)
		case h.Timeline == 0:
			x.fact("host "+h.Name, "standby, system identifier %d", h.System)
		default:
			x.fact("host "+h.Name, "primary on timeline %d, system identifier %d", h.Timeline, h.System)
		}
		if h.Problem != "" {
			x.wrong("host %s: %s", h.Name, h.Problem)
		}
	}
	return nil
}

// server holds the facts about a PostgreSQL server that doctor reports and checks.
type server struct {
	Version        string
	VersionNumber  int
	Database       string
	Role           string
	Superuser      bool
	RoleLimit      int // connections; -1 for none
	DatabaseLimit  int
	MaxConnections int
	Reserved       int
	Standby        bool
	ReadOnly       bool
	Schema         *string // the schema of new tables; nil if search_path names no schema that exists
	MayCreate      bool    // whether the role may create tables in it

	Synchronous string // synchronous_standby_names; empty if COMMITs do not wait for standbys
	Waiting     int    // number of waiting COMMITs that the role may see
	Standbys    *int   // number of connected synchronous standbys; nil if the role may not see it

	transport string
}

const lookAtServer = `
	SELECT current_setting('server_version')                      AS version,
	       current_setting('server_version_num')::int             AS version_number,
	       current_database()::text                               AS database,
	       current_user::text                                     AS role,
	       r.rolsuper                                             AS superuser,
	       r.rolconnlimit                                         AS role_limit,
	       d.datconnlimit                                         AS database_limit,
	       current_setting('max_connections')::int                AS max_connections,
	       current_setting('superuser_reserved_connections')::int AS reserved,
	       pg_is_in_recovery()                                    AS standby,
	       current_setting('default_transaction_read_only')::bool AS read_only,
	       current_schema()::text                                 AS schema,
	       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
	       CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN ''
	            ELSE current_setting('synchronous_standby_names') END AS synchronous,
	       (SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep') AS waiting,
	       CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE')
	            THEN (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) END AS standbys
	FROM pg_roles r, pg_database d
	WHERE r.rolname = current_user
	  AND d.datname = current_database()`

func look(ctx context.Context, router *postgres.Router) (server, error) {
	conn, err := router.Pool().Acquire(ctx)
	if err != nil {
		return server{}, err
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, lookAtServer)
	if err != nil {
		return server{}, err
	}
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByNameLax[server])
	if err != nil {
		return server{}, fmt.Errorf("look at the server: %w", err)
	}
	switch c := conn.Conn().PgConn().Conn().(type) {
	case *tls.Conn:
		s.transport = tls.VersionName(c.ConnectionState().Version)
	case *net.UnixConn:
		s.transport = "no (unix socket)"
	default:
		s.transport = "no"
	}
	return s, nil
}

func (x *report) describe(s server, poolMin, poolMax int32) {
	x.fact("server", "PostgreSQL %s", s.Version)
	x.fact("TLS", "%s", s.transport)
	x.fact("database", "%s (UTF8)", s.Database) // Connect rejects other encodings
	role := s.Role
	if s.Superuser {
		role += " (superuser)"
	}
	x.fact("role", "%s", role)
	x.fact("pool", "%d to %d connections", poolMin, poolMax)
	x.fact("max_connections", "%d, of which %d are reserved", s.MaxConnections, s.Reserved)
}

// check checks the facts that describe lists.
func (x *report) check(s server, poolMax int32, d *database) {
	if s.VersionNumber < oldestServer*10000 {
		x.wrong("PostgreSQL %s is too old: upgrade it to %d or newer", s.Version, oldestServer)
	}
	if s.Standby {
		x.wrong("the server is a standby: point DATABASE_URL at the primary, or list both hosts and add target_session_attrs=read-write")
	} else if s.ReadOnly {
		x.wrong("%v", postgres.ErrReadOnly)
	}
	if s.Schema != nil && !s.MayCreate {
		x.note("%s may not create tables in schema %s, so it cannot migrate: run `server migrate up` as the owner and serve with MIGRATE=false, or GRANT CREATE ON SCHEMA", s.Role, *s.Schema)
	}
	const standbyHint = "start the standby, or ALTER SYSTEM SET synchronous_standby_names to the running standbys and SELECT pg_reload_conf()"
	switch {
	case s.Waiting > 0:
		x.wrong("commits wait for a synchronous standby: %d are waiting now, with synchronous_standby_names = '%s': %s", s.Waiting, s.Synchronous, standbyHint)
	case s.Synchronous != "" && s.Standbys != nil && *s.Standbys == 0:
		x.wrong("no standby of synchronous_standby_names = '%s' is connected, so every commit will wait: %s", s.Synchronous, standbyHint)
	}
	// One connection must be left for the migrations and an operator's psql.
	if room := s.room(); int(poolMax) >= room {
		x.wrong("POOL_MAX_CONNS is %d and the server allows %s for this role and database: set it below that, or raise the limit of the server", poolMax, count(room, "connection"))
	}
	if s.Superuser && d.dir == "" {
		x.note("role %s is a superuser: connect with a role that owns only this database", s.Role)
	}
}

// room returns how many connections the role may have to the database.
func (s server) room() int {
	room := s.MaxConnections
	if !s.Superuser {
		room -= s.Reserved
	}
	for _, limit := range []int{s.RoleLimit, s.DatabaseLimit} {
		if limit >= 0 && !s.Superuser {
			room = min(room, limit)
		}
	}
	return room
}

func (x *report) checkMigrations(ctx context.Context, a *app, d *database) (err error) {
	m, err := a.newMigrator(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	list, err := m.Status(ctx)
	if err != nil {
		return err
	}
	var applied, pending, missing, late []string
	for _, s := range list {
		switch {
		case s.Missing:
			missing = append(missing, fmt.Sprint(s.Version))
		case s.Applied:
			applied = append(applied, s.File)
		default:
			pending = append(pending, s.File)
			if s.OutOfOrder {
				late = append(late, s.File)
			}
		}
	}
	x.fact("migrations", "%d applied, %d pending", len(applied), len(pending))
	if len(pending) > 0 {
		x.wrong("%s pending (%s): run `server migrate up`, or `server serve`, which applies them unless MIGRATE=false",
			count(len(pending), "migration"), strings.Join(pending, ", "))
	}
	if len(late) > 0 {
		x.wrong("%s older than the last one applied (%s): give it a higher number, or run `server migrate up --allow-out-of-order`",
			count(len(late), "pending migration"), strings.Join(late, ", "))
	}
	if len(missing) > 0 {
		x.note("the database has migrations that this binary does not have (%s): the binary is older than the schema, so deploy the version that has them", strings.Join(missing, ", "))
	}
	return nil
}

func printSettings(out io.Writer, settings []setting) {
	fmt.Fprintln(out, "Settings")
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, s := range settings {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", s.name, orDash(s.value), s.source)
	}
	_ = w.Flush()
}

func (x *report) print(out io.Writer) {
	if len(x.facts) > 0 {
		fmt.Fprintln(out, "\nDatabase")
		w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
		for _, f := range x.facts {
			fmt.Fprintf(w, "  %s\t%s\n", f[0], f[1])
		}
		_ = w.Flush()
	}
	fmt.Fprintln(out, "\nFindings")
	for _, f := range x.findings {
		fmt.Fprintf(out, "  %-7s%s\n", f.level, oneLine(withoutPasswords(f.text)))
	}
	if len(x.findings) == 0 {
		fmt.Fprintln(out, "  nothing is wrong")
	}
}
