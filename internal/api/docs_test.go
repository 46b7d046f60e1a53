package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestDocsVendored compares the vendored files with those in the npm package.
func TestDocsVendored(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"swagger-ui-bundle.js.gz": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
		"swagger-ui.css.gz":       "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
	} {
		packed, err := docsFiles.ReadFile("docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, plain); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != want {
			t.Errorf("%s has SHA-256 %s, want %s", name, got, want)
		}
	}
}

// page is a console that says which of its handlers was called.
type page struct{}

func (page) Page() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
}

func (page) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, route := RequestOf(r.Context())
		_, _ = io.WriteString(w, route+" "+id)
	})
}

// Browsers get the console at /, and programs what they get without one.
func TestRoot_Console(t *testing.T) {
	t.Parallel()
	var ended []int
	c := newClient(t, func(cfg *Config) {
		cfg.Console = page{}
		cfg.RequestEnded = func(status int, _ time.Duration) { ended = append(ended, status) }
	})
	if got := c.do("GET", "/", "", "Accept", "text/html,*/*;q=0.8").want(200).body; got != "page" {
		t.Errorf("a browser gets %q", got)
	}
	if got := c.do("GET", "/", "", "Accept", "*/*").want(200).body; !strings.Contains(got, `href="/console/"`) {
		t.Errorf("curl gets %q", got)
	}
	if got := c.do("POST", "/console/api/x", "", "X-Request-Id", "R1").want(200).body; got != "POST /console/api/x R1" {
		t.Errorf("the console gets %q", got)
	}
	c.do("GET", "/nothing", "").want(404)
	if want := []int{200, 200, 200, 404}; !slices.Equal(ended, want) {
		t.Errorf("the requests ended with %v, want %v", ended, want)
	}
}

// TestConstant_FirstRequest checks that content is made when it is first requested, and once.
func TestConstant_FirstRequest(t *testing.T) {
	t.Parallel()
	var made atomic.Int32
	handler := constant("text/plain", func() ([]byte, error) {
		made.Add(1)
		return []byte("text"), nil
	})
	if n := made.Load(); n != 0 {
		t.Errorf("made %d times before the first request, want 0", n)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			w := httptest.NewRecorder()
			handler(w, httptest.NewRequest(http.MethodGet, "/", nil))
			if got := w.Body.String(); got != "text" {
				t.Errorf("the answer is %q", got)
			}
		})
	}
	all.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("made %d times for 8 requests, want 1", n)
	}
}

// TestDocs_FirstRequests requests both forms of a new server's document at the same time,
// while operations use its schemas.
func TestDocs_FirstRequests(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	var all sync.WaitGroup
	for _, path := range []string{"/openapi.json", "/openapi.yaml", "/docs", "/v1/users?limit=1", "/v1/users/0"} {
		all.Go(func() {
			if got := c.do("GET", path, ""); got.status >= 500 {
				t.Errorf("GET %s: %d: %s", path, got.status, got.body)
			}
		})
	}
	all.Wait()
}

// TestRoot requests / as browsers and as programs do.
func TestRoot(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *Config) {
		cfg.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	})
	for accept, want := range map[string]string{
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "text/html; charset=utf-8",
		"*/*":                               "text/html; charset=utf-8", // curl
		"":                                  "text/html; charset=utf-8",
		"image/png":                         "text/html; charset=utf-8",
		"application/json":                  "application/json",
		"application/json, text/plain, */*": "application/json", // axios
		"application/json;q=0.5, text/html;q=0.4":   "application/json",
		"application/json;q=0.4, text/html;q=0.400": "text/html; charset=utf-8",
	} {
		a := c.do("GET", "/", "", "Accept", accept).want(200)
		if got := a.header.Get("Content-Type"); got != want {
			t.Errorf("Accept: %s gets %s, want %s", accept, got, want)
		}
		if got := a.header.Values("Vary"); !slices.Contains(got, "Accept") {
			t.Errorf("Vary is %q", got)
		}
		if policy := a.header.Get("Content-Security-Policy"); policy != docsPolicy {
			t.Errorf("Content-Security-Policy is %q", policy)
		}
		c.do("GET", "/", "", "Accept", accept, "If-None-Match", a.header.Get("ETag")).want(http.StatusNotModified)
		if head := c.do("HEAD", "/", "", "Accept", accept).want(200); head.body != "" {
			t.Error("HEAD / has a body")
		}
	}
	// Each link must lead to an existing page.
	var root struct {
		Title, Version string
		Links          []rootLink
	}
	c.do("GET", "/", "", "Accept", "application/json").into(&root)
	page := c.get("/").body
	for _, link := range root.Links {
		c.get(link.Path)
		if !strings.Contains(page, `href="`+link.Path+`"`) {
			t.Errorf("the page has no link to %s", link.Path)
		}
	}
	if len(root.Links) != 9 || root.Title != "Quern" || root.Version != "dev" {
		t.Errorf("the root is %+v", root)
	}
	if none := newClient(t).get("/").body; strings.Contains(none, "/metrics") {
		t.Error("without metrics the page leads to them")
	}
	c.do("POST", "/", "{}").problem(405, codeMethodNotAllowed)
}

func TestDocsFiles(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for path, contentType := range map[string]string{
		"/docs":                      "text/html; charset=utf-8",
		"/docs/init.js":              "text/javascript; charset=utf-8",
		"/docs/init.css":             "text/css; charset=utf-8",
		"/docs/root.css":             "text/css; charset=utf-8",
		"/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
		"/docs/swagger-ui.css":       "text/css; charset=utf-8",
		"/docs/favicon.png":          "image/png",
		"/openapi.json":              "application/openapi+json",
		"/openapi.yaml":              "application/openapi+yaml",
	} {
		a := c.get(path)
		if got := a.header.Get("Content-Type"); got != contentType {
			t.Errorf("%s has Content-Type %q, want %q", path, got, contentType)
		}
		policy := a.header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s has Content-Security-Policy %q", path, policy)
		}
		// A client that does not know gzip gets the same content.
		if plain := c.do("GET", path, "", "Accept-Encoding", "identity").want(200); plain.body != a.body {
			t.Errorf("%s differs without compression", path)
		}
		c.do("GET", path, "", "If-None-Match", a.header.Get("ETag")).want(http.StatusNotModified)
		if head := c.do("HEAD", path, "").want(200); head.body != "" {
			t.Errorf("HEAD %s has a body", path)
		}
	}
	c.do("GET", "/docs/swagger-ui-bundle.js.gz", "").problem(404, codeNotFound)
	c.do("GET", "/docs/", "").problem(404, codeNotFound)
}
