package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quern"
	"quern/internal/api"
	"quern/internal/storetest"
	"quern/localpg"
	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/migrate"
)

// patience limits each wait of a test. It is reached only if something is wrong.
const patience = time.Minute

// process is a server under test.
type process struct {
	*exec.Cmd
	dir    string
	banner map[string]string // the lines it printed when it was ready
	base   string            // its URL
	stderr *lines
}

// lines collects the standard error of a process, and signals new lines to a waiting
// test.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// command prepares the server to be run in dir with these variables.
func command(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe, args...), dir: dir, stderr: &lines{more: make(chan struct{}, 1)}}
	p.Dir = dir
	p.Env = append(append(environment(), "LISTEN=127.0.0.1:0"), env...)
	p.Cmd.Stderr = p.stderr
	return p
}

// serve starts the server and returns when it has printed its address.
func serve(t *testing.T, dir string, env ...string) *process {
	t.Helper()
	p := command(t, dir, env)
	p.start(t)
	return p
}

// start starts the process and returns when it has printed its address.
func (p *process) start(t *testing.T) {
	t.Helper()
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
		if t.Failed() {
			t.Logf("%s wrote to standard error:\n%s", p, p.stderr)
		}
	})
	p.banner = map[string]string{}
	scanner := bufio.NewScanner(out)
	for scanner.Scan() && !strings.HasPrefix(scanner.Text(), "Ctrl-C") {
		name, value, _ := strings.Cut(scanner.Text(), " ")
		p.banner[name] = strings.TrimSpace(value)
	}
	p.base = strings.TrimSuffix(p.banner["Home"], "/")
	if p.base == "" {
		t.Fatalf("the server did not come up:\n%s", p.stderr)
	}
}

// end sends a signal, waits for the end of the process, and returns its exit code.
func (p *process) end(t *testing.T, s os.Signal) int {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	return p.exit(t)
}

// exit waits for the end of the process and returns its exit code, or -1 if a signal ended it.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	timer := time.AfterFunc(patience, func() { _ = p.Process.Kill() })
	defer timer.Stop()
	var failed *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

// awaitStderr waits until the process has written text.
func (p *process) awaitStderr(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(patience)
	for !strings.Contains(p.stderr.String(), text) {
		select {
		case <-p.stderr.more:
		case <-timeout:
			t.Fatalf("it never wrote %q", text)
		}
	}
}

// get returns the status and the body of a path.
func (p *process) get(t *testing.T, path string) (int, string) {
	t.Helper()
	response, err := http.Get(p.base + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// await requests a path until the status is want.
func (p *process) await(t *testing.T, path string, want int) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		status, body := p.get(t, path)
		if status == want {
			return body
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s answers %d %s, want %d", path, status, body, want)
		}
	}
}

func (p *process) createUser(t *testing.T, name string) {
	t.Helper()
	body := fmt.Sprintf(`{"username":%q,"email":"x@example.org"}`, name)
	response, err := http.Post(p.base+"/v1/users", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("create user: %s", response.Status)
	}
}

// postgresPID is the process id of the embedded PostgreSQL.
func (p *process) postgresPID(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, ".data", "postgres", "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// The embedded server starts by default, keeps its data, and leaves no process.
func TestServe_Embedded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := serve(t, dir)
	if status, body := p.get(t, "/readyz"); status != http.StatusOK {
		t.Fatalf("not ready: %d %s", status, body)
	}
	for _, name := range []string{"Home", "Docs", "API", "Metrics"} {
		if path := strings.TrimPrefix(p.banner[name], p.base); path == "" {
			t.Errorf("there is no link %s in %v", name, p.banner)
		} else if status, body := p.get(t, path); status != http.StatusOK {
			t.Errorf("%s, %s, answers %d %s", name, p.banner[name], status, body)
		}
	}
	for name, want := range map[string]string{
		"Data": "./.data/postgres", "Database": "postgres://quern:xxxxx@", "Schema": "version ",
		"Password": "in ./.data/postgres/data/quern.password",
	} {
		if !strings.HasPrefix(p.banner[name], want) {
			t.Errorf("%s is %q, want %s…", name, p.banner[name], want)
		}
	}
	password, err := os.ReadFile(filepath.Join(dir, strings.TrimPrefix(p.banner["Password"], "in ")))
	if err != nil {
		t.Fatal(err)
	}
	address := strings.Replace(p.banner["Database"], "xxxxx", strings.TrimSpace(string(password)), 1)
	if router, err := postgres.Connect(t.Context(), postgres.Config{URL: address}); err != nil {
		t.Errorf("the URL and password that were printed do not lead into the database: %v", err)
	} else {
		router.Close()
	}
	p.createUser(t, "ada")
	pid := p.postgresPID(t)
	if code := p.end(t, os.Interrupt); code != 0 {
		t.Errorf("it exited with %d after SIGINT", code)
	}
	if alive(pid) {
		t.Errorf("PostgreSQL, process %d, is still there", pid)
	}
	if strings.Contains(p.stderr.String(), "level=WARN") || strings.Contains(p.stderr.String(), "level=ERROR") {
		t.Errorf("it had something to complain about:\n%s", p.stderr)
	}

	p = serve(t, dir)
	if status, _ := p.get(t, "/v1/usernames/ada"); status != http.StatusOK {
		t.Errorf("the user is gone after a restart: %d", status)
	}
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("it exited with %d after SIGTERM", code)
	}
}

