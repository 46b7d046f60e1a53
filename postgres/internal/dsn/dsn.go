// Package dsn reads connection strings and describes them without their secrets. It
// does not connect.
//
//	Parse            parse.go, driver.go  a connection string as pgx reads it, or why it cannot be used
//	Mask, Describe   mask.go              how it may be shown
//	Hosts, SSLMode   hosts.go             its hosts, each by itself, and how their TLS is checked
package dsn
