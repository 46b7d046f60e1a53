package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/conn"
	"quern/postgres/internal/dsn"
)

// Config says how to talk to PostgreSQL. Its zero value with a URL is ready
// for use. Durations of zero mean the default.
type Config struct {
	// URL names the server: a URL or libpq's keyword form. What it leaves out
	// comes from libpq's environment variables (PGHOST, …). Defaults to those.
	URL string

	// ReplicaURLs name the replicas, each like URL. Defaults to none.
	ReplicaURLs []string

	// ReplicaMaxLag is how far behind the primary a replica may be and still
	// answer. Defaults to 10s.
	ReplicaMaxLag time.Duration

	// Statements are the generated registry, db.Statements. Defaults to none:
	// every statement then has the default policy.
	Statements []Statement

	// Name is what sessions and savepoints are named after: it is the
	// application_name unless the URL has one, and savepoints are Name_1, Name_2 and
	// so on. Defaults to quern.
	Name string

	// MarkerTable is the table of commit markers, with or without its schema (see
	// TablesMigration). Defaults to commit_markers.
	MarkerTable string

	// HistoryTable is the table of server histories, with or without its schema (see
	// TablesMigration). Defaults to server_histories.
	HistoryTable string

	// MaxConns is the size of the pool. Defaults to 2 × the cores that this
	// process may use, at least 4.
	MaxConns int32

	// MinConns are kept open when idle. Defaults to half of MaxConns: the cores.
	MinConns int32

	// PoolClasses gives classes of work (@class in the SQL files) their share of
	// each pool, as a percentage or a number of connections: {"bulk": "50%"} or
	// {"bulk": "2"}. One connection of each pool is always left to class default,
	// whatever is set. In a pool of one, the other classes are therefore refused.
	// A class that is not named has 50%. Defaults to {"bulk": "50%"}.
	PoolClasses map[string]string

	// MaxConnLifetime ends a connection after its last use behind that age,
	// plus a random part of a tenth, so that they do not all end at once.
	// Defaults to 1h.
	MaxConnLifetime time.Duration

	// MaxConnIdle ends a connection above MinConns that idled so long.
	// Defaults to 5m.
	MaxConnIdle time.Duration

	// AcquireTimeout bounds the wait for a connection of the pool. The wait also
	// counts against the statement's deadline, so that a statement with a shorter
	// one waits no longer than that. Defaults to 5s.
	AcquireTimeout time.Duration

	// ConnectTimeout bounds one attempt to connect to one host. A
	// connect_timeout in the URL goes before it. Defaults to 5s.
	ConnectTimeout time.Duration

	// ConnectRetries is how often the first connection is tried again when the
	// server cannot be reached or is still starting. Defaults to 5; negative
	// means never.
	ConnectRetries int

	// Pooler says what stands between here and the server. Defaults to
	// PoolerNone.
	Pooler Pooler

	// QueryTimeout bounds a statement whose SQL file has no @timeout.
	// Defaults to 10s.
	QueryTimeout time.Duration

	// TxMaxIdle is how long a transaction may be idle, because its function waits
	// for something else than its statements. Then it loses its connection; see
	// TxOptions.MaxIdle. Defaults to 5s; negative means no bound.
	TxMaxIdle time.Duration

	// CoalesceReads merges concurrent reads with @batch into one statement under load.
	// Defaults to true.
	CoalesceReads *bool

	// CoalesceInserts merges concurrent inserts with @batch into one statement under
	// load. Defaults to true.
	CoalesceInserts *bool

	// SeparateReads is the opposite of CoalesceReads, which takes precedence.
	//
	// Deprecated: Set CoalesceReads to false.
	SeparateReads bool

	// SeparateInserts is the opposite of CoalesceInserts, which takes precedence.
	//
	// Deprecated: Set CoalesceInserts to false.
	SeparateInserts bool

	// SlowQuery is the time from which a statement is logged as a warning.
	// Defaults to 200ms; negative means never.
	SlowQuery time.Duration

	// LogQueries logs every statement by name with its time, at debug level.
	// Defaults to off.
	LogQueries bool

	// LogArguments adds the arguments to what is logged. They are your users'
	// data: not for production. Defaults to off.
	LogArguments bool

	// Observers are notified of statements, connections and failures, in this order:
	// pgprom.New for metrics, pgotel.New for spans, and others. Defaults to none.
	Observers []Observer

	// Logger receives the log. Defaults to slog.Default().
	Logger *slog.Logger
}

// leastConns is the least default of MaxConns. On one core the rule gives two,
// and connections wait for disks and networks rather than for cores: with two,
// a request that holds one in a transaction halves the service.
const leastConns = 4

// DefaultPool returns the sizes of a pool for which none are set: as many
// connections as cores kept open, and twice as many at most.
//
// The cores are those of GOMAXPROCS, which since Go 1.25 obeys the CPU quota of
// the container; NumCPU would count those of the host.
func DefaultPool() (least, most int32) { return poolFor(runtime.GOMAXPROCS(0)) }

func poolFor(cores int) (least, most int32) {
	most = max(leastConns, 2*int32(cores))
	return most / 2, most
}