// With DATABASE_URL nothing is started, and no password is printed.
func TestServe_DatabaseURL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	databaseURL := pgtest.EmptyURL(t)
	p := serve(t, dir, "DATABASE_URL="+databaseURL)
	if status, body := p.get(t, "/readyz"); status != http.StatusOK {
		t.Fatalf("not ready: %d %s", status, body)
	}
	p.createUser(t, "ada")
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("it left %v in its directory (%v)", entries, err)
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	if said := fmt.Sprint(p.banner, p.stderr); strings.Contains(said, password) {
		t.Errorf("it printed the password:\n%s", said)
	}
	if got, want := p.banner["Database"], postgres.MaskURL(databaseURL); got != want {
		t.Errorf("it printed %s, want %s", got, want)
	}
}

// Several processes apply the migrations to an empty database at the same time, and all of them
// succeed.
func TestServe_AtOnce(t *testing.T) {
	t.Parallel()
	databaseURL := pgtest.EmptyURL(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			m, err := migrate.New(migrate.Config{URL: databaseURL, FS: quern.Migrations(), Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Error(err)
				return
			}
			defer m.Close()
			if _, err := m.Up(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	p := serve(t, t.TempDir(), "DATABASE_URL="+databaseURL)
	group.Wait()
	if status, body := p.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("not ready: %d %s", status, body)
	}
}

// With MIGRATE=false the schema stays as it is, and the server reports that it is not ready.
func TestServe_NoMigrate(t *testing.T) {
	t.Parallel()
	databaseURL := pgtest.EmptyURL(t)
	p := serve(t, t.TempDir(), "DATABASE_URL="+databaseURL, "MIGRATE=false")
	if got := p.banner["Schema"]; !strings.HasPrefix(got, "version 0,") || !strings.HasSuffix(got, "`server migrate up`") {
		t.Errorf("the schema is at %s", got)
	}
	if status, body := p.get(t, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "server migrate up") {
		t.Errorf("got %d %s, want 503 and the hint", status, body)
	}
	if status, _ := p.get(t, "/livez"); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
}

// While serve runs, the other commands use its database, and serve sees their changes.
func TestServe_CommandsBeside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := serve(t, dir)
	beside := func(args ...string) string {
		t.Helper()
		c := command(t, dir, nil, args...)
		var out bytes.Buffer
		c.Stdout = &out
		if err := c.Run(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, c.stderr)
		}
		return out.String()
	}
	if got, schema := beside("migrate", "version"), strings.Fields(p.banner["Schema"] + ",")[1]; !strings.HasPrefix(got, strings.Trim(schema, ",")+" of ") {
		t.Errorf("the version is %q beside a server that says %s", got, p.banner["Schema"])
	}
	beside("doctor")
	beside("migrate", "down")
	p.await(t, "/readyz", http.StatusServiceUnavailable)
	beside("migrate", "up")
	p.await(t, "/readyz", http.StatusOK)

	// A second server is refused.
	second := command(t, dir, nil)
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	if code := second.exit(t); code != 1 || !strings.Contains(second.stderr.String(), strconv.Itoa(p.Process.Pid)) {
		t.Errorf("a second server exited with %d and said %s, want 1 and the first one's pid, %d", code, second.stderr, p.Process.Pid)
	}
	if code := p.end(t, os.Interrupt); code != 0 {
		t.Errorf("it exited with %d", code)
	}
}

