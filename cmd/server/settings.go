package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"quern/internal/api"
	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
	"quern/postgres/patroni"
)

// settings are all settings of the program. kong makes a flag of each, reads its
// environment variable and prints its help.
type settings struct {
	DatabaseURL      string        `env:"DATABASE_URL" group:"Database" placeholder:"URL" help:"The PostgreSQL server, as postgres://user:password@host:port/database?sslmode=verify-full or as host=… user=… dbname=…. Without it, serve starts an embedded PostgreSQL in DATA_DIR."`
	ReplicaURLs      []string      `env:"DATABASE_REPLICA_URLS" name:"database-replica-urls" group:"Database" sep:" " placeholder:"URL" help:"Read replicas, separated by spaces. They serve the statements with @route replica in their SQL file."`
	ReplicaDiscovery []string      `env:"REPLICA_DISCOVERY" group:"Database" sep:" " placeholder:"URL" help:"URLs of the REST APIs of Patroni, separated by spaces, such as http://node1:8008. All servers of the cluster become replicas, as they come and go. None by default."`
	ReplicaMaxLag    time.Duration `env:"REPLICA_MAX_LAG" group:"Database" default:"10s" help:"A replica that lags behind the primary by more than this is not used."`
	DataDir          string        `env:"DATA_DIR" group:"Database" default:"./.data" help:"Directory of the embedded PostgreSQL, which is started if DATABASE_URL is not set."`
	AllowEmbedded    bool          `env:"ALLOW_EMBEDDED" group:"Database" negatable:"" help:"Start the embedded PostgreSQL even if LISTEN is not a loopback address, as in a container; false by default."`
	ApplyOnUp        bool          `env:"MIGRATE" name:"migrate" group:"Database" default:"true" negatable:"" help:"Apply pending migrations when serve starts, unless POOLER is transaction; true by default."`

	PoolMaxConns        int32             `env:"POOL_MAX_CONNS" group:"Database" default:"0" help:"Maximum number of connections; 0 means twice the number of cores, at least 4."`
	PoolMinConns        int32             `env:"POOL_MIN_CONNS" group:"Database" default:"0" help:"Number of connections kept open when idle; 0 means half of POOL_MAX_CONNS."`
	PoolClasses         map[string]string `env:"POOL_CLASSES" group:"Database" mapsep:" " default:"bulk=50%" help:"Share of the pool for each class of statements (@class in the SQL files), separated by spaces: a percentage or a number of connections. One connection is always reserved for the class default. A class that is not listed gets 50%."`
	PoolMaxConnLifetime time.Duration     `env:"POOL_MAX_CONN_LIFETIME" group:"Database" default:"1h" help:"Age at which a connection is replaced, plus up to 10 % of jitter."`
	PoolMaxConnIdle     time.Duration     `env:"POOL_MAX_CONN_IDLE" group:"Database" default:"5m" help:"Idle time after which a connection above POOL_MIN_CONNS is closed."`
	PoolAcquireTimeout  time.Duration     `env:"POOL_ACQUIRE_TIMEOUT" group:"Database" default:"5s" help:"Longest wait for a connection from the pool. If the statement's @timeout is shorter, that is the limit."`
	ConnectTimeout      time.Duration     `env:"CONNECT_TIMEOUT" group:"Database" default:"5s" help:"Timeout of one attempt to connect."`
	ConnectRetries      int               `env:"CONNECT_RETRIES" group:"Database" default:"5" help:"How often the first connection is retried while the server is unreachable or starting."`
	QueryTimeout        time.Duration     `env:"QUERY_TIMEOUT" group:"Database" default:"10s" help:"Timeout of a statement without @timeout in its SQL file."`
	TxMaxIdle           time.Duration     `env:"TX_MAX_IDLE" group:"Database" default:"5s" help:"How long a transaction may be idle between its statements before the server ends it."`

	CoalesceReads   bool `env:"COALESCE_READS" group:"Database" default:"true" negatable:"" help:"Under load, merge concurrent @batch reads into one statement; true by default."`
	CoalesceInserts bool `env:"COALESCE_INSERTS" group:"Database" default:"true" negatable:"" help:"Under load, merge concurrent @batch inserts into one statement; true by default."`
	CoalesceUpdates bool `env:"COALESCE_UPDATES" group:"Database" default:"true" negatable:"" help:"Under load, merge concurrent @batch updates and deletes into one statement; true by default."`

	CoalesceTransactions bool `env:"COALESCE_TRANSACTIONS" group:"Database" default:"true" negatable:"" help:"Under load, merge concurrent registrations into one transaction; true by default."`

	Pooler string `env:"POOLER" group:"Database" default:"none" enum:"none,transaction" help:"Connection pooler in front of the server: none or transaction. Use transaction with PgBouncer's pool_mode=transaction."`

	Listen          string        `env:"LISTEN" group:"Service" default:"127.0.0.1:8080" help:"Address to listen on; port 0 picks a free port. 127.0.0.1 is reachable from this machine only. Use :8080 to listen on all interfaces."`
	OperatorListen  string        `env:"OPERATOR_LISTEN" group:"Service" placeholder:"ADDRESS" help:"Address for operators: the console and /metrics are then served there, with the API, and not at LISTEN. None by default."`
	TLSCert         string        `env:"TLS_CERT" group:"Service" placeholder:"FILE" help:"PEM file of the certificate, and of those that signed it, for TLS at LISTEN and OPERATOR_LISTEN. It is read again when it changes. None by default."`
	TLSKey          string        `env:"TLS_KEY" group:"Service" placeholder:"FILE" help:"PEM file of the certificate's private key."`
	Auth            string        `env:"AUTH" group:"Service" default:"auto" enum:"auto,tokens" help:"When requests need an API token (see server token): ${enum}. auto demands one if LISTEN is not a loopback address, unless INSECURE is set; tokens demands one always."`
	Insecure        bool          `env:"INSECURE" group:"Service" negatable:"" help:"Serve every machine without API tokens, although LISTEN is not a loopback address; false by default."`
	TokenRate       float64       `env:"TOKEN_RATE" group:"Service" default:"0" help:"How many requests each API token may send per second, on average, to this process; 0 means no limit."`
	TokenBurst      int           `env:"TOKEN_BURST" group:"Service" default:"0" help:"How many requests each API token may send at once; 0 means TOKEN_RATE, at least 1."`
	TokenBulk       int           `env:"TOKEN_BULK" group:"Service" default:"0" help:"How many imports, exports, statistics and requests for many rows each API token may have running in this process; 0 means no limit."`
	AllowedHosts    []string      `env:"ALLOWED_HOSTS" name:"allowed-hosts" group:"Service" sep:" " placeholder:"HOST" help:"Hosts, separated by spaces, that are accepted in the Host header besides localhost and 127.0.0.1, such as the name of a proxy. If LISTEN is not a loopback address, any host is accepted unless this is set."`
	CORSOrigins     []string      `env:"CORS_ORIGINS" name:"cors-origins" group:"Service" sep:" " placeholder:"ORIGIN" help:"Origins, separated by spaces, whose pages may call the API from a browser, such as https://app.example.com; * allows every origin, without cookies. None by default."`
	ExportTimeout   time.Duration `env:"EXPORT_TIMEOUT" group:"Service" default:"30m" help:"Timeout of an export, including the time its client takes to read it; at most 12h."`
	RequestTimeout  time.Duration `env:"REQUEST_TIMEOUT" group:"Service" default:"40s" help:"Timeout of a request, including its COMMIT. Imports and exports may take longer as long as rows move."`
	ShutdownDelay   time.Duration `env:"SHUTDOWN_DELAY" group:"Service" default:"0s" help:"How long the service keeps serving when it shuts down, while /readyz already fails, so that load balancers stop sending requests. Set it to a little more than the interval of their probes."`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" group:"Service" default:"10s" help:"How long running requests may take to finish when the service shuts down."`

	TaskRetention time.Duration `env:"TASK_RETENTION" group:"Service" default:"720h" help:"How long tasks are kept after they completed, failed or were cancelled; 0 keeps them forever."`

	BodyMemory   size `env:"BODY_MEMORY" group:"Service" default:"128MB" help:"Memory limit for all request bodies above 4 KB together, except imports. Further requests wait."`
	ImportMemory size `env:"IMPORT_MEMORY" group:"Service" default:"128MB" help:"Memory limit for all imports together, at least 76MB. Further imports wait."`
	ImportSpool  size `env:"IMPORT_SPOOL" group:"Service" default:"10GB" help:"Disk space limit for the temporary files of all strict imports and rejected rows together, in TMPDIR."`

	QueryBudget     int    `env:"QUERY_BUDGET" group:"Log" default:"20" help:"How often one request may run the same statement. Beyond it, QUERY_BUDGET_MODE applies."`
	QueryBudgetMode string `env:"QUERY_BUDGET_MODE" name:"query-budget-mode" group:"Log" default:"log" enum:"off,log,fail" help:"What to do if a request exceeds QUERY_BUDGET: ${enum}. log writes a warning that names the statement and the one to call instead; fail responds with 500, for development."`

	LogLevel   string        `env:"LOG_LEVEL" group:"Log" default:"info" enum:"debug,info,warn,error" help:"Lowest level that is logged to standard error: ${enum}."`
	LogQueries bool          `env:"LOG_QUERIES" group:"Log" negatable:"" help:"Log the name and duration of every statement; lowers LOG_LEVEL to debug; false by default."`
	SlowQuery  time.Duration `env:"SLOW_QUERY" group:"Log" default:"200ms" help:"A statement that takes at least this long is logged as a warning; 0 means never."`
}

