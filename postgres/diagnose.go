package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/dsn"
)

// Diagnosis explains an error of a server, or of a connection to it.
type Diagnosis struct {
	What      string // the problem, in a few words
	Hint      string // how to fix it; empty if unknown
	Transient bool   // the problem may end by itself, so it is worth trying again

	// The old names of Hint and Transient.
	//
	// Deprecated: Use Hint and Transient.
	Mend    string
	Passing bool
}

// weight ranks the diagnoses of several attempts by how far the attempt got. A rejected
// password says more than a host that does not answer.
type weight int

const (
	unknown weight = iota
	unreached
	handshake
	refused
)

// Diagnose explains an error of Connect, or of a statement that found no server. The Hint
// of an unknown error is empty. If several hosts were tried, the diagnosis is that of the
// attempt that got furthest, and is Transient if any of the hosts may answer later.
func Diagnose(err error) Diagnosis {
	var best Diagnosis
	var most weight
	transient := false
	for _, cause := range causes(err) {
		d, w := diagnose(cause)
		transient = transient || d.Transient
		if best == (Diagnosis{}) || w > most {
			best, most = d, w
		}
	}
	// If a server has rejected the connection, another host does not help, because pgx has
	// tried all of them.
	best.Transient = best.Transient || transient && most < refused
	best.Mend, best.Passing = best.Hint, best.Transient
	return best
}

