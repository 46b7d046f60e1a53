// Package browser tests the service's pages in a real browser. It is a separate
// module, so that the service does not depend on the browser's driver.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// built builds the server once.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "quern-browser-*")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "./cmd/server")
	build.Dir = filepath.Join("..", "..")
	output, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build the server: %w: %s", err, output)
	}
	return dir, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := built(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// serve starts the server on a new database until the end of the test, and returns
// its URL.
func serve(t *testing.T) string {
	t.Helper()
	url, _ := serveWith(t, "DATABASE_URL=")
	return url
}

// serveWith starts the server with additional settings. It also returns its data directory.
func serveWith(t *testing.T, settings ...string) (url, data string) {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(filepath.Join(dir, "server"))
	server.Dir = t.TempDir()
	server.Env = append(os.Environ(), append([]string{"LISTEN=127.0.0.1:0", "DATA_DIR=" + server.Dir}, settings...)...)
	var stderr bytes.Buffer
	server.Stderr = &stderr
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		if err := server.Wait(); err != nil {
			t.Errorf("the server ended with %v:\n%s", err, &stderr)
		}
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if url, found := strings.CutPrefix(lines.Text(), "Home "); found {
			go io.Copy(io.Discard, out) // until the server ends
			return strings.TrimSuffix(strings.TrimSpace(url), "/"), server.Dir
		}
	}
	t.Fatal("the server did not come up")
	return "", ""
}

// operations returns the number of operations in the OpenAPI document.
func operations(t *testing.T, url string) (n int) {
	t.Helper()
	response, err := http.Get(url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var document struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil {
		t.Fatal(err)
	}
	for _, path := range document.Paths {
		for _, operation := range path {
			if operation.OperationID != "" {
				n++
			}
		}
	}
	return n
}

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

// openBrowser runs a browser until the end of the test.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	path := browser(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	// In a container, as root, the browser's sandbox cannot be set up. The page is
	// trusted.
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// screenshot stores a picture of the page in the directory DOCS_SCREENSHOTS, if it
// is set.
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

// watch records a page's requests and errors.
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

// TestDocsInBrowser loads the page, runs an operation from it, and checks for
// errors that a user would only see in the developer tools.
func TestDocsInBrowser(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	url := serve(t)
	want := operations(t, url)
	var w watch
	if err := chromedp.Listen(ctx, w.event); err != nil {
		t.Fatal(err)
	}
	// The link opens one operation.
	err := chromedp.Do(ctx,
		chromedp.EmulateViewport(1280, 1600),
		chromedp.Navigate(url+"/docs#/stats/getOverview"),
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
	for _, asked := range w.requests {
		if !strings.HasPrefix(asked, url+"/") && !strings.HasPrefix(asked, "data:") {
			t.Errorf("the page asked for %s, which is not ours", asked)
		}
	}
	if !slices.Contains(w.requests, url+"/v1/stats/overview") {
		t.Errorf("the page asked for %q, want the operation among them", w.requests)
	}
}

// unreadable returns the texts of the page whose contrast with their background is
// below 3:1, the minimum of WCAG 2 for any text.
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

// TestPages_Dark checks the pages in a browser that prefers dark colours.
func TestPages_Dark(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	url := serve(t)
	for _, page := range []struct{ name, path, shows string }{
		{"docs-dark", "/docs#/users/patchUser", ".opblock.is-open .parameters"},
	} {
		err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 1600), prefers("dark"),
			chromedp.Navigate(url+page.path), chromedp.WaitVisible(chromedp.CSS(page.shows)))
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
		if err != nil || !slices.Contains([]string{"rgb(28, 32, 34)"}, background) {
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

// prefers sets the preferred colour scheme of the browser.
func prefers(scheme string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return chromedp.Void{}, err
	}
}
