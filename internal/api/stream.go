package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"time"
)

// unsentLimit is how much of a streamed answer the kernel may hold unsent. A
// kernel reports a full socket writable again when about a third of its buffer
// has drained. With a buffer of megabytes, a client that reads 20 KB/s would be
// silent for a minute and look stalled; with this it is seen every few seconds.
const unsentLimit = 128 << 10

type netConnKey struct{}

// ConnContext is for http.Server. With it, exports see how fast their clients
// really read. Without it, and on what is not TCP, a client that reads less than about 80 KB/s
// may count as stalled.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, netConnKey{}, c)
}

// boundConn bounds what the kernel holds for the connection of a request.
func boundConn(ctx context.Context) {
	conn, _ := ctx.Value(netConnKey{}).(net.Conn)
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = wrapped.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = boundUnsent(tcp) // without it, slow clients are cut off sooner
	}
}

// streamWriter sends an answer of any length: as long as the client takes some
// of it, and until the end of its time in all.
type streamWriter struct {
	w     http.ResponseWriter
	on    *http.ResponseController
	head  func()        // sets the headers
	stall time.Duration // the least patience
	waits time.Duration // the patience of the last Write
	until time.Time     // when the export has to be whole
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
	// Where a server knows no deadlines, none has to be put off.
	_ = s.on.SetWriteDeadline(deadline)
	n, err := s.w.Write(p)
	s.bytes += int64(n)
	s.err = err
	return n, err
}

// slowReader is the rate, in bytes a second, from which a steady client is served.
const slowReader = 20_000

// patience is how long the client may take nothing. Its reads show only when
// its kernel has room again: a kernel that has closed its window opens it when a sixteenth
// of its buffer is free. That buffer holds at most what was sent, and a slow
// reader takes so long to read that. Four times the least patience is enough for
// 2 MB, a sixteenth of the 32 MB that Linux gives a connection at most.
func (s *streamWriter) patience() time.Duration {
	return s.stall + min(3*s.stall, time.Duration(s.bytes)*time.Second/slowReader)
}

// cut says why the server stopped an answer that had begun, or nothing if the client
// left.
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
