package conn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// StartupSettings are sent in every connection's startup message, where they take
// precedence over those of the role and of the database. PgBouncer accepts these
// four from any client and refuses most others (its track_extra_parameters). The
// values are spelled as the server reports them, because PgBouncer compares the two
// and would otherwise set them again for each transaction.
//
// Without client_encoding, a role or database with LATIN1 makes the server decode
// incoming UTF-8 as LATIN1. Text is then stored encoded twice, and still reads back
// correctly.
var StartupSettings = map[string]string{
	"client_encoding":             "UTF8",
	"standard_conforming_strings": "on",
	"DateStyle":                   "ISO, MDY",
	"TimeZone":                    "UTC",
}

// SessionSettings determine the meaning of a statement or the text of a value. They
// are set in the round trip after a connection's start, because PgBouncer refuses a
// startup message with them even in session mode. The values are PostgreSQL's own
// defaults. client_min_messages is included because a COMMIT that was cancelled
// while it waited for a standby reports that only with a WARNING.
var SessionSettings = map[string]string{
	"IntervalStyle":                  "postgres",
	"array_nulls":                    "on",
	"backslash_quote":                "safe_encoding",
	"bytea_output":                   "hex",
	"client_min_messages":            "notice",
	"default_transaction_deferrable": "off",
	"default_transaction_isolation":  "read committed",
	"extra_float_digits":             "1",
	"gin_fuzzy_search_limit":         "0",
	"row_security":                   "on",
	"transform_null_equals":          "off",
	"xmlbinary":                      "base64",
	"xmloption":                      "content",
}

// setSession sets those SessionSettings that exist on the server and have another value there.
var setSession = func() string {
	var rows []string
	for _, name := range slices.Sorted(maps.Keys(SessionSettings)) {
		rows = append(rows, fmt.Sprintf("('%s', '%s')", name, SessionSettings[name]))
	}
	return "SELECT pg_catalog.set_config(name, value, false) FROM (VALUES " + strings.Join(rows, ", ") +
		") AS s (name, value) WHERE pg_catalog.current_setting(name, true) <> value"
}()

// endVanished makes the server end a session whose client's machine is unreachable, as
// long after its last packet as the client gives up the connection (deadAfter). The
// end of a connection that a Pool closes does not reach the server if the network is
// cut. PostgreSQL's default is that of the kernel, two hours for an idle session, which
// counts towards max_connections as long.
var endVanished = fmt.Sprintf(`SELECT pg_catalog.set_config('tcp_keepalives_idle', '%d', false), pg_catalog.set_config('tcp_keepalives_interval', '%d', false),
  pg_catalog.set_config('tcp_keepalives_count', '%d', false), pg_catalog.set_config('tcp_user_timeout', '%d', false)`,
	int(dialer.KeepAliveConfig.Idle.Seconds()), int(dialer.KeepAliveConfig.Interval.Seconds()), dialer.KeepAliveConfig.Count, deadAfter.Milliseconds())

// pinStartup adds StartupSettings to the parameters of a connection string. If the
// string has another value for one of them, it is refused, because that value would
// have no effect. The time zone is an exception, because a project's statements may
// be written for another one.
func pinStartup(setting string, params map[string]string) error {
	if value, ok := os.LookupEnv("PGCLIENTENCODING"); ok && !isUTF8(value) {
		return fmt.Errorf("PGCLIENTENCODING is %s: text is always sent as UTF-8: unset it, or set it to UTF8", value)
	}
	for given, value := range params {
		for _, pinned := range []map[string]string{StartupSettings, SessionSettings} {
			for name, ours := range pinned {
				if !strings.EqualFold(given, name) || name == "TimeZone" {
					continue
				}
				if !sameSetting(name, value, ours) {
					return fmt.Errorf("%s sets %s to %q, but it is always %q: remove that parameter", setting, name, value, ours)
				}
				delete(params, given)
			}
		}
	}
	for name, value := range StartupSettings {
		if !hasFold(params, name) {
			params[name] = value
		}
	}
	return nil
}

func hasFold(params map[string]string, name string) bool {
	for given := range params {
		if strings.EqualFold(given, name) {
			return true
		}
	}
	return false
}

func sameSetting(name, value, ours string) bool {
	switch name {
	case "client_encoding":
		return isUTF8(value)
	case "DateStyle":
		return strings.EqualFold(value, "ISO") || strings.EqualFold(strings.ReplaceAll(value, " ", ""), "ISO,MDY")
	}
	return strings.EqualFold(value, ours)
}

// isUTF8 compares only letters and digits, like the server.
func isUTF8(encoding string) bool {
	plain := strings.Map(func(r rune) rune {
		if strings.ContainsRune("-_ '\"", r) {
			return -1
		}
		return r
	}, strings.ToLower(encoding))
	return plain == "" || plain == "utf8" || plain == "unicode"
}

// ErrEncoding means that a database does not store UTF-8, or that text would not be sent to it
// as UTF-8. A database with another encoding would refuse characters or, with SQL_ASCII, store
// arbitrary bytes.
var ErrEncoding = errors.New("the database's encoding is not UTF8")

// encodingError is ErrEncoding with the setting that shows it.
type encodingError struct{ name, value string }

func (e *encodingError) Error() string { return e.name + " is " + e.value }

func (e *encodingError) Unwrap() error { return ErrEncoding }

// PrepareSession prepares a new connection. It requires UTF-8 as encoding and sets
// SessionSettings and the keepalive settings of endVanished, except behind a transaction pooler, where they would remain on a
// server connection that other clients use.
func (o Options) PrepareSession(ctx context.Context, conn *pgx.Conn) error {
	for _, name := range []string{"server_encoding", "client_encoding"} {
		// A pooler may not report a setting that no server has reported to it yet.
		if value := conn.PgConn().ParameterStatus(name); value != "" && value != "UTF8" {
			return &encodingError{name, value}
		}
	}
	if o.Pooled {
		return nil
	}
	// pgxpool bounds connecting, but not the statements after it.
	ctx, cancel := context.WithTimeout(ctx, conn.Config().ConnectTimeout)
	defer cancel()
	_, err := conn.PgConn().Exec(ctx, setSession+"; "+endVanished).ReadAll()
	return err
}
