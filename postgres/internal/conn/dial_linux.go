package conn

import (
	"strings"
	"syscall"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of tcp(7), which package syscall has not
// on every architecture.
const tcpUserTimeout = 18

// boundUnacknowledged makes the kernel give up a connection whose peer has
// acknowledged nothing for deadAfter. Set before connecting, it bounds that,
// too.
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