// causes returns the errors that err joins, one for each attempt to connect.
func causes(err error) []error {
	for e := err; e != nil; {
		switch x := e.(type) {
		case interface{ Unwrap() []error }:
			var all []error
			for _, inner := range x.Unwrap() {
				all = append(all, causes(inner)...)
			}
			return all
		case interface{ Unwrap() error }:
			e = x.Unwrap()
		default:
			e = nil
		}
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// dialled matches the address that pgx and net write three times before the error.
var dialled = regexp.MustCompile(`\S+ \(\S+\): dial error: dial (?:tcp|unix) (\S+): (?:connect: )?`)

// oneLine returns an error's text on one line. pgx writes a line for each attempt,
// including those with and without TLS to one host.
func oneLine(err error) string {
	var parts []string
	for _, cause := range causes(withoutConfig(err)) {
		s := dialled.ReplaceAllString(strings.Join(strings.Fields(cause.Error()), " "), "$1: ")
		if !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "; ")
}

func diagnose(err error) (Diagnosis, weight) {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return diagnoseServer(server)
	}
	// The statement timed out, and the server has not confirmed that it was cancelled.
	var e *Error
	if errors.As(err, &e) && e.Kind == ErrTimeout && !e.unreached && e.Statement != "connect" && e.Statement != "ping" {
		return tooSlow, refused
	}
	if d, ok := diagnoseTLS(err); ok {
		return d, handshake
	}
	if d, ok := diagnoseSetup(err); ok {
		return d, refused
	}
	return diagnoseNetwork(err)
}

// diagnoseServer explains an error that the server returned (PostgreSQL manual, appendix
// A).
func diagnoseServer(e *pgconn.PgError) (Diagnosis, weight) {
	switch e.Code {
	case pgerrcode.InvalidPassword:
		return Diagnosis{What: "the user or the password is wrong", Hint: "check both in DATABASE_URL, PGPASSWORD or the password file"}, refused
	case pgerrcode.InvalidAuthorizationSpecification:
		return diagnoseRole(e), refused
	case pgerrcode.InvalidCatalogName:
		return Diagnosis{What: "the database does not exist", Hint: "create it, or correct its name in DATABASE_URL"}, refused
	case pgerrcode.InsufficientPrivilege:
		return Diagnosis{What: "permission denied", Hint: "GRANT the missing privilege to the role of DATABASE_URL: CONNECT on the database, USAGE on the schema, or those on the table"}, refused
	case pgerrcode.TooManyConnections:
		return Diagnosis{What: "too many clients", Hint: "close other connections, lower POOL_MAX_CONNS, or raise max_connections or the role's CONNECTION LIMIT", Transient: true}, refused
	case pgerrcode.CannotConnectNow:
		return Diagnosis{What: "the server is starting, stopping or recovering", Hint: "wait; the server's log shows the progress", Transient: true}, refused
	case pgerrcode.AdminShutdown, pgerrcode.CrashShutdown:
		return Diagnosis{What: "the server is shutting down", Hint: "wait until it is up again", Transient: true}, refused
	case pgerrcode.ReadOnlySQLTransaction:
		return readOnly, refused
	case pgerrcode.InvalidSQLStatementName, pgerrcode.DuplicatePreparedStatement:
		return behindAPooler, refused
	case pgerrcode.QueryCanceled:
		return tooSlow, refused
	case pgerrcode.UndefinedObject, pgerrcode.InvalidParameterValue:
		return Diagnosis{What: "the server rejects a setting in the connection string", Hint: "correct or remove that parameter in DATABASE_URL"}, refused
	case pgerrcode.ProtocolViolation, pgerrcode.ConnectionException, pgerrcode.ConnectionFailure:
		return diagnosePooler(e), refused
	}
	return Diagnosis{What: "the server rejected the request"}, refused
}

// diagnoseRole distinguishes rejections by pg_hba.conf. They share one SQLSTATE and one
// routine, so only their text contains the reason. If the server's lc_messages translates
// it, the hint lists all of them.
func diagnoseRole(e *pgconn.PgError) Diagnosis {
	switch text := e.Message; {
	case strings.Contains(text, "client certificate"), strings.Contains(text, "certificate authentication failed"):
		return Diagnosis{What: "the server requires a client certificate", Hint: "set sslcert and sslkey in DATABASE_URL to a certificate that was issued for the user"}
	case strings.Contains(text, "no encryption"), strings.Contains(text, "SSL off"):
		return Diagnosis{What: "the server requires TLS for connections from this host", Hint: "set sslmode=require or higher in DATABASE_URL, or allow this host without TLS in the server's pg_hba.conf"}
	case e.Routine == "ClientAuthentication":
		return Diagnosis{What: "the role may not connect, because the server's pg_hba.conf rejects it", Hint: "add a line for the role, database and host to pg_hba.conf; if there is one that requires TLS or a client certificate, set sslmode=require, sslcert and sslkey in DATABASE_URL"}
	}
	return Diagnosis{What: "the role may not connect", Hint: "check the user in DATABASE_URL, its LOGIN attribute, and its line in the server's pg_hba.conf"}
}

var (
	readOnly = Diagnosis{
		What:      "the server is read-only",
		Hint:      "point DATABASE_URL at the primary, or list all hosts and add target_session_attrs=read-write",
		Transient: true,
	}
	behindAPooler = Diagnosis{
		What: "a pooler gives each transaction another server connection",
		Hint: "set POOLER=transaction, or point DATABASE_URL at the server itself",
	}
	tooSlow = Diagnosis{
		What: "the statement timed out",
		Hint: "find the lock or the slow plan (pg_stat_activity), or raise QUERY_TIMEOUT or the query's @timeout",
	}
)

// diagnosePooler explains an error of PgBouncer, most of which have one SQLSTATE.
func diagnosePooler(e *pgconn.PgError) Diagnosis {
	switch text := e.Message; {
	case strings.Contains(text, "unsupported startup parameter"):
		return Diagnosis{What: "the pooler rejects a parameter in the connection string", Hint: "remove it from DATABASE_URL, or add it to the pooler's ignore_startup_parameters"}
	case strings.Contains(text, "no such database"):
		return Diagnosis{What: "the pooler does not know the database", Hint: "add it to the pooler's [databases], or correct its name in DATABASE_URL"}
	case strings.Contains(text, "no such user"), strings.Contains(text, "authentication failed"):
		return Diagnosis{What: "the pooler rejects the user or the password", Hint: "check both in DATABASE_URL and in the pooler's auth_file"}
	case strings.Contains(text, "transaction blocks not allowed"):
		return Diagnosis{What: "the pooler allows no transactions", Hint: "set its pool_mode to transaction, and POOLER=transaction"}
	case strings.Contains(text, "no more connections"):
		return Diagnosis{What: "too many clients", Hint: "lower POOL_MAX_CONNS, or raise the pooler's max_client_conn", Transient: true}
	}
	return Diagnosis{What: "the pooler could not reach its server, or timed out waiting for it", Hint: "check the pooler's log", Transient: true}
}

// diagnoseTLS explains an error of the handshake.
func diagnoseTLS(err error) (Diagnosis, bool) {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		remote    *net.OpError
	)
	switch {
	case errors.As(err, &authority):
		return Diagnosis{What: "TLS: the server's certificate was signed by an unknown authority", Hint: "set sslrootcert in DATABASE_URL to the authority's certificate"}, true
	case errors.As(err, &host):
		return Diagnosis{What: "TLS: the server's certificate is for another host", Hint: "use a host in DATABASE_URL that the certificate names, or sslmode=verify-ca"}, true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Diagnosis{What: "TLS: the server's certificate has expired or is not valid yet", Hint: "renew it on the server, and check both clocks"}, true
	case errors.As(err, &invalid), strings.Contains(err.Error(), "x509: "):
		return Diagnosis{What: "TLS: the server's certificate is invalid", Hint: "issue a new one for the server"}, true
	case strings.Contains(err.Error(), "server refused TLS"):
		return Diagnosis{What: "TLS: the server does not support it", Hint: "set ssl=on on the server, or sslmode=disable in DATABASE_URL"}, true
	case errors.As(err, &alert), errors.As(err, &remote) && remote.Op == "remote error":
		return Diagnosis{What: "TLS: the server aborted the handshake", Hint: "check that the server's ssl_ca_file has the authority of sslcert in DATABASE_URL, and check the server's log"}, true
	case errors.As(err, &record):
		return Diagnosis{What: "TLS: the server on that port is not PostgreSQL", Hint: "check the port in DATABASE_URL"}, true
	}
	return Diagnosis{}, false
}

