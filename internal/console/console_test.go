package console_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"quern/internal/console"
	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/migrate"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

type requestKey struct{}

// serve runs a console for a database.
func serve(t *testing.T, change ...func(*console.Config)) (d *testdata.DB, url string) {
	t.Helper()
	observer := console.NewObserver()
	d = testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 3, Observers: []postgres.Observer{observer}})
	cfg := console.Config{Observer: observer, Logger: quiet, Request: func(ctx context.Context) (id, route string) {
		id, _ = ctx.Value(requestKey{}).(string)
		return id, "GET /x"
	}}
	for _, c := range change {
		c(&cfg)
	}
	c := console.New(cfg)
	server := httptest.NewServer(c.Handler())
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	return d, server.URL + "/console/api"
}

// send sends a request and decodes the response.
func send(t *testing.T, method, url string, into any) (status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%s %s: %d %s: %v", method, url, response.StatusCode, text, err)
		}
	}
	return response.StatusCode
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for this: %s", what)
		}
	}
}

// The list has each statement of the registry, with what it did.
func TestStatementList(t *testing.T) {
	t.Parallel()
	d, url := serve(t)
	account := d.CreateAccount(t)
	for range 3 {
		if _, err := d.Queries.GetAccount(t.Context(), account.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = d.Queries.GetAccount(t.Context(), -1) // not a failure
	_, _ = d.Queries.CreateAccount(t.Context(), db.CreateAccountParams{Username: account.Username, Email: "x", Tags: []string{}})

	var list console.StatementList
	send(t, "GET", url+"/statements", &list)
	if len(list.Statements) < len(db.Statements) {
		t.Errorf("%d statements are listed, the registry has %d", len(list.Statements), len(db.Statements))
	}
	get := console.Statement{}
	for _, s := range list.Statements {
		if s.Name == "GetAccount" {
			get = s
		}
	}
	if get.Calls != 4 || get.Rows != 3 || get.Errors != 0 || get.P50 == nil || get.File != "account.sql" || get.TotalSeconds <= 0 {
		t.Errorf("GetAccount is %+v", get)
	}
	var one console.StatementDetail
	send(t, "GET", url+"/statements/CreateAccount", &one)
	if one.Calls != 2 || one.Errors != 1 || one.ErrorClasses["unique"] != 1 || len(one.Buckets) == 0 || len(one.Params) == 0 || !strings.Contains(one.SQL, "INSERT INTO") {
		t.Errorf("CreateAccount is %+v", one)
	}
	if status := send(t, "GET", url+"/statements/Nothing", nil); status != http.StatusNotFound {
		t.Errorf("an unknown statement is %d", status)
	}
}

// A plan names the index that it uses. A contract is broken once that index is gone.
func TestContracts(t *testing.T) {
	t.Parallel()
	d, url := serve(t)
	var plan console.StatementPlan
	if status := send(t, "GET", url+"/statements/GetAccount/plan", &plan); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if !slices.Contains(plan.Indexes, "accounts_pkey") || !strings.Contains(plan.Root.Title, "using accounts_pkey") || plan.Root.Conditions[0].Text != "(accounts.id = @id)" {
		t.Errorf("the plan is %+v", plan)
	}
	var check console.PlanCheck
	send(t, "POST", url+"/plans", &check)
	if check.Declared == 0 || check.Broken["GetAccount"] != "" || check.Problem != "" || check.Checked == nil {
		t.Fatalf("the contracts are %+v", check)
	}
	d.Exec(t, "ALTER TABLE accounts DROP CONSTRAINT accounts_pkey CASCADE")
	send(t, "POST", url+"/plans", &check)
	if !strings.Contains(check.Broken["GetAccount"], "it scans all of accounts") {
		t.Errorf("without the index, the contracts are %+v", check)
	}
	send(t, "GET", url+"/statements/GetAccount/plan", &plan)
	if !slices.Contains(plan.Sequential, "accounts") {
		t.Errorf("without the index, the plan is %+v", plan)
	}
}

// The overview is served while the database is down. It says what is wrong and when it is
// tried again, and recovers.
func TestOverview_DatabaseDown(t *testing.T) {
	t.Parallel()
	d, url := serve(t)
	var o console.Overview
	send(t, "GET", url+"/overview", &o)
	if !o.Database.OK || len(o.Servers) != 1 || o.Servers[0].Max != 3 || len(o.Servers[0].Classes) < 2 {
		t.Fatalf("the overview is %+v", o)
	}
	admin := testdata.Open(t, postgres.Config{URL: regexp.MustCompile(`/pgtest_[^?]*`).ReplaceAllString(d.URL, "/postgres")})
	name := regexp.MustCompile(`/(pgtest_[^?]*)`).FindStringSubmatch(d.URL)[1]
	admin.Exec(t, "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false")
	t.Cleanup(func() {
		_, _ = admin.Router.Pool().Exec(context.Background(), "ALTER DATABASE "+name+" ALLOW_CONNECTIONS true")
	})
	admin.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
	eventually(t, "the overview says that the database is down", func() bool {
		o = console.Overview{}
		send(t, "GET", url+"/overview", &o)
		return !o.Database.OK
	})
	if o.Database.Problem == "" || o.Database.NextTry == nil || o.Servers[0].Up {
		t.Errorf("while it is down, the overview is %+v", o)
	}
	var running console.InFlight
	if status := send(t, "GET", url+"/in-flight", &running); status != http.StatusOK || running.Problem == nil {
		t.Errorf("while it is down, in-flight is %d %+v", status, running)
	}
	var problem console.Problem
	if status := send(t, "GET", url+"/tables", &problem); status != http.StatusServiceUnavailable || problem.Detail == "" {
		t.Errorf("while it is down, tables is %d %+v", status, problem)
	}
	admin.Exec(t, "ALTER DATABASE "+name+" ALLOW_CONNECTIONS true")
	eventually(t, "the overview says that the database is up", func() bool {
		o = console.Overview{}
		send(t, "GET", url+"/overview", &o)
		return o.Database.OK && o.Servers[0].Up
	})
}

// The stream sends the overview, and ends when the console is closed.
func TestEvents(t *testing.T) {
	t.Parallel()
	observer := console.NewObserver()
	testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), Observers: []postgres.Observer{observer}})
	c := console.New(console.Config{Observer: observer, Logger: quiet})
	server := httptest.NewServer(c.Handler())
	defer server.Close()
	response, err := http.Get(server.URL + "/console/api/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("Content-Type: %s", kind)
	}
	seen := 0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found {
			continue
		}
		var o console.Overview
		if err := json.Unmarshal([]byte(data), &o); err != nil || o.Now.At == 0 || o.Samples != nil {
			t.Fatalf("an event is %s (%v)", data, err)
		}
		if seen++; seen == 2 {
			c.Close() // ends the loop
		}
	}
	if seen < 2 {
		t.Errorf("%d events came", seen)
	}
}

