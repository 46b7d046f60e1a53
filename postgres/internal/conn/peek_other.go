//go:build !linux && !darwin

package conn

import "syscall"

// canPeek is false because sockets cannot be peeked at on this system. Idle
// connections are pinged instead.
const canPeek = false

type peeker struct{}

func (*peeker) open(syscall.Conn) {}

func (*peeker) dead() bool { return false }
