package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"quern/internal/storetest"
	"quern/postgres"
)

// fill stores users, whose export is about 15 MB.
func (c *client) fill() {
	c.t.Helper()
	c.db.Exec(c.t, "INSERT INTO users (username, email) SELECT 'user' || n, repeat('x', 100) FROM generate_series(1, 70000) AS n")
}

// export begins an export and returns its body.
func (c *client) export(path string) io.ReadCloser {
	c.t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(c.t.Context()), "GET", c.url+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("status %d", resp.StatusCode)
	}
	return resp.Body
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to pass: %s", what)
		}
	}
}

var sentBytes = regexp.MustCompile(`level=WARN msg="export cut off".* bytes=(\d+)`)

// sent waits for the warning of an export that was cut off, and returns how many bytes it
// says were sent.
func (c *client) sent() int {
	c.t.Helper()
	eventually(c.t, "a warning", func() bool { return sentBytes.MatchString(c.log.String()) })
	n, _ := strconv.Atoi(sentBytes.FindStringSubmatch(c.log.String())[1])
	return n
}

// TestExport_Stalled stops reading. The export must be cut off within a bounded time, and its
// connection must return to the pool. The kernel must have buffered little that the client had
// not read, because with megabytes a steady slow client would look like this one.
func TestExport_Stalled(t *testing.T) {
	t.Parallel()
	const little = 1 << 20 // the limit of what both kernels buffer
	stalling := func(cfg *Config) { cfg.StreamTimeout = 300 * time.Millisecond }
	c := newClient(t, stalling)
	c.fill()
	body := c.export("/v1/users/export")
	defer body.Close()
	if age := c.db.Store.OldestExport(); age <= 0 {
		t.Errorf("the oldest export is %v old", age)
	}
	if n := c.sent(); n > little {
		t.Errorf("%d bytes were sent to a client that took none, want at most %d", n, little)
	}
	for _, want := range []string{"of=users", "client=127.0.0.1:", "the client took nothing for 1.2s", "request_id="} {
		if !strings.Contains(c.log.String(), want) {
			t.Errorf("no %q in the log: %s", want, c.log)
		}
	}
	if _, err := io.Copy(io.Discard, body); err == nil {
		t.Error("the client saw a whole answer")
	}
	eventually(t, "its connection is back", func() bool { return c.db.Router.Pool().Stat().AcquiredConns() == 0 })
	if age := c.db.Store.OldestExport(); age != 0 {
		t.Errorf("afterwards, the oldest export is %v old", age)
	}

	// The control is a server that does not pass its connections to the API.
	t.Run("Control", func(t *testing.T) {
		control := c.on(t)
		control.log = &logged{}
		cfg := Config{Queries: c.db.Queries, Store: c.db.Store, Logger: textLogger(control.log)}
		stalling(&cfg)
		srv := httptest.NewServer(New(cfg))
		t.Cleanup(srv.Close)
		control.url = srv.URL
		body := control.export("/v1/users/export")
		defer body.Close()
		if n := control.sent(); n <= little {
			t.Errorf("%d bytes were sent: the test cannot fail", n)
		}
	})
}

// TestExport_Slow reads steadily, but slower than the time limit allows for a whole
// buffer.
func TestExport_Slow(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *Config) { cfg.StreamTimeout = 2 * time.Second })
	c.fill()
	body := c.export("/v1/users/export")
	defer body.Close()
	lines := 0
	piece := make([]byte, 64<<10)
	for began, read := time.Now(), 0; ; {
		n, err := body.Read(piece)
		lines += strings.Count(string(piece[:n]), "\n")
		read += n
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("behind %d bytes: %v", read, err)
		}
		// The client reads 400 KB/s for the first 5 s, and after that as fast as data arrives.
		if ahead := time.Duration(read)*time.Second/400_000 - time.Since(began); ahead > 0 && time.Since(began) < 5*time.Second {
			time.Sleep(ahead)
		}
	}
	if lines != 70_001 {
		t.Errorf("%d lines, want 70001", lines)
	}
}

// TestExport_Deadline reads for longer than an export may take in all.
func TestExport_Deadline(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *Config) { cfg.ExportTimeout = 2 * time.Second })
	c.fill()
	body := c.export("/v1/users/export")
	defer body.Close()
	piece := make([]byte, 16<<10)
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if _, err := body.Read(piece); err == io.EOF {
			t.Fatal("the client saw a whole answer")
		} else if err != nil {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("it goes on")
		}
	}
	c.sent()
	if !strings.Contains(c.log.String(), "EXPORT_TIMEOUT") {
		t.Errorf("no EXPORT_TIMEOUT in the log: %s", c.log)
	}
	eventually(t, "its connection is back", func() bool { return c.db.Router.Pool().Stat().AcquiredConns() == 0 })

	// A client that stalls at the deadline does not get the time of a stalled client in
	// addition.
	t.Run("Stalled", func(t *testing.T) {
		c := newClient(t, func(cfg *Config) { cfg.ExportTimeout = 2 * time.Second })
		c.fill()
		defer c.export("/v1/users/export").Close()
		c.sent()
	})
}

// TestExport_Bulkhead stalls more exports than may run. All other requests must be answered.
// Further exports must be refused, and the response must name the class.
func TestExport_Bulkhead(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 4, AcquireTimeout: 500 * time.Millisecond})
	warm(t, d.Router.Pool())
	c := newClient(t, func(cfg *Config) { cfg.Queries, cfg.Store, cfg.Ready = d.Queries, d.Store, d.Router.Ready })
	c.db = d
	c.fill()
	for range 2 {
		defer c.export("/v1/users/export").Close()
	}
	for range 10 {
		c.get("/v1/users/1")
		c.get("/v1/users?limit=2")
		c.get("/readyz")
	}
	for _, path := range []string{"/v1/users/export", "/v1/posts/export", "/v1/stats/overview", "/v1/stats/users"} {
		a := c.do("GET", path, "")
		if p := a.problem(503, codeUnavailable); !strings.Contains(p.Detail, "class bulk") {
			t.Errorf("%s: %q, want the class named", path, p.Detail)
		}
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("%s: Retry-After %q, want 1", path, a.header.Get("Retry-After"))
		}
	}
	a := c.do("POST", "/v1/users/import", "username,email\nann,a@x\n", "Content-Type", "text/csv")
	if p := a.problem(503, codeUnavailable); !strings.Contains(p.Detail, "class bulk") {
		t.Errorf("an import: %q, want the class named", p.Detail)
	}
	if n := d.Count(t, "SELECT count(*) FROM users WHERE username = 'ann'"); n != 0 {
		t.Errorf("%d rows of a refused import are stored", n)
	}
}