// A statement that waits is listed with its request and with what it waits for, and can be
// cancelled once.
func TestInFlightList(t *testing.T) {
	t.Parallel()
	d, url := serve(t)
	tx, err := d.Router.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	if _, err := tx.Exec(t.Context(), "LOCK TABLE accounts"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := d.Queries.GetAccount(context.WithValue(t.Context(), requestKey{}, "R1"), 1)
		ended <- err
	}()
	var v console.InFlight
	eventually(t, "the statement waits for the lock", func() bool {
		v = console.InFlight{}
		send(t, "GET", url+"/in-flight", &v)
		return len(v.Running) == 1 && len(v.Running[0].BlockedBy) == 1
	})
	x := v.Running[0]
	if x.Statement != "GetAccount" || x.RequestID != "R1" || x.Route != "GET /x" || !strings.HasPrefix(x.Wait, "Lock: ") {
		t.Errorf("it is listed as %+v", x)
	}
	if len(v.Sessions) != 1 || v.Sessions[0].PID != x.BlockedBy[0] || v.Sessions[0].Statement != "lock" || v.Sessions[0].State != "idle in transaction" {
		t.Errorf("the session that holds the lock is listed as %+v", v.Sessions)
	}
	cancel := url + "/in-flight/" + jsonNumber(x.ID) + "/cancel"
	if status := send(t, "POST", cancel, nil); status != http.StatusOK {
		t.Errorf("cancel: %d", status)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "an operator cancelled it") {
		t.Errorf("err = %v", err)
	}
	if status := send(t, "POST", cancel, nil); status != http.StatusConflict {
		t.Errorf("cancel again: %d", status)
	}
}

