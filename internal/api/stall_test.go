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

// TestRefusedWhileSending: a client that is still sending reads the answer to
// a request that was refused, and no broken connection.
func TestRefusedWhileSending(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *Config) { cfg.MaxImportBytes = 1 << 20 })
	line := []byte(strings.Repeat("x", 1<<16) + "\n")
	for name, test := range map[string]struct {
		path, media string
		size        int64 // -1: sent in chunks
		want        int
	}{
		"TooLarge":       {"/v1/users/import", mediaCSV, 48 << 20, http.StatusRequestEntityTooLarge},
		"TooLargeChunks": {"/v1/users/import", mediaCSV, -1, http.StatusRequestEntityTooLarge},
		"Media":          {"/v1/users/import", "text/plain", -1, http.StatusUnsupportedMediaType},
		"JSON":           {"/v1/users", "application/json", 48 << 20, http.StatusRequestEntityTooLarge},
		"NoRoute":        {"/v1/none", "application/json", 48 << 20, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for range 20 {
				body := io.MultiReader(strings.NewReader("username,email\n"), io.LimitReader(repeated(line), 48<<20-15))
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+test.path, io.NopCloser(body))
				if err != nil {
					t.Fatal(err)
				}
				r.ContentLength = test.size
				r.Header.Set("Content-Type", test.media)
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != test.want {
					t.Fatalf("status %d, want %d; %v %s", resp.StatusCode, test.want, err, text)
				}
			}
		})
	}
}

// repeated is a reader of the same bytes without end.
type repeated []byte

func (r repeated) Read(p []byte) (int, error) { return copy(p, r), nil }
