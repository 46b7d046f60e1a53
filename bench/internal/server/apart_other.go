//go:build !linux

package server

// Apart changes nothing, because other systems have no call for it.
func (*Server) Apart() (together func() error, err error) {
	return func() error { return nil }, nil
}
