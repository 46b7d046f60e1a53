package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"quern/internal/store"
	"quern/internal/storetest"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const threeUsers = "username,email,age\nann,a@x,31\nbob,b@x,\ncy,c@x,200\n"

func TestImport(t *testing.T) {
	t.Parallel()
	want := Imported{Rows: 3, Inserted: 2, Rejected: 1, Rejects: []Rejected{{4, "age", "is not between 0 and 150"}}}

	for name, headers := range map[string][]string{
		"Plain": {"Content-Type", "text/csv; charset=utf-8"},
		"Gzip":  {"Content-Type", "text/csv", "Content-Encoding", "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t)
			body := threeUsers
			if name == "Gzip" {
				body = gzipped(t, body)
			}
			var got Imported
			c.do("POST", "/v1/users/import", body, headers...).want(200).into(&got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			// The same import again stores nothing and says so, even if rows were deleted.
			c.db.Exec(t, "DELETE FROM users WHERE username = 'bob'")
			got = Imported{}
			c.do("POST", "/v1/users/import", body, headers...).want(200).into(&got)
			if got.ResumedAt == nil || time.Since(*got.ResumedAt) > time.Hour {
				t.Errorf("resumed at %v", got.ResumedAt)
			}
			got.ResumedAt = nil
			again := Imported{Rows: 3, Resumed: 3, ResumedRejected: 1, Note: noteResumed, Rejects: want.Rejects}
			if diff := cmp.Diff(again, got); diff != "" {
				t.Error(diff)
			}
			posts := `{"username":"ann","title":"t","content":""}` + "\n" + `{"user_id":999,"title":"t","content":""}` + "\n"
			for _, key := range []string{"k1", "k1", "k2"} {
				c.do("POST", "/v1/posts/import", posts, "Content-Type", "application/x-ndjson", "Idempotency-Key", key).want(200)
			}
			if n := c.db.Count(t, "SELECT count(*) FROM posts"); n != 2 {
				t.Errorf("%d posts, want one for each key", n)
			}
		})
	}

	t.Run("Strict", func(t *testing.T) {
		t.Parallel()
		c := newClient(t)
		c.do("POST", "/v1/users/import?strict=true", threeUsers, "Content-Type", "text/csv").
			problem(422, codeRejected, "body.line 4.age")
		if n := c.db.Count(t, "SELECT count(*) FROM users"); n != 0 {
			t.Errorf("%d users stored, want none", n)
		}
		c.do("POST", "/v1/users/import?max_rejects=0", threeUsers, "Content-Type", "text/csv").
			problem(422, codeRejected, "body.line 4.age")
		c.do("POST", "/v1/users/import?max_rejects=1", threeUsers, "Content-Type", "text/csv").want(200)
		if p := c.do("POST", "/v1/users/import?on_conflict=update", threeUsers, "Content-Type", "text/csv").problem(409, codeBeganAlike); !strings.Contains(p.Detail, "2 rows of an import with the same beginning are stored") {
			t.Errorf("detail = %s", p.Detail)
		}
		c.do("POST", "/v1/users/import?on_conflict=update", threeUsers, "Content-Type", "text/csv", "Idempotency-Key", "update").want(200)
	})

	t.Run("Refused", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, func(cfg *Config) { cfg.MaxImportBytes = 100 })
		small := newClient(t, func(cfg *Config) {
			cfg.Store = store.NewWithLimits(cfg.Queries, store.Limits{ImportSpool: 50})
		})
		small.do("POST", "/v1/users/import?strict=true", threeUsers+strings.Repeat("\n", 50), "Content-Type", "text/csv").problem(413, codeBodyTooLarge)
		post := func(body, media string, headers ...string) *answer {
			return c.do("POST", "/v1/users/import", body, append([]string{"Content-Type", media}, headers...)...)
		}
		post("{}", "application/json").problem(415, codeUnsupportedMediaType)
		post("", "text/csv; charset=latin1").problem(415, codeUnsupportedMediaType)
		post(threeUsers, "text/csv", "Content-Encoding", "br").problem(415, codeUnsupportedMediaType)
		post(strings.Repeat("x", 101), "text/csv").problem(413, codeBodyTooLarge)
		c.send("POST", "/v1/users/import", io.MultiReader(strings.NewReader("username,email\n"), strings.NewReader(strings.Repeat("x", 100))),
			"Content-Type", "text/csv").problem(413, codeBodyTooLarge)
		post("", "text/csv").problem(400, codeInvalidBody)
		if p := post("username,emial\n", "text/csv").problem(400, codeInvalidBody); !strings.Contains(p.Detail, `"emial"`) {
			t.Errorf("detail = %s", p.Detail)
		}
		post(gzipped(t, threeUsers)[:30], "text/csv").problem(400, codeInvalidBody)
		c.do("POST", "/v1/users/import?on_conflict=merge", threeUsers, "Content-Type", "text/csv").problem(422, codeInvalid, "query.on_conflict")
	})
}

