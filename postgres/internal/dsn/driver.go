package dsn

import (
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// driverParameters are the parameters of a connection string that pgx itself uses, each with a
// hint that says what to set instead. pgx removes them from the parsed string, so neither the
// server nor the caller of pgx would notice them.
var driverParameters = map[string]string{
	"default_query_exec_mode":       "statements are prepared: remove it; with PgBouncer's pool_mode=transaction, set POOLER=transaction",
	"statement_cache_capacity":      "the cache of prepared statements follows POOLER: remove it",
	"description_cache_capacity":    "the cache of prepared statements follows POOLER: remove it",
	"pool_max_conns":                "POOL_MAX_CONNS takes precedence: remove it and set POOL_MAX_CONNS",
	"pool_min_conns":                "POOL_MIN_CONNS takes precedence: remove it and set POOL_MIN_CONNS",
	"pool_min_idle_conns":           "POOL_MIN_CONNS takes precedence: remove it and set POOL_MIN_CONNS",
	"pool_max_conn_lifetime":        "POOL_MAX_CONN_LIFETIME takes precedence: remove it and set POOL_MAX_CONN_LIFETIME",
	"pool_max_conn_lifetime_jitter": "it is always a tenth of POOL_MAX_CONN_LIFETIME: remove it",
	"pool_max_conn_idle_time":       "POOL_MAX_CONN_IDLE takes precedence: remove it and set POOL_MAX_CONN_IDLE",
	"pool_health_check_period":      "it follows POOL_MAX_CONN_IDLE: remove it",
	"pool_ping_timeout":             "the ping of an idle connection always has a timeout of 1s: remove it",
}

// refuseDriverParameters returns an error if a connection string, or the service
// that it names, has one of driverParameters.
func refuseDriverParameters(setting, url string) error {
	if unreadable(url) != "" {
		return nil // parse returns the error
	}
	cc, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(driverParameters)) {
		if _, given := cc.RuntimeParams[name]; given {
			return fmt.Errorf("%s sets %s, which has no effect here: %s", setting, name, driverParameters[name])
		}
	}
	return nil
}
