package api

import (
	"net"
	"syscall"
)

// tcpNotSentLowat is TCP_NOTSENT_LOWAT (tcp(7), since Linux 3.12), which package
// syscall does not name.
const tcpNotSentLowat = 25

// boundUnsent limits how much data the kernel holds unsent. It does not limit data that is
// in flight to a fast client.
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
	if failed != nil { // a kernel that only emulates Linux
		return conn.SetWriteBuffer(unsentLimit)
	}
	return nil
}