// Validate is called by kong after parsing.
func (s *settings) Validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"POOL_MAX_CONN_LIFETIME", s.PoolMaxConnLifetime},
		{"POOL_MAX_CONN_IDLE", s.PoolMaxConnIdle},
		{"POOL_ACQUIRE_TIMEOUT", s.PoolAcquireTimeout},
		{"CONNECT_TIMEOUT", s.ConnectTimeout},
		{"QUERY_TIMEOUT", s.QueryTimeout},
		{"TX_MAX_IDLE", s.TxMaxIdle},
		{"REPLICA_MAX_LAG", s.ReplicaMaxLag},
		{"EXPORT_TIMEOUT", s.ExportTimeout},
		{"SHUTDOWN_TIMEOUT", s.ShutdownTimeout},
		{"REQUEST_TIMEOUT", s.RequestTimeout},
	} {
		// Zero would mean no limit, and these settings exist so that nothing waits forever.
		if d.value <= 0 {
			return fmt.Errorf("%s is %s: set it to a duration above zero, like 5s", d.name, d.value)
		}
	}
	if s.QueryBudget <= 0 {
		return fmt.Errorf("QUERY_BUDGET is %d: set it to 1 or more, or QUERY_BUDGET_MODE to off", s.QueryBudget)
	}
	if s.TaskRetention < 0 {
		return fmt.Errorf("TASK_RETENTION is %s: set it to a duration like 720h, or to 0 to keep tasks forever", s.TaskRetention)
	}
	if s.ShutdownDelay < 0 {
		return fmt.Errorf("SHUTDOWN_DELAY is %s: set it to a duration like 5s, or to 0 to shut down at once", s.ShutdownDelay)
	}
	if s.ImportMemory < store.MinImportMemory {
		return fmt.Errorf("IMPORT_MEMORY is %s: set it to %s or more, because one import with long rows needs that much", s.ImportMemory, size(store.MinImportMemory))
	}
	if s.BodyMemory <= 0 {
		return fmt.Errorf("BODY_MEMORY is %s: set it to a size above zero, like 128MB", s.BodyMemory)
	}
	if s.ImportSpool <= 0 {
		return fmt.Errorf("IMPORT_SPOOL is %s: set it to a size above zero, like 10GB", s.ImportSpool)
	}
	if s.PoolMaxConns < 0 || s.PoolMinConns < 0 {
		return fmt.Errorf("POOL_MAX_CONNS is %d and POOL_MIN_CONNS is %d: set both to 0 or more", s.PoolMaxConns, s.PoolMinConns)
	}
	if low, high := s.poolSize(); low > high {
		return fmt.Errorf("POOL_MIN_CONNS is %d: set it no higher than POOL_MAX_CONNS, which is %d", low, high)
	}
	if s.Auth == "tokens" && s.Insecure {
		return errors.New("AUTH is tokens and INSECURE is true: set only one of them")
	}
	if err := s.validateTLS(); err != nil {
		return err
	}
	// Above a billion, an interval would be less than a nanosecond.
	if !(s.TokenRate >= 0 && s.TokenRate <= 1e9) || s.TokenBurst < 0 || s.TokenBulk < 0 {
		return fmt.Errorf("TOKEN_RATE is %g, TOKEN_BURST %d and TOKEN_BULK %d: set each to 0 or more", s.TokenRate, s.TokenBurst, s.TokenBulk)
	}
	if err := s.validateOrigins(); err != nil {
		return err
	}
	if _, err := s.patroni(); err != nil {
		return err
	}
	return s.validateHosts()
}

