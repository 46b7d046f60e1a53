// Package dsn parses connection strings and formats them without their secrets. It does not connect.
//
//	Parse            parse.go, driver.go  parses like pgx, or tells why a string cannot be used
//	Mask, Describe   mask.go              formats without secrets
//	Hosts, SSLMode   hosts.go             its individual hosts, and how their TLS is verified
//	WithHost         hosts.go             the string for another host
package dsn
