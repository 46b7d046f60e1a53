package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestImport_Stalled sends a part of a body and then nothing, on an open
// connection. The answer is 408 wherever the import is at that moment.
func TestImport_Stalled(t *testing.T) {
	t.Parallel()
	rows := func(n int) string {
		var b strings.Builder
		b.WriteString("username,email\n")
		for i := range n {
			fmt.Fprintf(&b, "user%d,x\n", i)
		}
		return b.String()
	}
	for name, test := range map[string]struct {
		body   string
		query  string
		locked bool // the first chunk waits for a lock while the second one stalls
	}{
		"BeforeTheFirstByte": {body: ""},
		"InTheFirstChunk":    {body: rows(10)},
		"Strict":             {body: rows(10), query: "?strict=true"},
		"ChunkInFlight":      {body: rows(15_000), locked: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, func(cfg *Config) { cfg.StreamTimeout = 300 * time.Millisecond })
			if test.locked {
				tx, err := c.db.Router.Pool().Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
				if _, err := tx.Exec(t.Context(), "LOCK TABLE users"); err != nil {
					t.Fatal(err)
				}
			}
			a := stall(t, c, "/v1/users/import"+test.query, test.body)
			a.problem(http.StatusRequestTimeout, codeRequestTimeout)
		})
	}
}

// stall sends a part of a body that was announced as larger, and returns the
// answer.
func stall(t *testing.T, c *client, path, part string) *answer {
	t.Helper()
	host := strings.TrimPrefix(c.url, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: text/csv\r\nContent-Length: %d\r\n\r\n%s", path, host, len(part)+1000, part)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &answer{t: t, status: resp.StatusCode, header: resp.Header, body: string(text)}
}

// TestClientClosed holds what becomes of a request whose context has ended: no
// answer has an empty title, and a server that ends requests says so.
func TestClientClosed(t *testing.T) {
	t.Parallel()
	for c := range codes {
		if newProblem(c).Title == "" {
			t.Errorf("%s has no title", c)
		}
	}
	s := &server{Config: Config{Logger: textLogger(&logged{})}}
	for cause, want := range map[error]code{nil: codeClientClosed, errors.New("draining"): codeUnavailable} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		ctx, free := context.WithCancel(ctx) // as net/http makes one of each connection
		defer free()
		if p := s.problemOf(ctx, "act", ctx.Err()); p.Code != want {
			t.Errorf("cancelled because of %v: %s, want %s", cause, p.Code, want)
		}
	}
}