// slowRequest begins to create a user and returns once the handler is reading
// the body; finish sends the rest and returns the status.
func slowRequest(t *testing.T, p *process, name string) (finish func() (int, error)) {
	t.Helper()
	body, err := json.Marshal(api.NewUser{Username: name, Email: "x@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST /v1/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q, %v", line, err)
	}
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return func() (int, error) {
		if _, err := conn.Write(body); err != nil {
			return 0, err
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		return response.StatusCode, nil
	}
}

// A request that is in progress when the signal arrives is answered. A new request is refused.
func TestServe_Drain(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), "DATABASE_URL="+storetest.NewURL(t))
	finish := slowRequest(t, p, "ada")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.base, "http://"))
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("it still listens")
		}
	}
	if status, err := finish(); err != nil || status != http.StatusCreated {
		t.Errorf("the request under way got %d, %v", status, err)
	}
	if code := p.exit(t); code != 0 {
		t.Errorf("it exited with %d", code)
	}
}

// Behind a load balancer, the service serves until the balancer has seen that it is not ready.
func TestServe_ShutdownDelay(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), "DATABASE_URL="+storetest.NewURL(t), "SHUTDOWN_DELAY=2s")
	signalled := time.Now()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.await(t, "/readyz", http.StatusServiceUnavailable)
	p.createUser(t, "ada")
	if code := p.exit(t); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	if took := time.Since(signalled); took < 2*time.Second {
		t.Errorf("it ended after %s, before SHUTDOWN_DELAY", took)
	}
}

// systemd learns when the service is ready, and that it stops (sd_notify(3)).
func TestServe_Systemd(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	p := serve(t, t.TempDir(), "DATABASE_URL="+storetest.NewURL(t), "NOTIFY_SOCKET="+name)
	receive := func() string {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		message := make([]byte, 100)
		n, err := socket.Read(message)
		if err != nil {
			t.Fatal(err)
		}
		return string(message[:n])
	}
	if got := receive(); got != "READY=1" {
		t.Errorf("it sent %q at the start", got)
	}
	if status, _ := p.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("it said that it is ready, and /readyz answers %d", status)
	}
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	if got := receive(); got != "STOPPING=1" {
		t.Errorf("it sent %q at the end", got)
	}
}

// A request that does not end does not keep the process from ending.
func TestServe_DrainIsBounded(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), "DATABASE_URL="+storetest.NewURL(t), "SHUTDOWN_TIMEOUT=100ms")
	slowRequest(t, p, "ada")
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	if !strings.Contains(p.stderr.String(), "SHUTDOWN_TIMEOUT") {
		t.Errorf("it did not say that it cut off a request:\n%s", p.stderr)
	}
}

// The second signal ends the process at once, and PostgreSQL with it.
func TestServe_SecondSignal(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with its parent")
	}
	p := serve(t, t.TempDir(), "SHUTDOWN_TIMEOUT=1h")
	pid := p.postgresPID(t)
	slowRequest(t, p, "ada")
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.awaitStderr(t, "shutting down")
	if code := p.end(t, os.Interrupt); code == 0 {
		t.Error("it exited with 0")
	}
	for deadline := time.Now().Add(patience); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("PostgreSQL, process %d, is still there", pid)
		}
	}
}