// poolSize returns the minimum and maximum number of connections of the pool.
func (s *settings) poolSize() (low, high int32) {
	low, high = s.PoolMinConns, s.PoolMaxConns
	if high == 0 {
		_, high = postgres.DefaultPool()
	}
	if low == 0 {
		low = (high + 1) / 2
	}
	return low, high
}

// postgres returns the configuration of a pool on the server of url.
func (s *settings) postgres(url string, log *slog.Logger) postgres.Config {
	low, high := s.poolSize()
	cfg := postgres.Config{
		URL:             url,
		ReplicaURLs:     slices.DeleteFunc(slices.Clone(s.ReplicaURLs), func(u string) bool { return u == "" }),
		ReplicaMaxLag:   s.ReplicaMaxLag,
		Statements:      db.Statements,
		MaxConns:        high,
		MinConns:        low,
		PoolClasses:     s.PoolClasses,
		MaxConnLifetime: s.PoolMaxConnLifetime,
		MaxConnIdle:     s.PoolMaxConnIdle,
		AcquireTimeout:  s.PoolAcquireTimeout,
		ConnectTimeout:  s.ConnectTimeout,
		ConnectRetries:  s.ConnectRetries,
		QueryTimeout:    s.QueryTimeout,
		TxMaxIdle:       s.TxMaxIdle,
		CoalesceReads:   &s.CoalesceReads,
		CoalesceInserts: &s.CoalesceInserts,
		CoalesceUpdates: &s.CoalesceUpdates,

		CoalesceTransactions: &s.CoalesceTransactions,

		Pooler:     postgres.Pooler(s.Pooler),
		SlowQuery:  s.SlowQuery,
		LogQueries: s.LogQueries,
		Logger:     log,
	}
	if p, err := s.patroni(); err == nil && p != nil { // Validate has returned the error
		cfg.ReplicaDiscovery = p.Addresses
	}
	// In postgres.Config, zero means the default. Here every default is explicit,
	// so zero was set on purpose and means none.
	if cfg.ConnectRetries <= 0 {
		cfg.ConnectRetries = -1
	}
	if cfg.SlowQuery <= 0 {
		cfg.SlowQuery = -1
	}
	return cfg
}

