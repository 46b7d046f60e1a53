package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"time"
)

// unsentLimit is how much of a streamed response the kernel may hold unsent. A kernel
// reports a full socket as writable again when about a third of its buffer is free. With a
// buffer of megabytes, a client that reads 20 KB/s would appear stalled for a minute. With
// this limit, its progress shows every few seconds.
const unsentLimit = 128 << 10

type netConnKey struct{}

// ConnContext must be set in http.Server so that exports can measure the progress of their
// clients. Without it, and on connections other than TCP, a client that reads less than
// about 80 KB/s may count as stalled.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, netConnKey{}, c)
}

// boundConn limits how much the kernel may hold unsent for the connection of a request.
func boundConn(ctx context.Context) {
	conn, _ := ctx.Value(netConnKey{}).(net.Conn)
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = wrapped.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = boundUnsent(tcp) // if it fails, slow clients are cut off sooner
	}
}

// streamWriter sends a response of any length. It fails if the client reads nothing for too
// long, or when the time limit of the export has passed.
type streamWriter struct {
	w     http.ResponseWriter
	on    *http.ResponseController
	head  func()        // adds the headers
	stall time.Duration // the least patience
	waits time.Duration // the patience of the last Write
	until time.Time     // deadline of the export
	begun bool
	bytes int64
	err   error
}

func (s *streamWriter) Write(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.head()
	}
	s.waits = s.patience()
	deadline := time.Now().Add(s.waits)
	if s.until.Before(deadline) {
		deadline = s.until
	}
	// If a server does not support deadlines, there is none to extend.
	_ = s.on.SetWriteDeadline(deadline)
	n, err := s.w.Write(p)
	s.bytes += int64(n)
	s.err = err
	return n, err
}

// slowReader is the rate, in bytes a second, from which a steady client is served.
const slowReader = 20_000

// patience returns how long the client may read nothing. Its reads show only when its
// kernel announces free space again. After a kernel has closed its window, it opens it when
// a sixteenth of its buffer is free. The buffer holds at most the bytes that were sent, and
// a slow reader may take that long. Four times the least patience is enough for 2 MB, a
// sixteenth of the 32 MB that Linux gives a connection at most.
func (s *streamWriter) patience() time.Duration {
	return s.stall + min(3*s.stall, time.Duration(s.bytes)*time.Second/slowReader)
}

// cut returns why the server ended a response that had begun, or "" if the client closed
// the connection.
func (s *streamWriter) cut(ctx context.Context) string {
	switch {
	case !time.Now().Before(s.until):
		return "it took longer than EXPORT_TIMEOUT"
	case errors.Is(s.err, os.ErrDeadlineExceeded):
		return "the client took nothing for " + s.waits.Round(time.Millisecond).String()
	case s.err != nil, errors.Is(ctx.Err(), context.Canceled):
		return ""
	}
	return "the database failed"
}
