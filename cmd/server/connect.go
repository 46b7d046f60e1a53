package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgerrcode"

	"quern/internal/postgres"
)

// connect opens a pool on d and says what to do when that is not possible.
func connect(ctx context.Context, d *database, cfg postgres.Config) (*postgres.Router, error) {
	router, err := postgres.Connect(ctx, cfg)
	if err == nil || d.embedded != nil || ctx.Err() != nil {
		return router, err
	}
	if mend := connectMend(err); mend != "" {
		return nil, fmt.Errorf("%w: %s", err, mend)
	}
	return nil, err
}

// connectMend is what to do about a failure to connect, as far as its cause
// tells.
func connectMend(err error) string {
	var (
		certificate *tls.CertificateVerificationError
		name        *net.DNSError
		typed       *postgres.Error
	)
	switch {
	case errors.As(err, &certificate):
		return "set sslrootcert in DATABASE_URL to the authority that signed the server's certificate, and its host to a name in it"
	case strings.Contains(err.Error(), "server refused TLS"):
		return "switch TLS on in the server, or off with sslmode=disable in DATABASE_URL"
	case errors.As(err, &name), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "check the host and port in DATABASE_URL, and that PostgreSQL runs there"
	case errors.As(err, &typed) && typed.Code != "":
		return serverMend(typed.Code)
	case errors.Is(err, postgres.ErrTimeout), errors.Is(err, postgres.ErrUnavailable):
		return "check the host and port in DATABASE_URL, and that no firewall is between; CONNECT_TIMEOUT bounds each attempt"
	}
	return ""
}

// serverMend is what to do about a server's refusal.
func serverMend(code string) string {
	switch code {
	case pgerrcode.InvalidPassword, pgerrcode.InvalidAuthorizationSpecification:
		return "check the user and the password in DATABASE_URL, and the server's pg_hba.conf"
	case pgerrcode.InvalidCatalogName:
		return "create that database, or correct its name in DATABASE_URL"
	case pgerrcode.TooManyConnections:
		return "close connections, or raise the server's max_connections"
	case pgerrcode.InsufficientPrivilege:
		return "GRANT CONNECT ON DATABASE to that user"
	}
	return ""
}