// TestImport_Rejects gets all rejected rows of an import, corrects them and imports them.
func TestImport_Rejects(t *testing.T) {
	t.Parallel()
	var wrong, right strings.Builder
	wrong.WriteString("username,email,age\nann,a@x,31\n")
	for i := range 250 {
		fmt.Fprintf(&wrong, "u%d,u@x,400\n", i)
		fmt.Fprintf(&right, `{"_reject":{"line":%d,"field":"age","reason":"is not between 0 and 150"},"username":"u%d","email":"u@x","age":400}`+"\n", i+3, i)
	}
	for _, query := range []string{"", "?strict=true"} {
		c := newClient(t)
		status := map[string]int{"": 200, "?strict=true": 422}[query]
		// The first request imports, and the second one finds that nothing is left to store.
		for range 2 {
			a := c.do("POST", "/v1/users/import/rejects"+query, wrong.String(), "Content-Type", mediaCSV).want(status)
			if a.body != right.String() {
				t.Errorf("%q: the rejects are %.300q…, want %.300q…", query, a.body, right.String())
			}
			if got := a.header.Get("Content-Disposition"); got != `attachment; filename="users-rejects.ndjson"` {
				t.Errorf("Content-Disposition %q", got)
			}
			if n := c.db.Count(t, "SELECT count(*) FROM users"); n != map[string]int{"": 1, "?strict=true": 0}[query] {
				t.Errorf("%q: %d users", query, n)
			}
		}
		corrected := strings.ReplaceAll(right.String(), `"age":400`, `"age":40`)
		a := c.do("POST", "/v1/users/import/rejects", corrected, "Content-Type", mediaNDJSON).want(200)
		if n := c.db.Count(t, "SELECT count(*) FROM users WHERE age = 40"); n != 250 || a.body != "" {
			t.Errorf("%q: %d users have the corrected age, want 250; rejected: %q", query, n, a.body)
		}
		// An error of the body as a whole, and an import that stops early, are problems.
		c.do("POST", "/v1/users/import/rejects", "nick\nann\n", "Content-Type", mediaCSV).problem(400, codeInvalidBody)
		few := c.do("POST", "/v1/users/import/rejects?max_rejects=3", "username,email\n"+strings.Repeat(",x\n", 10), "Content-Type", mediaCSV).want(422)
		if media := few.header.Get("Content-Type"); media != "application/problem+json" || !strings.Contains(few.body, `"rows_rejected"`) {
			t.Errorf("too many rejects: %s: %s", media, few.body)
		}
	}
}

// TestImport_RejectsRoom bounds the rows that are kept until a body has been read.
func TestImport_RejectsRoom(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *Config) {
		cfg.Store = store.NewWithLimits(cfg.Queries, store.Limits{ImportSpool: 4 << 10})
	})
	wrong := "username,email\n" + strings.Repeat(",x\n", 100)
	p := c.do("POST", "/v1/users/import/rejects", wrong, "Content-Type", mediaCSV).problem(507, codeNoSpool)
	if !strings.Contains(p.Detail, "rejected rows") {
		t.Errorf("%s", p.Detail)
	}
	c.do("POST", "/v1/users/import", wrong, "Content-Type", mediaCSV).want(422)
	// The space is free again.
	c.do("POST", "/v1/users/import/rejects", "username,email\n,x\nann,x\n", "Content-Type", mediaCSV).want(200)
}