func (c Config) withDefaults() Config {
	_, most := DefaultPool()
	setDefault(&c.MaxConns, most)
	setDefault(&c.Name, "quern")
	setDefault(&c.MarkerTable, "commit_markers")
	setDefault(&c.HistoryTable, "server_histories")
	setDefault(&c.MinConns, (c.MaxConns+1)/2)
	setDefault(&c.MaxConnLifetime, time.Hour)
	setDefault(&c.MaxConnIdle, 5*time.Minute)
	setDefault(&c.AcquireTimeout, 5*time.Second)
	setDefault(&c.ConnectTimeout, 5*time.Second)
	setDefault(&c.ConnectRetries, 5)
	setDefault(&c.Pooler, PoolerNone)
	setDefault(&c.QueryTimeout, 10*time.Second)
	setDefault(&c.TxMaxIdle, 5*time.Second)
	setDefault(&c.ReplicaMaxLag, 10*time.Second)
	setDefault(&c.SlowQuery, 200*time.Millisecond)
	setDefault(&c.CoalesceReads, new(!c.SeparateReads))
	setDefault(&c.CoalesceInserts, new(!c.SeparateInserts))
	if c.PoolClasses == nil {
		c.PoolClasses = map[string]string{"bulk": defaultShare}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate names the setting that cannot be and how to mend it.
func (c Config) validate() error {
	switch {
	case c.MaxConns < 1:
		return fmt.Errorf("POOL_MAX_CONNS is %d: set it to 1 or more", c.MaxConns)
	case c.MinConns < 0 || c.MinConns > c.MaxConns:
		return fmt.Errorf("POOL_MIN_CONNS is %d: set it between 0 and POOL_MAX_CONNS, which is %d", c.MinConns, c.MaxConns)
	case c.MaxConnLifetime < 0, c.MaxConnIdle < 0, c.AcquireTimeout < 0, c.ConnectTimeout < 0, c.QueryTimeout < 0:
		return errors.New("a timeout is negative: set POOL_MAX_CONN_LIFETIME, POOL_MAX_CONN_IDLE, " +
			"POOL_ACQUIRE_TIMEOUT, CONNECT_TIMEOUT and QUERY_TIMEOUT to durations like 5s")
	case c.Pooler != PoolerNone && c.Pooler != PoolerTransaction:
		return fmt.Errorf("POOLER is %q: set it to %s or %s", c.Pooler, PoolerNone, PoolerTransaction)
	}
	if err := c.validateTables(); err != nil {
		return err
	}
	_, err := classLimits(c)
	return err
}

// poolConfig is the pgxpool's configuration for c, which has its defaults.
func (c Config) poolConfig() (*pgxpool.Config, error) {
	return c.poolConfigOf(settingPrimary, c.URL)
}

// poolConfigOf is poolConfig for the server that a setting names.
func (c Config) poolConfigOf(setting, url string) (*pgxpool.Config, error) {
	return c.options(setting, url).PoolConfig()
}

// options are those of the connections to the server that a setting names.
func (c Config) options(setting, url string) conn.Options {
	return conn.Options{
		Setting: setting, URL: url, ApplicationName: c.Name,
		MaxConns: c.MaxConns, MinConns: c.MinConns,
		MaxConnLifetime: c.MaxConnLifetime, MaxConnIdle: c.MaxConnIdle, ConnectTimeout: c.ConnectTimeout,
		Pooled: c.Pooler == PoolerTransaction, Types: typesOf(c.Statements), Logger: c.Logger,
	}
}

// typesOf returns the types that statements use, each once.
func typesOf(statements []Statement) []string {
	var all []string
	for _, s := range statements {
		all = append(all, s.Types...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ConnConfig returns the configuration of a connection to the primary beside the pool,
// such as that of a migration. It is dialled and guarded as those of the pool.
// afterConnect must prepare each new connection before its first statement: it holds
// the encoding to UTF-8 and sets the session's settings. It has the signature that
// stdlib.OptionAfterConnect and pgxpool's AfterConnect take.
func (c Config) ConnConfig() (cc *pgx.ConnConfig, afterConnect func(context.Context, *pgx.Conn) error, err error) {
	c = c.withDefaults()
	pc, err := c.poolConfig()
	if err != nil {
		return nil, nil, err
	}
	newHosts(c, pc).guard(&pc.ConnConfig.Config)
	return pc.ConnConfig, c.options(settingPrimary, c.URL).PrepareSession, nil
}

// String describes the configuration without its secrets. So does every other
// way to print or log one.
func (c Config) String() string {
	return fmt.Sprintf("postgres.Config{%s, %d replicas, %d to %d connections}",
		MaskURL(c.URL), len(c.ReplicaURLs), c.MinConns, c.MaxConns)
}

// Format implements fmt.Formatter for every verb: %#v shows fields otherwise.
func (c Config) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

// LogValue implements slog.LogValuer.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements encoding.TextMarshaler, which JSON asks for, too.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// MaskURL returns a connection string that may be shown: without its password, and
// without parameters that it does not know. A string that cannot be read is masked
// whole, or except for its host and database.
func MaskURL(s string) string { return dsn.Mask(s) }