// When its PostgreSQL dies, the server exits, and its error names the log to look at.
func TestServe_PostgresDies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := serve(t, dir)
	if err := syscall.Kill(p.postgresPID(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The killed server has left shared memory. Only the next server in the directory can
		// remove it.
		s, err := localpg.Start(context.Background(), localpg.Config{Dir: filepath.Join(dir, "postgres")})
		if err == nil {
			err = s.Stop(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
	if code := p.exit(t); code != 1 {
		t.Errorf("it exited with %d, want 1", code)
	}
	said := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	if last := said[len(said)-1]; !strings.HasPrefix(last, "server: postgres in ") || !strings.Contains(last, "log") {
		t.Errorf("its last line is %q", last)
	}
	if n := strings.Count(p.stderr.String(), "ended unexpectedly"); n != 1 {
		t.Errorf("it was said %d times: %s", n, p.stderr)
	}
}

// When a server of DATABASE_URL goes away, the process waits until it is back.
func TestServe_DatabaseGoesAndComes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func() *localpg.Server {
		t.Helper()
		binaries, err := localpg.Binaries(t.Context(), func(line string) { t.Log(line) })
		if err != nil {
			t.Fatal(err)
		}
		s, err := localpg.Start(t.Context(), localpg.Config{
			Dir: filepath.Join(dir, "pg"), Binaries: binaries, Settings: map[string]string{"fsync": "off"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	stop := func(s *localpg.Server) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	s := start()
	p := serve(t, t.TempDir(), "DATABASE_URL="+s.URL())
	p.createUser(t, "ada")
	stop(s)
	if body := p.await(t, "/readyz", http.StatusServiceUnavailable); strings.Contains(body, "127.0.0.1") {
		t.Errorf("the answer tells too much: %s", body)
	}
	if status, _ := p.get(t, "/v1/usernames/ada"); status != http.StatusServiceUnavailable {
		t.Errorf("a read without a database answers %d", status)
	}
	s = start()
	defer stop(s)
	p.await(t, "/readyz", http.StatusOK)
	if status, _ := p.get(t, "/v1/usernames/ada"); status != http.StatusOK {
		t.Errorf("a read after its return answers %d", status)
	}
	if code := p.end(t, os.Interrupt); code != 0 {
		t.Errorf("it exited with %d", code)
	}
}

// If it cannot serve, it prints one line, and creates nothing.
func TestServe_Refused(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	right, err := url.Parse(storetest.NewURL(t))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(change func(*url.URL)) string {
		u := *right
		change(&u)
		return "DATABASE_URL=" + u.String()
	}
	for name, c := range map[string]struct {
		env  string
		want []string
	}{
		"PortTaken":   {"LISTEN=" + taken.Addr().String(), []string{"in use", "set LISTEN"}},
		"NoPort":      {"LISTEN=8080", []string{"8080", "set LISTEN to host:port"}},
		"NoServer":    {"DATABASE_URL=postgres://app:s3cret@127.0.0.1:1/x", []string{"refused", "check the host and port in DATABASE_URL"}},
		"NoHost":      {"DATABASE_URL=postgres://app:s3cret@nowhere.invalid/x", []string{"nowhere.invalid", "check the host in DATABASE_URL"}},
		"NoURL":       {"DATABASE_URL=postgres://app:s3cret@db:port/x", []string{"DATABASE_URL is invalid"}},
		"NoTLS":       {changed(func(u *url.URL) { u.RawQuery = "sslmode=require" }), []string{"TLS", "sslmode=disable"}},
		"BadPassword": {changed(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "s3cret") }), []string{"password authentication failed", "the user or the password is wrong"}},
		"BadDatabase": {changed(func(u *url.URL) { u.Path = "/nothing" }), []string{`"nothing" does not exist`, "create it, or correct its name in DATABASE_URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := command(t, dir, []string{"CONNECT_RETRIES=0", c.env})
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			if code := p.exit(t); code != 1 {
				t.Errorf("it exited with %d", code)
			}
			said := p.stderr.String()
			if !oneErrorLine.MatchString(said) || strings.Contains(said, "s3cret") {
				t.Errorf("want one line without a secret, got:\n%s", said)
			}
			for _, want := range c.want {
				if !strings.Contains(said, want) {
					t.Errorf("want %q in:\n%s", want, said)
				}
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("it left %v (%v)", entries, err)
			}
		})
	}
}

// A signal during the start is not a failure either.
func TestServe_EndedWhileStarting(t *testing.T) {
	t.Parallel()
	p := command(t, t.TempDir(), []string{"DATABASE_URL=postgres://app:s3cret@127.0.0.1:1/x", "CONNECT_RETRIES=1000"})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.awaitStderr(t, "database does not answer yet")
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("it exited with %d:\n%s", code, p.stderr)
	}
}

func TestReadiness_Draining(t *testing.T) {
	t.Parallel()
	r := &readiness{}
	r.draining.Store(true)
	if err := r.check(t.Context()); !errors.Is(err, errDraining) {
		t.Errorf("got %v", err)
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080",
		"0.0.0.0:80":     "http://localhost:80",
		"[::]:8080":      "http://localhost:8080",
		"[::1]:8080":     "http://[::1]:8080",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseURL(tcp); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}
