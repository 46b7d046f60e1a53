// Package pgproc lists the built-in functions of PostgreSQL: which of them only
// read, and which return the same result for the same arguments within a
// statement. The catalog pg_proc has this for one server. Use this package if
// there is no server to query.
package pgproc

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// stableList has the names in pg_catalog of which every overload is STABLE or
// IMMUTABLE in all versions of PostgreSQL, from 15 to 18, that have the name. It
// is the combined result of PostgreSQL 15 and 18 for
//
//	SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
//	GROUP BY proname HAVING bool_and(provolatile <> 'v' AND prokind <> 'p');
//
//go:embed stable.txt
var stableList string

var stable = sync.OnceValue(func() map[string]bool { return setOf(strings.Fields(stableList)...) })

// Stable reports whether all built-in functions with the name are STABLE or
// IMMUTABLE. It returns false for an unknown name.
func Stable(name string) bool { return stable()[name] }

// readingVolatile are functions that are VOLATILE because their results differ
// between calls, but whose effects do not outlast the statement.
var readingVolatile = setOf(
	"clock_timestamp", "timeofday", "random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7",
	"pg_sleep", "pg_sleep_for", "pg_sleep_until", "currval", "lastval", "current_query",
	"pg_blocking_pids", "pg_lock_status", "pg_notification_queue_usage", "pg_sequence_last_value",
	"pg_database_size", "pg_relation_size", "pg_table_size", "pg_indexes_size", "pg_total_relation_size", "pg_tablespace_size",
	"pg_partition_tree", "pg_partition_ancestors", "pg_xact_status", "txid_status",
	"pg_xact_commit_timestamp", "pg_last_committed_xact", "pg_is_in_recovery", "pg_is_wal_replay_paused",
	"pg_last_wal_receive_lsn", "pg_last_wal_replay_lsn", "pg_last_xact_replay_timestamp",
	"pg_current_wal_lsn", "pg_current_wal_flush_lsn", "pg_current_wal_insert_lsn",
)

// writingStable are functions that PostgreSQL declares STABLE although they
// assign a transaction ID, which a standby refuses.
var writingStable = setOf("txid_current", "pg_current_xact_id")

// Reads reports whether the built-in functions with the name change nothing: no
// row, sequence, held lock or setting, and no message to other sessions. It
// returns false for an unknown name.
func Reads(name string) bool {
	return (Stable(name) || readingVolatile[name]) && !writingStable[name]
}

// writingVolatile are built-in functions whose effects outlast the statement, and
// writingPrefixes begin the names of others.
var (
	writingVolatile = setOf(
		"nextval", "setval", "set_config", "setseed", "pg_notify", "loread", "lowrite", "pg_logical_emit_message",
		"pg_cancel_backend", "pg_terminate_backend", "pg_reload_conf", "pg_rotate_logfile", "pg_switch_wal", "pg_promote",
		"pg_export_snapshot", "pg_import_system_collations", "query_to_xml", "brin_summarize_new_values", "brin_summarize_range",
		"brin_desummarize_range", "gin_clean_pending_list",
	)
	writingPrefixes = []string{
		"lo_", "pg_advisory_", "pg_try_advisory_", "pg_stat_reset", "pg_create_", "pg_drop_", "pg_copy_", "pg_replication_origin_",
		"pg_replication_slot_", "pg_logical_slot_get_", "pg_wal_replay_", "pg_backup_", "binary_upgrade_",
	}
)

// Writes reports whether a built-in function with the name has effects that
// outlast the statement. It returns false for an unknown name.
func Writes(name string) bool {
	hasPrefix := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	return !Reads(name) && (writingVolatile[name] || writingStable[name] || slices.ContainsFunc(writingPrefixes, hasPrefix))
}
