package main

import (
	"context"

	"quern/postgres"
)

// unprotected describes the attacks that each sslmode does not prevent (PostgreSQL
// manual, 34.19.4, Table 34.1).
var unprotected = map[string]string{
	"disable":   "the connection is unencrypted: an attacker on the network can read the password exchange, read and change all data, and impersonate the server",
	"allow":     "the connection is unencrypted unless the server requires TLS, and the server's certificate is not checked: an attacker on the network can read and change all data, and impersonate the server",
	"prefer":    "the connection is unencrypted if the server offers no TLS, which an attacker on the network can force, and the server's certificate is not checked: the attacker can read and change all data, and impersonate the server",
	"require":   "the connection is encrypted, but the server's certificate is not checked: an attacker on the network can impersonate the server, and then read and change all data",
	"verify-ca": "the server's certificate is checked, but not its host name: an attacker with any certificate of that authority can impersonate the server",
}

// checkTLS lists each host that is reached over a network with a weaker sslmode than
// verify-full. It does not need the server to respond.
func (x *report) checkTLS(ctx context.Context, a *app) {
	if a.settings.DatabaseURL == "" {
		return // the embedded server listens on loopback only
	}
	for _, w := range postgres.FindWeakTLS(ctx, a.settings.postgres(a.settings.DatabaseURL, a.log)) {
		x.note("sslmode is %s for %s: %s: set sslmode=verify-full in %s, and sslrootcert to the certificate file of the authority that signed the server's certificate, or to system",
			w.Mode, w.Host, unprotected[w.Mode], w.Setting)
	}
}