// patroni returns the client of REPLICA_DISCOVERY, or nil.
func (s *settings) patroni() (*patroni.Client, error) {
	urls := slices.DeleteFunc(slices.Clone(s.ReplicaDiscovery), func(u string) bool { return u == "" })
	if len(urls) == 0 {
		return nil, nil
	}
	p, err := patroni.New(urls...)
	if err != nil {
		return nil, fmt.Errorf("REPLICA_DISCOVERY has %w", err)
	}
	return p, nil
}

// queryBudget returns how often one request may run the same statement.
func (s *settings) queryBudget() int {
	if s.QueryBudgetMode == "off" {
		return math.MaxInt
	}
	return s.QueryBudget
}

// limits returns the limits of all imports of this process.
func (s *settings) limits() store.Limits {
	return store.Limits{ImportMemory: int64(s.ImportMemory), ImportSpool: int64(s.ImportSpool)}
}

// background configures the work that runs in the background.
func (s *settings) background(log *slog.Logger) store.Background {
	return store.Background{TaskRetention: s.TaskRetention, Logger: log}
}

// pooled reports whether a pooler may give each transaction another session. If
// so, migrations must not run, because the session lock that serializes them would
// protect nothing.
func (s *settings) pooled() bool { return s.Pooler == string(postgres.PoolerTransaction) }

