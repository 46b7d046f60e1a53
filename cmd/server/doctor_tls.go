package main

import (
	"context"

	"quern/postgres"
)

// unprotected says what each sslmode does not protect against (PostgreSQL manual,
// 34.19.4, Table 34.1).
var unprotected = map[string]string{
	"disable":   "the connection crosses a network unencrypted: whoever is on the way can read the password exchange and all data, change them, and pose as the server",
	"allow":     "the connection crosses a network unencrypted unless the server insists on TLS, and the server's certificate is not checked: whoever is on the way can read and change all data, and pose as the server",
	"prefer":    "the connection is unencrypted if the server offers no TLS, which an attacker on the way can bring about, and the server's certificate is not checked: an attacker can read and change all data, and pose as the server",
	"require":   "the connection is encrypted, and the server's certificate is not checked: an attacker on the way can pose as the server, and then read and change all data",
	"verify-ca": "the server's certificate is checked, and the host in it is not: whoever has any certificate of that authority can pose as the server",
}

// checkTLS names each host that is reached over a network with less than
// sslmode=verify-full. It needs no server that answers.
func (x *report) checkTLS(ctx context.Context, a *app) {
	if a.settings.DatabaseURL == "" {
		return // the embedded one listens on loopback
	}
	for _, w := range postgres.FindWeakTLS(ctx, a.settings.postgres(a.settings.DatabaseURL, a.log)) {
		x.note("sslmode is %s for %s: %s: set sslmode=verify-full in %s, and sslrootcert to the file of the authority that signed the server's certificate, or to system",
			w.Mode, w.Host, unprotected[w.Mode], w.Setting)
	}
}
