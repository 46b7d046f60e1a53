package browser

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// axeSum is the checksum of testdata/axe.min.js, which is that of axe-core 4.14.1 in the npm
// registry. Its licence is beside it.
const axeSum = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"

// axe checks the page for what a user of a screen reader or of the keyboard cannot use, and
// returns the findings that are serious or critical.
func axe(ctx context.Context, t *testing.T) []string {
	t.Helper()
	source, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(source); hex.EncodeToString(sum[:]) != axeSum {
		t.Fatalf("the checksum of axe.min.js is %x", sum)
	}
	const run = `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations
		.filter(v => v.impact === "serious" || v.impact === "critical")
		.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.target.join(" ") + " " + n.failureSummary.replace(/\s+/g, " ")).slice(0, 3).join(" | ")))`
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[string](string(source)+";axe.version")); err != nil {
		t.Fatal(err)
	}
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](run, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// becomes waits until an expression is true in the page.
func becomes(ctx context.Context, t *testing.T, what, expression string) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
			t.Fatalf("timed out waiting for this: %s (%v); the page shows:\n%s", what, err, text)
		}
	}
}

// consolePages are the pages, with an expression that is true once a page shows its data.
var consolePages = []struct{ name, path, shows string }{
	{"overview", "overview", `document.querySelectorAll(".tiles dd").length > 8 && document.querySelector("canvas")`},
	{"statements", "statements", `document.querySelectorAll("tbody tr").length > 20`},
	{"statement", "statements/GetUser", `document.querySelector(".plan .node")`},
	{"in-flight", "in-flight", `document.querySelectorAll(".panel").length === 3`},
	{"tasks", "tasks", `document.querySelectorAll(".tiles dd").length > 3`},
	{"schema", "schema", `document.querySelectorAll("table").length === 3`},
	{"stats", "stats", `document.querySelectorAll(".columns .panel").length === 2`},
	{"import", "import", `document.querySelector(".drop")`},
}

// openPage opens a page of the console and waits for its data.
func openPage(ctx context.Context, t *testing.T, url, name, path, shows string) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/#/"+path)); err != nil {
		t.Fatal(err)
	}
	becomes(ctx, t, "the page "+name, `!document.querySelector("[aria-busy]") && !!(`+shows+`)`)
}

// screen is a size and a colour scheme.
type screen struct {
	width  int64
	scheme string
}

func (s screen) set(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(s.width, 1000), prefers(s.scheme)); err != nil {
		t.Fatal(err)
	}
}

// trouble reports what was recorded, and requests to other servers.
func (w *watch) report(t *testing.T, url string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, trouble := range w.trouble {
		t.Error(trouble)
	}
	for _, asked := range w.requests {
		if !strings.HasPrefix(asked, url+"/") {
			t.Errorf("the page asked for %s, which is not ours", asked)
		}
	}
}

// checkPages opens each page on each screen. None may have an error, a violation of its
// policy, unreadable text, a serious finding of axe, or content that is wider than the screen.
func checkPages(ctx context.Context, t *testing.T, url, state string, screens ...screen) {
	t.Helper()
	for _, s := range screens {
		s.set(ctx, t)
		for _, page := range consolePages {
			openPage(ctx, t, url, page.name, page.path, page.shows)
			name := fmt.Sprintf("console-%s-%s-%d-%s", page.name, state, s.width, s.scheme)
			screenshot(ctx, t, name)
			for _, finding := range axe(ctx, t) {
				t.Errorf("%s: %s", name, finding)
			}
			// To axe, a placeholder is a label.
			unlabelled, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll("input, select, textarea")].filter(e => !e.labels.length && !e.getAttribute("aria-label")).map(e => e.outerHTML)`))
			if err != nil || len(unlabelled) > 0 {
				t.Errorf("%s: fields without a label: %q (%v)", name, unlabelled, err)
			}
			wide, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`))
			if err != nil || wide > 0 {
				t.Errorf("%s: the page is %d px wider than the screen (%v)", name, wide, err)
			}
		}
	}
}

// screens are looked at with a dark phone, too, if their pictures are kept.
var screens = func() []screen {
	list := []screen{{1280, "light"}, {1280, "dark"}, {390, "light"}}
	if os.Getenv("DOCS_SCREENSHOTS") != "" {
		list = append(list, screen{390, "dark"})
	}
	return list
}()

// call sends a request of the API.
func call(t *testing.T, method, url, body string) (status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// load sends requests until the returned function is called.
func load(t *testing.T, url string) (stop func()) {
	t.Helper()
	for i := range 30 {
		call(t, "POST", url+"/v1/users", fmt.Sprintf(`{"username":"u%d","email":"u%[1]d@example.com","posts":[{"title":"T","content":"C","tags":["a","b"]}]}`, i))
		call(t, "POST", url+"/v1/tasks", fmt.Sprintf(`{"name":"send_mail","payload":{"to":"u%d@example.com"}}`, i))
	}
	for id := range 3 {
		call(t, "POST", url+"/v1/tasks/claim", fmt.Sprintf(`{"worker":"w%d","name":["send_mail"],"limit":1}`, id))
		call(t, "POST", url+"/v1/tasks/"+fmt.Sprint(id+1)+"/fail", fmt.Sprintf(`{"worker":"w%d","attempts":1,"error":"no such mailbox","retry":false}`, id))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := 1; ctx.Err() == nil; i++ {
				call(t, "GET", fmt.Sprintf("%s/v1/users/%d", url, 1+i%40), "") // some are not found
				call(t, "GET", url+"/v1/users?include=posts&limit=5", "")
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
	}
}

// TestConsole opens every page on an empty database, and under load.
func TestConsole(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	url := serve(t)
	var w watch
	if err := chromedp.Listen(ctx, w.event); err != nil {
		t.Fatal(err)
	}
	checkPages(ctx, t, url, "empty", screens[0])
	stop := load(t, url)
	checkPages(ctx, t, url, "load", screens...)
	stop()
	w.report(t, url)
}