// onePostgres is like postgres, but for a command that needs one connection.
func (s *settings) onePostgres(url string, log *slog.Logger) postgres.Config {
	cfg := s.postgres(url, log)
	cfg.MaxConns, cfg.MinConns = 1, 1
	cfg.ReplicaURLs, cfg.ReplicaDiscovery = nil, nil
	return cfg
}

// postgresDir is the directory of the embedded PostgreSQL. DATA_DIR is its parent,
// so that it can hold other data too.
func (s *settings) postgresDir() string { return filepath.Join(s.DataDir, "postgres") }

func (s *settings) logger(w io.Writer) *slog.Logger { return newLogger(w, s.logLevel()) }

// warningLogger is like logger, but without the lines of level info.
func (s *settings) warningLogger(w io.Writer) *slog.Logger {
	level := s.logLevel()
	if level == slog.LevelInfo {
		level = slog.LevelWarn
	}
	return newLogger(w, level)
}

func (s *settings) logLevel() slog.Level {
	if s.LogQueries {
		return slog.LevelDebug
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		panic(err) // kong has validated it
	}
	return level
}

func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(api.LogHandler(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})))
}

// setting is one setting as doctor shows it, with secrets masked.
type setting struct {
	name   string
	value  string
	source string
}

// settingSources lists the settings of a parsed command line, in the order of the
// struct. fromFile holds the names of those that were set in .env.
func settingSources(command *kong.Context, fromFile map[string]bool) []setting {
	var list []setting
	for _, flag := range command.Model.Flags {
		if len(flag.Tag.Envs) == 0 {
			continue
		}
		s := setting{name: flag.Tag.Envs[0], value: shown(flag.Target)}
		switch value := flag.Target.Interface().(type) {
		case string:
			if s.name == "DATABASE_URL" {
				s.value = postgres.MaskURL(value)
			}
		case []string:
			shown := slices.Clone(value)
			if s.name == "DATABASE_REPLICA_URLS" {
				for i, u := range value {
					shown[i] = postgres.MaskURL(u)
				}
			}
			s.value = strings.Join(shown, " ")
		case map[string]string:
			var pairs []string
			for _, key := range slices.Sorted(maps.Keys(value)) {
				pairs = append(pairs, key+"="+value[key])
			}
			s.value = strings.Join(pairs, " ")
		}
		_, inEnvironment := os.LookupEnv(s.name)
		switch {
		case slices.ContainsFunc(command.Path, func(p *kong.Path) bool { return p.Flag == flag }):
			s.source = "flag"
		case fromFile[s.name]:
			s.source = ".env"
		case inEnvironment:
			s.source = "environment"
		default:
			s.source = "default"
		}
		list = append(list, s)
	}
	return list
}

func shown(v reflect.Value) string { return fmt.Sprint(v.Interface()) }
