package conn

import (
	"strings"
	"syscall"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of tcp(7). Package syscall does not have
// it on every architecture.
const tcpUserTimeout = 18

// boundUnacknowledged makes the kernel close a connection whose peer has
// acknowledged nothing for deadAfter. It is set before connecting, so it also
// bounds that.
func boundUnacknowledged(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	control := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(deadAfter.Milliseconds()))
	})
	if control != nil {
		return control
	}
	return err
}
