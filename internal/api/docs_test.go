package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/danielgtaylor/huma/v2"
)

// browser returns the path of a Chromium, or skips the test.
func browser(t *testing.T) string {
	t.Helper()
	names := []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("no browser: none of %s is installed (Debian: apt-get install chromium-headless-shell)", strings.Join(names, ", "))
	return ""
}

// watch notes what a page asks for and what it complains of.
type watch struct {
	mu       sync.Mutex
	requests []string
	trouble  []string
}

func (w *watch) event(ev any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		w.requests = append(w.requests, ev.Request.URL)
	case *network.EventLoadingFailed:
		w.trouble = append(w.trouble, "failed request: "+ev.ErrorText+" "+string(ev.BlockedReason))
	case *network.EventResponseReceived:
		if ev.Response.Status >= 400 {
			w.trouble = append(w.trouble, fmt.Sprintf("status %d of %s", ev.Response.Status, ev.Response.URL))
		}
	case *runtime.EventExceptionThrown:
		w.trouble = append(w.trouble, "exception: "+ev.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if ev.Type == "error" || ev.Type == "warning" {
			w.trouble = append(w.trouble, fmt.Sprintf("console %s: %s", ev.Type, ev.Args[0].Value))
		}
	case *log.EventEntryAdded: // violations of the Content-Security-Policy too
		w.trouble = append(w.trouble, "log: "+ev.Entry.Text)
	}
}

// TestDocsInBrowser loads the page, runs an operation from it, and listens for
// what a person would only see in the developer tools.
func TestDocsInBrowser(t *testing.T) {
	t.Parallel()
	path := browser(t)
	c := newClient(t)
	want := 0
	operations(newServer(Config{}).api.OpenAPI(), func(*huma.Operation) { want++ })

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// In a container, as root, the browser's own sandbox cannot be set up. The
	// page is our own.
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox)...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	var w watch
	if err := chromedp.Listen(ctx, w.event); err != nil {
		t.Fatal(err)
	}
	// The link opens one operation.
	err := chromedp.Do(ctx,
		chromedp.EmulateViewport(1280, 1600),
		chromedp.Navigate(c.url+"/docs#/stats/getOverview"),
		chromedp.WaitVisible(chromedp.CSS(".opblock .try-out__btn")),
	)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll(".opblock").length`))
	if err != nil || shown != want {
		t.Errorf("%d operations are shown, want %d (%v)", shown, want, err)
	}
	title, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector(".info .title").innerText`))
	if err != nil || !strings.HasPrefix(title, "Quern") {
		t.Errorf("the title is %q, want Quern and its version (%v)", title, err)
	}
	err = chromedp.Do(ctx,
		chromedp.Click(chromedp.CSS(".opblock .try-out__btn")),
		chromedp.Click(chromedp.CSS(".opblock .btn.execute")),
		chromedp.WaitVisible(chromedp.CSS(".live-responses-table .response")),
	)
	if err != nil {
		t.Fatal(err)
	}
	status, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(".live-responses-table tbody .response-col_status")))
	if err != nil || !strings.HasPrefix(status, "200") {
		t.Errorf("the operation answered %q, want 200 (%v)", status, err)
	}
	if file := os.Getenv("DOCS_SCREENSHOT"); file != "" {
		png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, png, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	for _, trouble := range w.trouble {
		t.Error(trouble)
	}
	for _, url := range w.requests {
		if !strings.HasPrefix(url, c.url+"/") && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asked for %s, which is not ours", url)
		}
	}
	if !slices.Contains(w.requests, c.url+"/v1/stats/overview") {
		t.Errorf("the page asked for %q, want the operation among them", w.requests)
	}
}

// TestDocsVendored compares the vendored files with what npm ships.
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

func TestDocsFiles(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for path, contentType := range map[string]string{
		"/docs":                      "text/html; charset=utf-8",
		"/docs/init.js":              "text/javascript; charset=utf-8",
		"/docs/init.css":             "text/css; charset=utf-8",
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