func jsonNumber(n uint64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

// A page of another site cannot cancel.
func TestCancel_CrossOrigin(t *testing.T) {
	t.Parallel()
	_, url := serve(t)
	request, err := http.NewRequestWithContext(t.Context(), "POST", url+"/in-flight/1/cancel", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("status %d, want 403", response.StatusCode)
	}
}

// The history of the schema has what each migration changed, and what has drifted.
func TestMigrationList(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"00001_create_a.sql": {Data: []byte("-- Creates a. It locks\n-- nothing.\n\n-- +goose Up\nCREATE TABLE a (id int);\n\n-- +goose Down\nDROP TABLE a;\n")},
		"00002_create_b.sql": {Data: []byte("-- Creates b.\n\n-- +goose Up\nCREATE TABLE b (id int);\n\n-- +goose Down\nDROP TABLE b;\n")},
	}
	address := pgtest.EmptyURL(t)
	migrator := newMigrator(t, address, files)
	if _, err := migrator.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	files["00001_create_a.sql"].Data = append(files["00001_create_a.sql"].Data, "-- edited\n"...)
	files["00003_create_c.sql"] = &fstest.MapFile{Data: []byte("-- Creates c.\n\n-- +goose Up\nCREATE TABLE c (id int);\n\n-- +goose Down\nDROP TABLE c;\n")}
	delete(files, "00002_create_b.sql")
	_, url := serve(t, func(cfg *console.Config) { cfg.Migrator, cfg.FS = newMigrator(t, address, files), files })

	var v console.Migrations
	send(t, "GET", url+"/migrations", &v)
	if len(v.Migrations) != 3 || v.Pending != 1 || len(v.Drift) != 2 {
		t.Fatalf("%+v", v)
	}
	states := []string{v.Migrations[0].State, v.Migrations[1].State, v.Migrations[2].State}
	if !slices.Equal(states, []string{"pending", "missing", "applied"}) {
		t.Errorf("the states are %q", states)
	}
	first := v.Migrations[2]
	if !first.Edited || first.Note != "Creates a. It locks\nnothing." || first.SQL != "CREATE TABLE a (id int);" || first.AppliedAt == nil || first.Seconds == nil {
		t.Errorf("the first migration is %+v", first)
	}
}

func newMigrator(t *testing.T, url string, files fs.FS) *migrate.Migrator {
	t.Helper()
	m, err := migrate.New(migrate.Config{URL: url, FS: files, History: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// Indexes that nothing uses, and those that are INVALID, are distinguished from the others.
func TestTableSizes(t *testing.T) {
	t.Parallel()
	d, url := serve(t)
	d.Exec(t, "CREATE INDEX idle_idx ON accounts (email)")
	d.Exec(t, "CREATE INDEX broken_idx ON accounts (email, age)")
	d.Exec(t, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken_idx'::regclass")
	var v console.Tables
	send(t, "GET", url+"/tables", &v)
	states := map[string][2]bool{}
	for _, i := range v.Indexes {
		states[i.Name] = [2]bool{i.Valid, i.Unused}
	}
	for name, want := range map[string][2]bool{"idle_idx": {true, true}, "broken_idx": {false, false}, "accounts_pkey": {true, false}} {
		if states[name] != want {
			t.Errorf("%s is valid, unused: %v, want %v", name, states[name], want)
		}
	}
	if !slices.ContainsFunc(v.Tables, func(x console.Table) bool { return x.Name == "accounts" && x.Bytes > 0 && x.IndexBytes > 0 }) || v.ServerVersion == "" {
		t.Errorf("the tables are %+v", v)
	}
}

// Without a Router, every request for data says so.
func TestNotConnected(t *testing.T) {
	t.Parallel()
	c := console.New(console.Config{Observer: console.NewObserver(), Logger: quiet})
	defer c.Close()
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/console/api/overview", nil))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The files of the page load nothing from elsewhere, run no inline code, and have the policy
// that forbids both.
func TestAssets(t *testing.T) {
	t.Parallel()
	c := console.New(console.Config{Observer: console.NewObserver(), Logger: quiet})
	defer c.Close()
	if n := len(console.Assets()); n < 14 {
		t.Errorf("%d files, want at least 14", n)
	}
	elsewhere := regexp.MustCompile(`(?i)(src|href|import|url|from)\W{1,3}(https?:)?//`)
	inline := regexp.MustCompile(`(?i)<script>|<style|\sstyle=|\son\w+="`)
	for _, p := range console.Assets() {
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, httptest.NewRequest("GET", p, nil))
		h, body := w.Header(), w.Body.String()
		if w.Code != http.StatusOK || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'; style-src 'self'") || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", p, w.Code, h)
		}
		if strings.Contains(p, "uPlot") {
			continue
		}
		if m := elsewhere.FindString(body); m != "" {
			t.Errorf("%s loads %q", p, m)
		}
		if m := inline.FindString(body); m != "" && strings.HasSuffix(p, ".html") {
			t.Errorf("%s has inline code: %q", p, m)
		}
		again := httptest.NewRequest("GET", p, nil)
		again.Header.Set("If-None-Match", h.Get("ETag"))
		w = httptest.NewRecorder()
		if c.Handler().ServeHTTP(w, again); w.Code != http.StatusNotModified {
			t.Errorf("%s: asked again: %d", p, w.Code)
		}
	}
}

// The files of uPlot are those of version 1.6.32 in the npm registry.
func TestAssets_Vendored(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
		"uPlot.min.css":     "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
		"uPlot.LICENSE":     "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
	} {
		content, err := os.ReadFile(filepath.Join("web", name))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != want {
			t.Errorf("the checksum of %s is %x", name, sum)
		}
	}
}
