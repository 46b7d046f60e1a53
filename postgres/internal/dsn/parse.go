package dsn

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Parse parses the connection string of a setting. It refuses parameters that pgx
// itself uses (see driverParameters). If the string cannot be parsed, or pgx would
// misinterpret it, the error is a *MalformedError.
func Parse(setting, s string) (*pgxpool.Config, error) {
	if err := refuseDriverParameters(setting, s); err != nil {
		return nil, err
	}
	return parse(setting, s)
}

func parse(setting, s string) (*pgxpool.Config, error) {
	reason := unreadable(s)
	var pc *pgxpool.Config
	if reason == "" {
		var err error
		if pc, err = pgxpool.ParseConfig(s); err != nil {
			reason = reasonOfParsing(err)
		} else {
			reason = misread(pc)
		}
	}
	if reason == "" {
		return pc, nil
	}
	return nil, &MalformedError{setting, reason}
}

// MalformedError is the error of a connection string. It contains no part of the
// string, because pgx quotes the part that it could not parse, which is often a piece
// of the password.
type MalformedError struct {
	Setting string // the setting with the string
	reason  string
}

func (e *MalformedError) Error() string {
	return fmt.Sprintf("%s is invalid: %s: %s", e.Setting, e.reason, Hint)
}

// Hint tells how to write a connection string.
const Hint = "write it as postgres://user:password@host:port/database or as host=… user=… dbname=…"

const unescaped = "unexpected @, /, ? or #: percent-encode those in the password (%40, %2F, %3F, %23)"

// unreadable returns the mistake in a connection string that pgx would accept but
// misinterpret.
func unreadable(s string) string {
	rest, isURL := cutScheme(s)
	if !isURL {
		if scheme := strings.Index(s, "://"); scheme > 0 && !strings.ContainsAny(s[:scheme], " =") {
			return "its scheme is not postgres://"
		}
		return ""
	}
	// After the question mark an @ has no special meaning.
	head, _, _ := strings.Cut(rest, "?")
	if strings.Count(head, "@") > 1 || strings.Contains(head, "#") {
		return unescaped
	}
	if at, slash := strings.Index(head, "@"), strings.Index(head, "/"); slash >= 0 && at > slash {
		return unescaped
	}
	return ""
}

func cutScheme(s string) (string, bool) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			return rest, true
		}
	}
	return "", false
}

// parameterName matches a possible name of a session's setting.
var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.$]*$`)

// misread looks for a host, name or parameter that can only be the result of a
// mistake.
func misread(pc *pgxpool.Config) string {
	cc := pc.ConnConfig
	hosts := []string{cc.Host}
	for _, f := range cc.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, host := range hosts {
		if !strings.HasPrefix(host, "/") && strings.ContainsAny(host, "@/?#=&'\"` \t\r\n") {
			return unescaped
		}
	}
	values := append(hosts, cc.User, cc.Database)
	for name, value := range cc.RuntimeParams {
		if !parameterName.MatchString(name) {
			return "it has a parameter with an invalid name"
		}
		values = append(values, value)
	}
	for _, v := range values {
		if lower := strings.ToLower(v); strings.Contains(lower, "password=") || strings.Contains(v, "://") {
			return "a parameter has no value, so the next parameter was parsed as its value"
		}
	}
	return ""
}

// reasons are pgx's messages and the texts that replace them. The first match applies.
var reasons = []struct{ pgx, ours string }{
	{"failed to parse as URL", "it is not a URL"},
	{"failed to parse as keyword/value", "it is neither a URL nor a list of keyword=value"},
	{"invalid port", "the port is not a number from 1 to 65535, or the password has a : or / that is not percent-encoded"},
	{"could not match", "the number of ports differs from the number of hosts"},
	{"sslmode is invalid", "invalid sslmode: use disable, allow, prefer, require, verify-ca or verify-full"},
	{"unable to read CA file", "cannot read the file of sslrootcert"},
	{"unable to add CA to cert pool", "the file of sslrootcert contains no certificate"},
	{`both "sslcert" and "sslkey"`, "sslcert and sslkey must be set together"},
	{"unable to read sslkey", "cannot read the file of sslkey"},
	{"failed to decode sslkey", "the file of sslkey contains no key"},
	{"sslpassword", "the key in sslkey is encrypted: set sslpassword"},
	{"unable to decrypt key", "sslpassword does not decrypt the key in sslkey"},
	{"unable to read cert", "cannot read the file of sslcert"},
	{"unable to load cert", "sslkey is not the key of sslcert"},
	{"sslcertmode", "invalid sslcertmode: use disable, allow or require"},
	{"connect_timeout", "invalid connect_timeout: use a number of seconds"},
	{"target_session_attrs", "invalid target_session_attrs: use any, read-write, read-only, primary, standby or prefer-standby"},
	{"protocol_version", "invalid min_protocol_version or max_protocol_version"},
	{"channel_binding", "invalid channel_binding: use disable, prefer or require"},
	{"require_auth", "invalid require_auth: use a list of password, md5, scram-sha-256, gss, sspi, oauth and none"},
	{"unable to find service", "the service file does not contain the service"},
	{"failed to read service", "cannot read the service file"},
}

func reasonOfParsing(err error) string {
	// pgx's format is: cannot parse `the string`: the message. The quoted string could
	// affect the choice below, but it is never shown.
	complaint := err.Error()
	if i := strings.LastIndex(complaint, "`: "); i >= 0 {
		complaint = complaint[i:]
	}
	for _, r := range reasons {
		if !strings.Contains(complaint, r.pgx) {
			continue
		}
		// Without the file's name. If a value is missing, the name may be the next
		// parameter, such as the password.
		if file := (*fs.PathError)(nil); errors.As(err, &file) {
			return r.ours + ": " + file.Err.Error()
		}
		return r.ours
	}
	return "it is malformed"
}