// diagnoseSetup explains an error of the client.
func diagnoseSetup(err error) (Diagnosis, bool) {
	var malformed *dsn.MalformedError
	var fenced *fencedError
	switch text := err.Error(); {
	case errors.As(err, &malformed):
		return Diagnosis{What: malformed.Setting + " is invalid", Hint: dsn.Hint}, true
	case errors.As(err, &fenced):
		return fenced.diagnosis(), true
	case errors.Is(err, ErrPooler):
		return behindAPooler, true
	case errors.Is(err, ErrEncoding):
		return Diagnosis{What: ErrEncoding.Error(), Hint: "create a database with ENCODING 'UTF8' TEMPLATE template0, move the data to it with pg_dump, and name it in DATABASE_URL"}, true
	case errors.Is(err, pgconn.ErrReadOnlyConnection), errors.Is(err, pgconn.ErrStandbyConnection):
		return readOnly, true
	case errors.Is(err, pgconn.ErrReadWriteConnection), errors.Is(err, pgconn.ErrPrimaryConnection):
		return Diagnosis{What: "the server is a primary", Hint: "list a standby in DATABASE_URL, or change target_session_attrs", Transient: true}, true
	case strings.Contains(text, "require_auth check failed"):
		return Diagnosis{What: "the server uses an authentication method that require_auth forbids", Hint: "change the method in the server's pg_hba.conf, or require_auth in DATABASE_URL"}, true
	case strings.Contains(text, "channel binding"):
		return Diagnosis{What: "the server does not support channel binding", Hint: "use TLS and scram-sha-256, or remove channel_binding=require"}, true
	case strings.Contains(text, "sslcertmode check failed"):
		return Diagnosis{What: "the server did not ask for the client certificate", Hint: "set clientcert in the server's pg_hba.conf, or remove sslcertmode=require"}, true
	case errors.Is(err, ErrPoolExhausted):
		return Diagnosis{What: "all connections of the pool are in use", Hint: "raise POOL_MAX_CONNS, or find the statements that hold them", Transient: true}, true
	}
	return Diagnosis{}, false
}

// diagnoseNetwork explains an error of the network.
func diagnoseNetwork(err error) (Diagnosis, weight) {
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		return Diagnosis{What: "the host's name cannot be resolved (DNS)", Hint: "check the host in DATABASE_URL", Transient: true}, unreached
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return Diagnosis{What: "connection refused: nothing listens on that address", Hint: "check the host and port in DATABASE_URL, and that PostgreSQL is running and listens there (listen_addresses)", Transient: true}, unreached
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return Diagnosis{What: "permission denied on the socket", Hint: "check the permissions of the socket, or this machine's firewall"}, unreached
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Diagnosis{What: "no route to host", Hint: "check the host in DATABASE_URL, and the network", Transient: true}, unreached
	case errors.Is(err, context.Canceled):
		return Diagnosis{What: "broken off"}, unreached
	case pgconn.Timeout(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ErrTimeout):
		return Diagnosis{What: "no answer in time", Hint: "check the host and port in DATABASE_URL, and that no firewall swallows the packets; CONNECT_TIMEOUT bounds each attempt", Transient: true}, unreached
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Diagnosis{What: "the server closed the connection", Hint: "check that PostgreSQL listens on that port, and check its log for the reason", Transient: true}, handshake
	case connectionLost(err):
		return Diagnosis{What: "the connection broke", Hint: "check the network and the server's log", Transient: true}, handshake
	}
	return Diagnosis{What: "unknown error"}, unknown
}
