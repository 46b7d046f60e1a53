//go:build linux || darwin

package conn

import "syscall"

// canPeek is true because peeker detects closed sockets on this system.
const canPeek = true

// peeker checks a socket without blocking and without consuming data. It takes
// half a microsecond, while a ping takes forty.
type peeker struct {
	raw   syscall.RawConn
	look  func(fd uintptr) // allocated once, because a closure per check would be garbage
	found bool
	buf   [1]byte
}

func (p *peeker) open(c syscall.Conn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	p.raw, p.look = raw, func(fd uintptr) {
		for {
			_, _, err := syscall.Recvfrom(int(fd), p.buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if err == syscall.EINTR {
				continue
			}
			// An idle connection must have no data to read.
			p.found = err != syscall.EAGAIN && err != syscall.EWOULDBLOCK
			return
		}
	}
}

// dead reports whether the socket is closed or broken, or has data to read.
func (p *peeker) dead() bool {
	return p.raw != nil && (p.raw.Control(p.look) != nil || p.found)
}
