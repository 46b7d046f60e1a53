//go:build !linux

package api

import "net"

// boundUnsent bounds how much the kernel holds of what the client has not taken.
// It slows down a client that is fast and far away, too.
func boundUnsent(conn *net.TCPConn) error { return conn.SetWriteBuffer(unsentLimit) }
