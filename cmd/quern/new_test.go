package main

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
	"strings"
	"testing"
	"time"

	"quern/pgtest"
)

// needSQLC skips a test that generates code if the environment does not name sqlc, whose
// build takes a minute.
func needSQLC(t *testing.T) {
	t.Helper()
	if os.Getenv("SQLC") == "" {
		t.Skip("SQLC does not name a sqlc to run")
	}
}

// folder is the folder of a project.
type folder struct {
	t   *testing.T
	dir string
}

// run runs a command in the folder.
func (f folder) run(words ...string) string {
	f.t.Helper()
	out, err := f.command(words...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return string(out)
}

func (f folder) command(words ...string) *exec.Cmd {
	cmd := exec.CommandContext(f.t.Context(), words[0], words[1:]...)
	cmd.Dir = f.dir
	// The tests may run within make. Another make would then print the directories that it
	// enters and leaves.
	cmd.Env = append(os.Environ(), "MAKEFLAGS=--no-print-directory")
	return cmd
}

// addMigration copies a file to the next migration.
func (f folder) addMigration(file, name string) {
	f.t.Helper()
	list, err := filepath.Glob(filepath.Join(f.dir, "migrations", "*.sql"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.run("cp", mustAbs(f.t, file), fmt.Sprintf("migrations/%05d_%s.sql", len(list)+1, name))
}

func (f folder) read(name string) string {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

func (f folder) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// replace replaces a text that is in the file once.
func (f folder) replace(name, old, replacement string) {
	f.t.Helper()
	text := f.read(name)
	if strings.Count(text, old) != 1 {
		f.t.Fatalf("%s has %q %d times", name, old, strings.Count(text, old))
	}
	f.write(name, strings.Replace(text, old, replacement, 1))
}

// scaffold generates the code of tables, and then makes the changes that must be made by hand.
// It returns the number of lines of these changes, and the notes that were printed after them.
func (f folder) scaffold(after string, tables ...string) (lines int, notes string) {
	f.t.Helper()
	url := pgtest.URL(f.t, os.DirFS(filepath.Join(f.dir, "migrations")))
	for _, table := range tables {
		code, out, errs := quern("scaffold", "--dir", f.dir, "--table", table, "--database", url, "--generate", `"$SQLC" generate`)
		if code != exitSuccess {
			f.t.Fatalf("quern scaffold --table %s: %d: %s", table, code, errs)
		}
		_, byHand, _ := strings.Cut(out, "Add by hand:\n")
		byHand, note, _ := strings.Cut(byHand, "\n\n")
		notes += note
		for line := range strings.Lines(byHand) {
			call, where, ok := strings.Cut(strings.TrimSpace(line), " in newServer, ")
			if !ok {
				f.t.Fatalf("quern scaffold --table %s: %q remains, which this test cannot add", table, line)
			}
			f.replace(where, after, after+"\n\t"+call)
			lines++
		}
	}
	return lines, notes
}

// newProject makes a project.
func newProject(t *testing.T) folder {
	t.Helper()
	f := folder{t, filepath.Join(t.TempDir(), "shop")}
	if code, _, errs := quern("new", "--dir", f.dir, "--module", "example.com/shop", "--noun", "order"); code != exitSuccess {
		t.Fatalf("quern new: %d: %s", code, errs)
	}
	return f
}

// A new project is complete: its own commands generate the same files, its tests pass, and it
// serves. This also holds after tables of each kind were added.
func TestNew(t *testing.T) {
	t.Parallel()
	needSQLC(t)
	f := newProject(t)
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(f.dir), ".*")); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
	checkServes(t, f)
	checkImage(t, f)

	f.addMigration("testdata/odd.sql", "create_odd")
	f.scaffold("s.registerOrders()", "catalog.books", "catalog.reviews", "parcels", "readings", "countries", "people", "daily_news", "memberships", "Profiles", "status")
	f.run("go", "mod", "tidy", "-diff")
	f.run("go", "vet", "./...")
	f.run("go", "test", "./...")
	before := f.run("sh", "-c", "find . -type f | grep -v '^./.data' | sort | xargs sha256sum")
	f.run("make", "generate")
	if after := f.run("sh", "-c", "find . -type f | grep -v '^./.data' | sort | xargs sha256sum"); after != before {
		t.Errorf("make generate changes the project:\n%s\n%s", before, after)
	}
	// The path of the runtime's imports has no host here, so gofumpt treats them as the
	// standard library's unless -modpath is given.
	if out := f.run("go", "-C", mustAbs(t, "../.."), "tool", "-modfile=tools/go.mod", "gofumpt", "-modpath", runtimeModule(), "-l", f.dir); out != "" {
		t.Errorf("not formatted: %s", out)
	}
	for _, target := range []string{"run", "test", "generate", "migration", "scaffold", "help"} {
		if !strings.Contains(f.run("make"), "make "+target+" ") {
			t.Errorf("make help does not list %s", target)
		}
	}
	for _, test := range []struct{ target, want string }{
		{"migration", "make migration: give it a name: make migration name=add_comments\n"},
		{"scaffold", "make scaffold: name the table: make scaffold table=comments\n"},
	} {
		cmd := f.command("make", test.target)
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != exitUsage || !strings.HasPrefix(string(out), test.want) {
			t.Errorf("make %s: %v, %s", test.target, err, out)
		}
	}
	f.run("make", "migration", "name=add nothing")
	f.read("migrations/00004_add_nothing.sql")
	out, err := f.command("make", "scaffold", "table=nothing").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "quern scaffold: table nothing: the migrations create no such table: ") {
		t.Errorf("make scaffold: %v\n%s", err, out)
	}
	checkStatements(t, f)
}

func mustAbs(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// checkServes starts the server of a new project, with the PostgreSQL that it starts by itself,
// and sends it requests.
func checkServes(t *testing.T, f folder) {
	t.Helper()
	f.run("go", "build", "-o", "bin/server", "./cmd/server")
	binary := filepath.Join(f.dir, "bin/server")
	printed := ask(t, f, binary, nil)
	data := filepath.Join(f.dir, ".data/postgres")
	if !strings.Contains(printed, "database postgres://quern:xxxxx@127.0.0.1:") ||
		!strings.Contains(printed, ", password in "+data+"/data/quern.password, data in "+data+"\n") {
		t.Errorf("the server does not print where its database is:\n%s", printed)
	}
	checkUsage(t, f, binary)
}

// checkUsage gives the server arguments: it must print its settings and not serve.
func checkUsage(t *testing.T, f folder, binary string) {
	t.Helper()
	for argument, want := range map[string]int{"--help": exitSuccess, "-h": exitSuccess, "serve": exitUsage, "--port=1": exitUsage} {
		cmd := f.command(binary, argument)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // the exit code is checked
		text, other := out.String(), errs.String()
		if want == exitUsage {
			text, other = other, text
		}
		if code := cmd.ProcessState.ExitCode(); code != want || other != "" || !strings.Contains(text, "LISTEN        the address to listen on (default: 127.0.0.1:8080)\n") ||
			!strings.Contains(text, "DATABASE_URL  the PostgreSQL to use (default: one that is started in ./.data)\n") {
			t.Errorf("server %s: %d, want %d: %s%s", argument, code, want, out.String(), errs.String())
		}
	}
}

// checkStatements adds a statement whose @plan no index can keep. The project's own test
// must report it.
func checkStatements(t *testing.T, f folder) {
	t.Helper()
	f.write("queries/order.sql", f.read("queries/order.sql")+"\n-- FindOrder returns the order with a name.\n--\n-- @plan indexed\n-- name: FindOrder :one\n"+
		"SELECT id FROM orders WHERE name = @name;\n")
	f.run("make", "generate")
	out, err := f.command("go", "test", "-run", "^TestStatements$", "./internal/api").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "order.sql: FindOrder: @plan indexed: ") {
		t.Errorf("TestStatements accepts a statement that no index serves: %v\n%s", err, out)
	}
}

// ask starts a server, sends it requests and ends it. It returns the lines that the server
// printed until it listened.
func ask(t *testing.T, f folder, binary string, env []string) (printed string) {
	t.Helper()
	cmd := f.command(binary)
	cmd.Env = append(append(os.Environ(), "DATABASE_URL=", "LISTEN=127.0.0.1:0"), env...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	url := ""
	var all bytes.Buffer
	for url == "" && lines.Scan() {
		all.WriteString(lines.Text() + "\n")
		if _, after, ok := strings.Cut(lines.Text(), "listening on "); ok {
			url, _, _ = strings.Cut(after, ": ")
		}
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}()
	if url == "" {
		t.Fatalf("the server does not listen:\n%s", all.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/orders", strings.NewReader(`{"name":"first"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct{ Name, Status string }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusCreated || got.Name != "first" || got.Status != "new" {
		t.Errorf("%d, %+v, %v", resp.StatusCode, got, err)
	}
	return all.String()
}

// checkImage runs the commands of the Dockerfile in a copy of the folder, without the
// runtime's checkout beside it.
func checkImage(t *testing.T, f folder) {
	t.Helper()
	run := ""
	for line := range strings.Lines(f.read("Dockerfile")) {
		if command, ok := strings.CutPrefix(line, "RUN "); ok {
			run = strings.TrimSpace(command)
		}
	}
	image := folder{t, t.TempDir()}
	f.run("go", "mod", "vendor")
	f.run("cp", "-R", f.dir, image.dir)
	f.run("rm", "-rf", "vendor")
	src := folder{t, filepath.Join(image.dir, filepath.Base(f.dir))}
	binary := filepath.Join(image.dir, "server")
	if !strings.Contains(run, " -o /server ") {
		t.Fatalf("the Dockerfile runs %q", run)
	}
	src.run("sh", "-c", strings.Replace(run, " -o /server ", " -o "+binary+" ", 1))
	if out, err := exec.CommandContext(t.Context(), "ldd", binary).CombinedOutput(); err == nil {
		t.Errorf("the binary is not static:\n%s", out)
	}
	ask(t, f, binary, []string{"DATABASE_URL=" + pgtest.EmptyURL(t)})
}

func TestNew_Refused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	good := map[string]string{"--dir": filepath.Join(dir, "shop"), "--module": "example.com/shop", "--noun": "order"}
	for _, test := range []struct{ flag, value, want string }{
		{"--dir", full, "is not empty: choose one that does not exist, or empty it"},
		{"--dir", ".", "is within the checkout of the runtime: choose one beside it"},
		{"--dir", "main.go", "is within the checkout of the runtime"},
		{"--module", "example.com/a b", "not a module path: use a host and a path"},
		{"--module", "/shop", "not a module path"},
		{"--module", "https://example.com/shop", "not a module path"},
		{"--module", runtimeModule() + "/shop", "is within the runtime's module"},
		{"--module", "", "not a module path"},
		{"--noun", "", "not a name: use letters and digits, such as order or order_item"},
		{"--noun", "2nd", "not a name"},
		{"--noun", "order item", "not a name"},
		{"--noun", "bücher", "not a name"},
		{"--noun", "type", "a word of Go"},
		{"--noun", "func", "a word of Go"},
		{"--noun", "orders", "is not in the singular"},
		{"--noun", "people", "is not in the singular"},
		{"--noun", "order_items", "is not in the singular: use order_item"},
		{"--noun", "string", "a word of Go"},
		{"--noun", "page", "a word of Go"},
	} {
		args := []string{"new"}
		for _, flag := range []string{"--dir", "--module", "--noun"} {
			value := good[flag]
			if flag == test.flag {
				value = test.value
			}
			args = append(args, flag+"="+value)
		}
		code, out, errs := quern(args...)
		if code == exitSuccess || out != "" || !strings.HasPrefix(errs, "quern new: ") || !strings.Contains(errs, test.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s=%s: %d, %q, want %q", test.flag, test.value, code, errs, test.want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v are left, %v", entries, err)
	}
}

// A run that is interrupted leaves nothing behind.
func TestNew_Interrupted(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), self, "new", "--dir", filepath.Join(dir, "shop"), "--module", "example.com/shop", "--noun", "order")
	cmd.Env = append(os.Environ(), asTool+"=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begun := func() bool {
		entries, err := filepath.Glob(filepath.Join(dir, ".shop-*", "go.mod"))
		return err == nil && len(entries) > 0
	}
	for deadline := time.Now().Add(time.Minute); !begun(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not begin")
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitFailure || !strings.HasPrefix(errs.String(), "quern new: interrupted: ") {
		t.Errorf("%v: %s", err, errs.String())
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v are left, %v", entries, err)
	}
}
