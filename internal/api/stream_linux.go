package api

import (
	"net"
	"syscall"
)

// tcpNotSentLowat is TCP_NOTSENT_LOWAT (tcp(7), since Linux 3.12), which package
// syscall does not name.
const tcpNotSentLowat = 25

// boundUnsent bounds how much the kernel holds of what the client has not taken.
// It does not bound what is under way to a fast one.
func boundUnsent(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsentLimit)
	})
	if err != nil {
		return err
	}
	if failed != nil { // a kernel that only looks like Linux
		return conn.SetWriteBuffer(unsentLimit)
	}
	return nil
}
