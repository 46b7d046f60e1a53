package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"quern/internal/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// client is a server for one test, with a separate database, and its log.
type client struct {
	t   *testing.T
	db  *storetest.DB
	url string
	log *logged
}

// newClient serves the API on loopback. If change is given, it changes the settings first.
func newClient(t *testing.T, change ...func(*Config)) *client {
	t.Helper()
	d := storetest.New(t)
	c := &client{t: t, db: d, log: &logged{}}
	cfg := Config{Queries: d.Queries, Store: d.Store, Logger: textLogger(c.log)}
	for _, f := range change {
		f(&cfg)
	}
	c.url = serve(t, New(cfg))
	return c
}

// serve runs a handler on loopback for as long as the test runs.
func serve(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ConnContext = ConnContext
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

// logged is a log that can be read while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func textLogger(l *logged) *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// answer is a response that was read to its end.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// do sends a request. headers are pairs of a name and a value. A body is JSON unless a
// Content-Type is among the headers.
func (c *client) do(method, path, body string, headers ...string) *answer {
	c.t.Helper()
	return c.send(method, path, strings.NewReader(body), headers...)
}

func (c *client) send(method, path string, body io.Reader, headers ...string) *answer {
	c.t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(c.t.Context()), method, c.url+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Content-Type" {
			r.Header.Set(headers[i], headers[i+1])
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return &answer{t: c.t, status: resp.StatusCode, header: resp.Header, body: string(text)}
}

// on returns the same client for a subtest.
func (c *client) on(t *testing.T) *client {
	sub := *c
	sub.t = t
	return &sub
}

// get sends a GET and expects status 200.
func (c *client) get(path string) *answer {
	c.t.Helper()
	return c.do("GET", path, "").want(http.StatusOK)
}

// want fails the test if the status is another one.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

// into decodes the body into v. The test fails if v does not have one of the members.
func (a *answer) into(v any) *answer {
	a.t.Helper()
	dec := json.NewDecoder(strings.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		a.t.Fatalf("%v: %s", err, a.body)
	}
	return a
}

// problem fails the test unless the answer is the problem of that code, with
// the given locations and no others. It returns it.
func (a *answer) problem(status int, c code, locations ...string) Problem {
	a.t.Helper()
	a.want(status)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	var p Problem
	a.into(&p)
	if p.Code != c || p.Status != status || p.Title != http.StatusText(status) || p.Detail == "" {
		a.t.Errorf("problem = %+v, want code %s, status %d with its title and a detail", p, c, status)
	}
	got := make([]string, len(p.Errors))
	for i, e := range p.Errors {
		got[i] = e.Location
		if e.Message == "" {
			a.t.Errorf("the error at %s says nothing", e.Location)
		}
	}
	if strings.Join(got, " ") != strings.Join(locations, " ") {
		a.t.Errorf("locations = %q, want %q: %s", got, locations, a.body)
	}
	return p
}
