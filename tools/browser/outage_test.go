package browser

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// gate is the way to a database. While it is closed, the database seems to be stopped.
type gate struct {
	address, target string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
}

func newGate(t *testing.T, target string) *gate {
	t.Helper()
	g := &gate{address: "127.0.0.1:0", target: target}
	g.open(t)
	t.Cleanup(g.close)
	return g
}

func (g *gate) open(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listener, g.address = listener, listener.Addr().String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", g.target)
			if err != nil {
				client.Close()
				continue
			}
			g.mu.Lock()
			g.conns = append(g.conns, client, server)
			g.mu.Unlock()
			for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
				}()
			}
		}
	}()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listener.Close()
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}

// serveBehindGate starts two servers: one that has the database, and one that reaches it
// through the gate. It returns the URL of the second, and the database's own URL.
func serveBehindGate(t *testing.T) (url, database string, g *gate) {
	t.Helper()
	_, data := serveWith(t, "DATABASE_URL=")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(data, "postgres", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	g = newGate(t, "127.0.0.1:"+read("port"))
	database = "postgres://quern:" + read("data/quern.password") + "@%s/quern?sslmode=disable"
	url, _ = serveWith(t, "DATABASE_URL="+fmt.Sprintf(database, g.address), "CONNECT_TIMEOUT=1s")
	return url, fmt.Sprintf(database, g.target), g
}

// TestConsole_DatabaseDown stops the database while a page is open, and opens the others while
// it is down. Each says what is wrong and when it is tried again, and recovers by itself.
func TestConsole_DatabaseDown(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	url, _, gate := serveBehindGate(t)
	load(t, url)()
	screen{1280, "light"}.set(ctx, t)
	overview := consolePages[0]
	openPage(ctx, t, url, overview.name, overview.path, overview.shows)
	gate.close()
	becomes(ctx, t, "the status says that the database is down", `document.getElementById("status").textContent === "database down"`)
	for i, page := range consolePages {
		screen{[]int64{1280, 390}[i%2], []string{"light", "dark"}[i%2]}.set(ctx, t)
		if err := chromedp.Do(ctx, chromedp.Navigate(url+"/#/"+page.path)); err != nil {
			t.Fatal(err)
		}
		if asksDatabase[page.name] {
			becomes(ctx, t, page.name+" says what is wrong, and when it is tried again",
				`/(refused|unavailable|does not answer)/i.test(document.querySelector(".notice:not([hidden])")?.innerText) && /(Tried again in|Trying (again|now))/.test(document.querySelector(".notice:not([hidden])")?.innerText)`)
		} else {
			becomes(ctx, t, page.name+" opens without the database", `!document.querySelector("[aria-busy]") && document.querySelector("main .panel, main tbody tr") !== null`)
		}
		screenshot(ctx, t, "console-"+page.name+"-down")
		for _, finding := range axe(ctx, t) {
			t.Errorf("%s, with the database down: %s", page.name, finding)
		}
	}
	tasks := consolePages[4]
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/#/"+tasks.path)); err != nil {
		t.Fatal(err)
	}
	gate.open(t)
	becomes(ctx, t, "the page recovers", `document.getElementById("status").textContent === "database up" && !document.querySelector(".notice:not([hidden])") && !!(`+tasks.shows+`)`)
}

// asksDatabase has the pages whose data comes from the database. The others also work without.
var asksDatabase = map[string]bool{"overview": true, "statement": true, "in-flight": true, "tasks": true, "schema": true, "stats": true}

// psql returns the path of psql.
func psql(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("psql"); err == nil {
		return path
	}
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/psql"); len(found) > 0 {
		return found[0]
	}
	t.Fatal("psql is not installed (Debian: apt-get install postgresql-client)")
	return ""
}

// TestConsole_Cancel finds out who blocks a request, and cancels the request's statement.
func TestConsole_Cancel(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	url, database, _ := serveBehindGate(t)
	holder := exec.Command(psql(t), database)
	holder.Env = append(os.Environ(), "PGAPPNAME=migration by hand")
	input, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Wait()
	defer input.Close()
	if _, err := io.WriteString(input, "BEGIN; LOCK TABLE users;\n"); err != nil {
		t.Fatal(err)
	}
	screen{1280, "light"}.set(ctx, t)
	openPage(ctx, t, url, "in-flight", "in-flight", consolePages[3].shows)
	becomes(ctx, t, "the holder is listed", `document.body.innerText.includes("migration by hand") && document.body.innerText.includes("idle in transaction")`)
	status := make(chan int, 1)
	go func() { status <- call(t, "GET", url+"/v1/users?limit=3", "") }()
	becomes(ctx, t, "the statement is listed with who blocks it", `/ListUsersAfter[^]*GET \/v1\/users[^]*blocked by pid/.test(document.body.innerText)`)
	screenshot(ctx, t, "console-in-flight-blocked")
	// The dialog begins at the harmless answer.
	const answer = `document.activeElement.id === "dialog-no"`
	if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS("td button.danger"))); err != nil {
		t.Fatal(err)
	}
	becomes(ctx, t, "a confirmation is asked for", answer)
	for _, finding := range axe(ctx, t) {
		t.Errorf("the dialog: %s", finding)
	}
	screenshot(ctx, t, "console-cancel")
	if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS("#dialog-yes"))); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-status:
		if got != 504 {
			t.Errorf("the cancelled request answered %d, want 504", got)
		}
	case <-time.After(8 * time.Second): // shorter than the statement's timeout
		t.Error("the statement was not cancelled")
	}
	becomes(ctx, t, "the page says so", `document.getElementById("notices").innerText.includes("was cancelled")`)
}

