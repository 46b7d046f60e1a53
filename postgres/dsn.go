package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// parseURL reads the connection string of a setting. Its errors say what is
// wrong with it in words of our own: pgx quotes what it could not read, and that
// is, as often as not, a part of the password.
func parseURL(setting, s string) (*pgxpool.Config, error) {
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
	return nil, &malformedError{setting, reason}
}

// malformedError is about a connection string, and holds no part of it.
type malformedError struct{ setting, reason string }

func (e *malformedError) Error() string {
	return fmt.Sprintf("%s cannot be read: %s: %s", e.setting, e.reason, mendURL)
}

const mendURL = "write it as postgres://user:password@host:port/database or as host=… user=… dbname=…"

const unescaped = "it has an @, /, ? or # that separates nothing: percent-encode those of the password (%40, %2F, %3F, %23)"

// unreadable says what is wrong with a connection string that pgx would read,
// but otherwise than it was meant.
func unreadable(s string) string {
	rest, isURL := cutScheme(s)
	if !isURL {
		if scheme := strings.Index(s, "://"); scheme > 0 && !strings.ContainsAny(s[:scheme], " =") {
			return "it is a URL of another kind than postgres://"
		}
		return ""
	}
	// Behind the question mark an @ is only a character.
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

// parameterName is what a server may call a setting of a session.
var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.$]*$`)

// misread looks for what can only have become a host, a name or a setting by
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
			return "it has a parameter with an impossible name"
		}
		values = append(values, value)
	}
	for _, v := range values {
		if lower := strings.ToLower(v); strings.Contains(lower, "password=") || strings.Contains(v, "://") {
			return "it lacks a value: what comes next was taken for it"
		}
	}
	return ""
}

// reasons are pgx's complaints, and ours instead. The first one that is found
// is meant.
var reasons = []struct{ pgx, ours string }{
	{"failed to parse as URL", "it is not a URL"},
	{"failed to parse as keyword/value", "it is neither a URL nor a list of keyword=value"},
	{"invalid port", "its port is not a number from 1 to 65535, or the password has a : or / that is not percent-encoded"},
	{"could not match", "it has not as many ports as hosts"},
	{"sslmode is invalid", "sslmode is none of disable, allow, prefer, require, verify-ca and verify-full"},
	{"unable to read CA file", "the file of sslrootcert cannot be read"},
	{"unable to add CA to cert pool", "the file of sslrootcert holds no certificate"},
	{`both "sslcert" and "sslkey"`, "sslcert and sslkey need each other"},
	{"unable to read sslkey", "the file of sslkey cannot be read"},
	{"failed to decode sslkey", "the file of sslkey holds no key"},
	{"sslpassword", "the key in sslkey is encrypted: it needs sslpassword"},
	{"unable to decrypt key", "sslpassword does not open the key in sslkey"},
	{"unable to read cert", "the file of sslcert cannot be read"},
	{"unable to load cert", "sslcert and sslkey do not belong together"},
	{"sslcertmode", "sslcertmode is none of disable, allow and require"},
	{"connect_timeout", "connect_timeout is not a number of seconds"},
	{"target_session_attrs", "target_session_attrs is none of any, read-write, read-only, primary, standby and prefer-standby"},
	{"protocol_version", "min_protocol_version or max_protocol_version is not one there is"},
	{"channel_binding", "channel_binding is none of disable, prefer and require"},
	{"require_auth", "require_auth is not a list of password, md5, scram-sha-256, gss, sspi, oauth and none"},
	{"unable to find service", "the service it names is not in the service file"},
	{"failed to read service", "the service file cannot be read"},
}

func reasonOfParsing(err error) string {
	// pgx writes: cannot parse `the string`: the complaint. What it quotes can
	// only mislead the choice below, not show.
	complaint := err.Error()
	if i := strings.LastIndex(complaint, "`: "); i >= 0 {
		complaint = complaint[i:]
	}
	for _, r := range reasons {
		if !strings.Contains(complaint, r.pgx) {
			continue
		}
		// Of a file that cannot be read: why, and not its name, which may be
		// what stands behind a value that was forgotten.
		if file := (*fs.PathError)(nil); errors.As(err, &file) {
			return r.ours + ": " + file.Err.Error()
		}
		return r.ours
	}
	return "it is malformed"
}

// harmless are the parameters of a URL that may be shown, and secret those
// whose names may.
var (
	harmless = []string{
		"application_name", "channel_binding", "connect_timeout", "database", "dbname", "host", "port", "require_auth", "search_path",
		"sslcert", "sslcertmode", "sslkey", "sslmode", "sslrootcert", "target_session_attrs", "timezone", "user",
	}
	secret = []string{"passfile", "password", "sslpassword"}
)

// MaskURL returns a connection string that may be shown: without its password,
// and without parameters that it does not know. What cannot be read is masked
// whole, or but for its host and database.
func MaskURL(s string) string {
	const masked = "(masked: it cannot be read)"
	if s == "" {
		return ""
	}
	if unreadable(s) != "" {
		return masked
	}
	pc, malformed := parseURL("", s)
	if _, isURL := cutScheme(s); isURL {
		if u, err := url.Parse(s); err == nil && u.Fragment == "" {
			u.RawQuery = maskQuery(u.Query(), malformed == nil).Encode()
			return u.Redacted()
		}
	}
	if malformed != nil {
		return masked
	}
	return describe(pc)
}

func maskQuery(q url.Values, readable bool) url.Values {
	const mask = "xxxxx"
	shown := url.Values{}
	for name, values := range q {
		switch known := slices.Contains(harmless, name); {
		case known && readable:
			shown[name] = values
		case known, slices.Contains(secret, name):
			shown.Set(name, mask)
		default:
			shown.Set(mask, mask)
		}
	}
	return shown
}

// describe is a connection string in keyword form, without secrets.
func describe(pc *pgxpool.Config) string {
	cc := pc.ConnConfig
	hosts, ports := []string{cc.Host}, []string{fmt.Sprint(cc.Port)}
	for _, f := range cc.Fallbacks {
		// One host stands there twice when it may be tried without TLS.
		host, port := f.Host, fmt.Sprint(f.Port)
		if host != hosts[len(hosts)-1] || port != ports[len(ports)-1] {
			hosts, ports = append(hosts, host), append(ports, port)
		}
	}
	return fmt.Sprintf("host=%s port=%s user=%s dbname=%s", strings.Join(hosts, ","), strings.Join(ports, ","), cc.User, cc.Database)
}
