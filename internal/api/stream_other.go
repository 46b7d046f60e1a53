//go:build !linux

package api

import "net"

// boundUnsent limits how much data the kernel holds unsent. It also slows down a client
// that is fast and far away.
func boundUnsent(conn *net.TCPConn) error { return conn.SetWriteBuffer(unsentLimit) }
