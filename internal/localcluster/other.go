//go:build !linux

// Package localcluster starts a PostgreSQL cluster under Patroni. It needs Linux.
package localcluster
