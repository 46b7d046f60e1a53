//go:build !linux

package conn

import "syscall"

// boundUnacknowledged does nothing where TCP has no such option. Keepalive
// detects a dead peer of an idle connection, and the statement's deadline ends
// the wait on a busy one.
func boundUnacknowledged(string, string, syscall.RawConn) error { return nil }