// TestImport_HangUp breaks a connection in the middle of a body. The rows stored until then
// must stay, and sending the body again must store the rest.
func TestImport_HangUp(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	var body strings.Builder
	body.WriteString("username,title,content\n")
	u := c.db.CreateUser(t)
	const rows = 25_000
	for i := range rows {
		fmt.Fprintf(&body, "%s,post %d,\"\"\n", u.Username, i)
	}
	host := strings.TrimPrefix(c.url, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	part := body.String()[:body.Len()*9/10]
	fmt.Fprintf(conn, "POST /v1/posts/import HTTP/1.1\r\nHost: %s\r\nContent-Type: text/csv\r\nContent-Length: %d\r\n\r\n%s", host, body.Len(), part)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	var got Imported
	c.do("POST", "/v1/posts/import", body.String(), "Content-Type", "text/csv").want(200).into(&got)
	if got.Rows != rows || got.Inserted+got.Resumed != rows {
		t.Errorf("%+v, want %d rows inserted or resumed", got, rows)
	}
	if n := c.db.Count(t, "SELECT count(DISTINCT title) FROM posts"); n != rows {
		t.Errorf("%d different posts, want %d", n, rows)
	}
	if n := c.db.Count(t, "SELECT count(*) FROM posts"); n != rows {
		t.Errorf("%d posts, want %d", n, rows)
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.do("POST", "/v1/users/import", "username,email,age\nann,a@x,31\n\"b,\"\"b\",b@x,\n", "Content-Type", "text/csv").want(200)
	c.do("POST", "/v1/posts/import", "username,title,content\nann,t,\"a\nb\"\nann,u,\"\"\n\"b,\"\"b\",v,x\n", "Content-Type", "text/csv").want(200)

	a := c.do("GET", "/v1/users/export", "").want(200)
	if got := a.header.Get("Content-Type"); got != "text/csv; charset=utf-8; header=present" {
		t.Errorf("Content-Type %q", got)
	}
	lines := strings.Split(a.body, "\n")
	if lines[0] != "id,username,email,age,tags,created_at,updated_at,version" || len(lines) != 4 || !strings.HasPrefix(lines[2], `2,"b,""b",b@x,,[],20`) {
		t.Errorf("%q", lines)
	}
	if a := c.do("GET", "/v1/users/export?min_age=18", ""); strings.Count(a.body, "\n") != 2 {
		t.Errorf("with min_age: %s", a.body)
	}
	a = c.do("GET", "/v1/posts/export?user_id=1", "", "Accept", "text/csv;q=0.5, application/x-ndjson").want(200)
	for n, line := range strings.Split(strings.TrimSpace(a.body), "\n") {
		var post struct {
			UserID            int64 `json:"user_id"`
			Username, Content string
		}
		if err := json.Unmarshal([]byte(line), &post); err != nil || post.UserID != 1 || post.Username != "ann" || post.Content != []string{"a\nb", ""}[n] {
			t.Errorf("%v: %s", err, line)
		}
	}
	c.do("GET", "/v1/users/export", "", "Accept", "application/json").problem(406, codeNotAcceptable)
	// If a Transport requests gzip by itself, it also decompresses the response by itself.
	a = c.do("GET", "/v1/users/export", "", "Accept-Encoding", "gzip").want(200)
	r, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil || a.header.Get("Content-Encoding") != "gzip" {
		t.Fatal(err, a.header)
	}
	if text, err := io.ReadAll(r); err != nil || strings.Join(lines, "\n") != string(text) {
		t.Errorf("%v: %q", err, text)
	}
}

// TestExport_BrokenOff ends the database connection in the middle of a response. The client
// must be able to tell that the response is incomplete.
func TestExport_BrokenOff(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.db.Exec(t, "INSERT INTO users (username, email) SELECT 'user' || n, repeat('x', 100) FROM generate_series(1, 200000) AS n")
	for _, encoding := range []string{"identity", "gzip"} {
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), "GET", c.url+"/v1/users/export", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", encoding)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		c.db.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%ExportUsers%' AND pid <> pg_backend_pid()")
		if _, err = io.Copy(io.Discard, resp.Body); err == nil {
			t.Errorf("%s: the client saw a whole answer", encoding)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ header, want string }{
		{"", "text/csv"},
		{"*/*", "text/csv"},
		{"application/x-ndjson", "application/x-ndjson"},
		{"text/*;q=0.1, application/x-ndjson;q=0.2", "application/x-ndjson"},
		{"*/*, text/csv;q=0", "application/x-ndjson"},
		{"TEXT/CSV", "text/csv"},
		{"text/html, application/json", ""},
		{"text/csv;q=x", ""},
	} {
		if got := accepted(c.header, mediaCSV, mediaNDJSON); got != c.want {
			t.Errorf("%q: got %q, want %q", c.header, got, c.want)
		}
	}
}

// TestImport_NoDeadlineInAll sets server deadlines that no stream could meet as a whole. They
// must apply only to the time without progress.
func TestImport_NoDeadlineInAll(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	srv := httptest.NewUnstartedServer(New(Config{Queries: d.Queries, Store: d.Store, Logger: textLogger(&logged{})}))
	srv.Config.ReadHeaderTimeout = time.Minute
	srv.Config.ReadTimeout = time.Millisecond
	srv.Config.WriteTimeout = time.Millisecond
	srv.Start()
	t.Cleanup(srv.Close)
	c := &client{t: t, db: d, url: srv.URL}
	var body strings.Builder
	body.WriteString("username,email\n")
	for i := range 30_000 {
		fmt.Fprintf(&body, "user%d,x\n", i)
	}
	var got Imported
	c.send("POST", "/v1/users/import", iotest.HalfReader(strings.NewReader(body.String())), "Content-Type", "text/csv").want(200).into(&got)
	if got.Inserted != 30_000 {
		t.Errorf("%+v", got)
	}
	if a := c.get("/v1/users/export"); strings.Count(a.body, "\n") != 30_001 {
		t.Errorf("%d lines", strings.Count(a.body, "\n"))
	}
}

// TestImport_SameRules compares the API's rules with those of imports.
func TestImport_SameRules(t *testing.T) {
	t.Parallel()
	schemas := newServer(Config{}).api.OpenAPI().Components.Schemas
	for _, c := range []struct {
		schema, property string
		want             int
		got              func(*huma.Schema) *int
	}{
		{"NewUser", "username", store.MaxUsername, func(s *huma.Schema) *int { return s.MaxLength }},
		{"NewUser", "email", store.MaxEmail, func(s *huma.Schema) *int { return s.MaxLength }},
		{"NewUser", "age", store.MaxAge, func(s *huma.Schema) *int { return new(int(*s.Maximum)) }},
		{"NewUser", "tags", store.MaxTags, func(s *huma.Schema) *int { return s.MaxItems }},
		{"NewUser", "tags", store.MaxTag, func(s *huma.Schema) *int { return s.Items.MaxLength }},
		{"NewPost", "title", store.MaxTitle, func(s *huma.Schema) *int { return s.MaxLength }},
		{"NewPost", "tags", store.MaxTags, func(s *huma.Schema) *int { return s.MaxItems }},
		{"NewPost", "tags", store.MaxTag, func(s *huma.Schema) *int { return s.Items.MaxLength }},
	} {
		s := schemas.Map()[c.schema].Properties[c.property]
		if got := c.got(s); got == nil || *got != c.want {
			t.Errorf("%s.%s: the API has %v, the import %d", c.schema, c.property, got, c.want)
		}
	}
}
