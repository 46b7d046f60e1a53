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
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
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

// openBrowser runs a browser for as long as the test runs.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	path := browser(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	// In a container, as root, the browser's own sandbox cannot be set up. The
	// page is our own.
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// screenshot keeps a picture of the page in the folder DOCS_SCREENSHOTS, if it is set.
func screenshot(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	folder := os.Getenv("DOCS_SCREENSHOTS")
	if folder == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o600); err != nil {
		t.Fatal(err)
	}
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
	ctx := openBrowser(t)
	c := newClient(t)
	want := 0
	operations(newServer(Config{}).api.OpenAPI(), func(*huma.Operation) { want++ })
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
	screenshot(ctx, t, "docs")

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

// unreadable is the texts of the page whose colour is too close to that of their
// background: below 3:1, the least that WCAG 2 accepts for any text.
const unreadable = `(() => {
	const channels = c => c.match(/[\d.]+/g).map(Number);
	const light = c => channels(c).slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = e => {
		for (; e; e = e.parentElement) {
			const c = channels(getComputedStyle(e).backgroundColor);
			if (c.length < 4 || c[3] > 0.5) return getComputedStyle(e).backgroundColor;
		}
		return matchMedia("(prefers-color-scheme: dark)").matches ? "rgb(18, 18, 18)" : "rgb(255, 255, 255)";
	};
	return [...document.querySelectorAll("body *")]
		.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.checkVisibility())
		.filter(e => {
			const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((a, b) => b - a);
			return (a + 0.05) / (b + 0.05) < 3;
		})
		.map(e => e.tagName + "." + e.className + ": " + e.textContent.trim().slice(0, 40) + " " + getComputedStyle(e).color + " on " + behind(e));
})()`

// TestPages_Dark looks at the pages in a browser that prefers dark ones.
func TestPages_Dark(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	c := newClient(t)
	for _, page := range []struct{ name, path, shows string }{
		{"docs-dark", "/docs#/users/patchUser", ".opblock.is-open .parameters"},
		{"root-dark", "/", "main"},
	} {
		err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 1600), prefers("dark"),
			chromedp.Navigate(c.url+page.path), chromedp.WaitVisible(chromedp.CSS(page.shows)))
		if err != nil {
			t.Fatal(err)
		}
		screenshot(ctx, t, page.name)
		background, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {
			for (const e of [document.body, document.documentElement]) {
				const c = getComputedStyle(e).backgroundColor;
				if (c !== "rgba(0, 0, 0, 0)") return c;
			}
			return getComputedStyle(document.documentElement).colorScheme;
		})()`))
		if err != nil || !slices.Contains([]string{"rgb(28, 32, 34)", "light dark"}, background) {
			t.Errorf("%s: the background is %q, want a dark one (%v)", page.name, background, err)
		}
		bad, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](unreadable))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range bad {
			t.Errorf("%s: unreadable: %s", page.name, text)
		}
	}
}

// prefers sets the colours that the browser's user prefers.
func prefers(scheme string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return chromedp.Void{}, err
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

// TestRoot asks for / as people and programs do.
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
	// Each link leads somewhere.
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