// TestConsole_Import imports a file with wrong rows, shows why the first of them are wrong,
// and saves all of them. If corrected, that file can be imported.
func TestConsole_Import(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	url := serve(t)
	var w watch
	if err := chromedp.Listen(ctx, w.event); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "users.csv")
	var rows strings.Builder
	rows.WriteString("username,email,age\n")
	for i := range 1000 {
		fmt.Fprintf(&rows, "u%d,u%[1]d@example.com,%d\n", i, 20+i%50)
	}
	for i := range 150 {
		fmt.Fprintf(&rows, "old%d,old@example.com,400\n", i)
	}
	if err := os.WriteFile(file, []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	screen{1280, "light"}.set(ctx, t)
	openPage(ctx, t, url, "import", "import", `document.querySelector(".drop")`)
	err := chromedp.Do(ctx, chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}), chromedp.Click(chromedp.CSS("button.primary")))
	if err != nil {
		t.Fatal(err)
	}
	becomes(ctx, t, "the result is shown", `/Inserted\s+1,000/.test(document.querySelector("main").innerText) && /1002\s+age/.test(document.querySelector("main").innerText)`)
	for _, finding := range axe(ctx, t) {
		t.Errorf("the result: %s", finding)
	}
	screenshot(ctx, t, "console-import-result")
	saved, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`(() => {
		const url = URL.createObjectURL;
		URL.createObjectURL = blob => { blob.text().then(text => window.saved = text); return url.call(URL, blob); };
		[...document.querySelectorAll("button")].find(b => /Download all/.test(b.innerText)).click();
		return true;
	})()`))
	if err != nil || !saved {
		t.Fatal(saved, err)
	}
	becomes(ctx, t, "all rejected rows are saved", `window.saved && window.saved.trim().split("\n").length === 150 && /rows were saved/.test(document.querySelector("main").innerText)`)
	rejects, err := chromedp.Run(ctx, chromedp.Evaluate[string](`window.saved`))
	if err != nil {
		t.Fatal(err)
	}
	corrected := filepath.Join(t.TempDir(), "users-rejects.ndjson")
	if err := os.WriteFile(corrected, []byte(strings.ReplaceAll(rejects, `"age":400`, `"age":40`)), 0o600); err != nil {
		t.Fatal(err)
	}
	err = chromedp.Do(ctx, chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{corrected}), chromedp.Click(chromedp.CSS("button.primary")))
	if err != nil {
		t.Fatal(err)
	}
	becomes(ctx, t, "the corrected rows are stored", `/Inserted\s+150/.test(document.querySelector("main").innerText)`)
	w.report(t, url)
}

// TestConsole_Theme switches the theme by the keyboard. The choice outlives a reload.
func TestConsole_Theme(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	url := serve(t)
	screen{1280, "dark"}.set(ctx, t)
	openPage(ctx, t, url, "overview", "overview", consolePages[0].shows)
	background := func() string {
		c, err := chromedp.Run(ctx, chromedp.Evaluate[string](`getComputedStyle(document.body).backgroundColor`))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	dark := background()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.getElementById("theme").focus(), true`)); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS("#theme"), " ")); err != nil {
		t.Fatal(err)
	}
	light := background()
	if light == dark {
		t.Errorf("the theme stays %s", dark)
	}
	if err := chromedp.Do(ctx, chromedp.Reload()); err != nil {
		t.Fatal(err)
	}
	if again := background(); again != light {
		t.Errorf("after a reload the background is %s, before it was %s", again, light)
	}
}

// TestConsole_SignIn signs in with an API token, and out again.
func TestConsole_SignIn(t *testing.T) {
	t.Parallel()
	ctx := openBrowser(t)
	_, data := serveWith(t, "DATABASE_URL=")
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	port, err := os.ReadFile(filepath.Join(data, "postgres", "port"))
	if err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(filepath.Join(data, "postgres", "data", "quern.password"))
	if err != nil {
		t.Fatal(err)
	}
	database := fmt.Sprintf("DATABASE_URL=postgres://quern:%s@127.0.0.1:%s/quern?sslmode=disable", strings.TrimSpace(string(password)), strings.TrimSpace(string(port)))
	create := exec.Command(filepath.Join(dir, "server"), "token", "create", "--scope", "operate", "--expires", "1h")
	create.Dir, create.Env = t.TempDir(), append(os.Environ(), database)
	token, err := create.Output()
	if err != nil {
		t.Fatal(err)
	}
	url, _ := serveWith(t, database, "AUTH=tokens")
	screen{390, "dark"}.set(ctx, t)
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/")); err != nil {
		t.Fatal(err)
	}
	const form = `document.activeElement.id === "token"`
	becomes(ctx, t, "the form is shown", form)
	screenshot(ctx, t, "console-sign-in")
	for _, finding := range axe(ctx, t) {
		t.Errorf("the form: %s", finding)
	}
	if err := chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS("#token"), "quern_wrong\r")); err != nil {
		t.Fatal(err)
	}
	becomes(ctx, t, "a wrong token is refused", `/unknown|expired/.test(document.querySelector("form .bad").innerText)`)
	if err := chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS("#token"), strings.TrimSpace(string(token))+"\r")); err != nil {
		t.Fatal(err)
	}
	becomes(ctx, t, "the overview is shown", "!!("+consolePages[0].shows+")")
	if err := chromedp.Do(ctx, chromedp.Reload()); err != nil {
		t.Fatal(err)
	}
	becomes(ctx, t, "a reload stays signed in", `!document.getElementById("signout").hidden`)
	if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS("#signout"))); err != nil {
		t.Fatal(err)
	}
	becomes(ctx, t, "the form is shown again", form)
}
