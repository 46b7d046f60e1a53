package api

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// writing has requests for every operation that accepts a key. They use the rows that populate
// creates.
var writing = map[string][]struct{ method, path, body string }{
	"createUser": {
		{"POST", "/v1/users", `{"username":"ada","email":"x","age":null,"tags":["<a>"]}`},
		{"POST", "/v1/users", `{"username":"bob","email":"x","posts":[]}`},
		{"POST", "/v1/users", `{"username":"eve","email":"x","posts":[{"title":"a","content":"é"},{"title":"b","content":""}]}`},
	},
	"patchUser":   {{"PATCH", "/v1/users/1", `{"age":5,"tags":null}`}},
	"deleteUser":  {{"DELETE", "/v1/users/1", ""}},
	"patchUsers":  {{"PATCH", "/v1/users", `[{"id":1,"age":5},{"id":99,"age":5},{"id":2,"version":7,"age":5}]`}},
	"deleteUsers": {{"POST", "/v1/users/bulk-delete", `[{"id":1},{"id":99},{"id":2,"version":7}]`}},
	"createPost":  {{"POST", "/v1/users/1/posts", `{"title":"c","content":"\u2028 & <b>"}`}},
	"patchPost":   {{"PATCH", "/v1/posts/1", `{"title":"new"}`}},
	"deletePost":  {{"DELETE", "/v1/posts/1", ""}},
	"createTask":  {{"POST", "/v1/tasks", `{"name":"t","payload":{"b": [1.50, null],  "a":"<é>"},"run_at":"2099-01-01T00:00:00+02:00"}`}},
	"createTasks": {{"POST", "/v1/tasks/bulk-create", `[{"name":"t"},{"name":"t"}]`}},
	"claimTasks": {
		{"POST", "/v1/tasks/claim", `{"worker":"w","limit":1}`},
		{"POST", "/v1/tasks/claim", `{"worker":"w","limit":1,"wait_seconds":5}`},
	},
	"extendTask":    {{"POST", "/v1/tasks/1/extend", `{"worker":"w","attempts":1}`}},
	"completeTask":  {{"POST", "/v1/tasks/1/complete", `{"worker":"w","attempts":1}`}},
	"completeTasks": {{"POST", "/v1/tasks/bulk-complete", `[{"id":1,"worker":"w","attempts":1},{"id":99,"worker":"w","attempts":1},{"id":2,"worker":"w","attempts":1}]`}},
	"failTask":      {{"POST", "/v1/tasks/1/fail", `{"worker":"w","attempts":1,"retry_after_seconds":5}`}},
	"releaseTask":   {{"POST", "/v1/tasks/1/release", `{"worker":"w","attempts":1}`}},
	"cancelTask":    {{"POST", "/v1/tasks/1/cancel", ""}},
	"retryTask":     {{"POST", "/v1/tasks/2/retry", ""}},
	"deleteTask":    {{"DELETE", "/v1/tasks/2", ""}},
}

// populate creates two users, a post, a task that worker w holds, and two tasks that are due.
func (c *client) populate() {
	c.t.Helper()
	for _, name := range []string{"ann", "cid"} {
		c.do("POST", "/v1/users", `{"username":"`+name+`","email":"x"}`).want(201)
	}
	c.do("POST", "/v1/users/1/posts", `{"title":"old","content":""}`).want(201)
	c.do("POST", "/v1/tasks", `{"name":"held"}`).want(201)
	c.do("POST", "/v1/tasks/claim", `{"worker":"w"}`).want(200)
	c.do("POST", "/v1/tasks/bulk-create", `[{"name":"due"},{"name":"due"}]`).want(201)
}

// rows returns all rows of all tables as text.
func (c *client) rows() string {
	c.t.Helper()
	var all string
	err := c.db.Router.QueryRow(c.t.Context(), `SELECT concat_ws(E'\n', (SELECT string_agg(u::text, E'\n' ORDER BY id) FROM users AS u),
		(SELECT string_agg(p::text, E'\n' ORDER BY id) FROM posts AS p), (SELECT string_agg(t::text, E'\n' ORDER BY id) FROM tasks AS t))`).Scan(&all)
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

// TestIdempotencyKey repeats every request that writes.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	for operation, requests := range writing {
		for i, r := range requests {
			t.Run(fmt.Sprint(operation, i), func(t *testing.T) {
				t.Parallel()
				c := newClient(t)
				c.populate()
				before := c.rows()
				key := fmt.Sprintf(`"%s-%d"`, operation, i)
				first := c.do(r.method, r.path, r.body, "Idempotency-Key", key)
				after := c.rows()
				if first.status >= 300 || after == before {
					t.Fatalf("answered %d %s, and changed the rows: %t", first.status, first.body, after != before)
				}
				if first.header.Get("Idempotency-Replayed") != "" {
					t.Error("the first answer says that it is a repetition")
				}
				for range 2 {
					again := c.do(r.method, r.path, r.body, "Idempotency-Key", key).want(first.status)
					if again.body != first.body {
						t.Errorf("answered %s and then %s", first.body, again.body)
					}
					for _, name := range []string{"Location", "ETag", "Content-Type"} {
						if got, want := again.header.Get(name), first.header.Get(name); got != want {
							t.Errorf("%s %q and then %q", name, want, got)
						}
					}
					if again.header.Get("Idempotency-Replayed") != "true" {
						t.Errorf("Idempotency-Replayed %q, want true", again.header.Get("Idempotency-Replayed"))
					}
				}
				if diff := cmp.Diff(after, c.rows()); diff != "" {
					t.Errorf("repetitions changed (-first +after):\n%s", diff)
				}
				if operation != "createTask" {
					c.do("POST", "/v1/tasks", `{"name":"another"}`, "Idempotency-Key", key).problem(422, codeKeyReused, "header.Idempotency-Key")
				}
				if n := c.db.Count(t, "SELECT count(*) FROM idempotency_keys WHERE response IS NULL"); n != 0 {
					t.Errorf("%d keys without a response", n)
				}
				// Without a key the response must be the same, in a separate database.
				plain := newClient(t)
				plain.populate()
				without := plain.do(r.method, r.path, r.body).want(first.status)
				if got, want := fresh.ReplaceAllString(without.body, ""), fresh.ReplaceAllString(first.body, ""); got != want {
					t.Errorf("with a key %s, without one %s", want, got)
				}
			})
		}
	}
}

// TestIdempotencyKey_OneTransaction makes storing the response of each write fail. Then no part
// of the write may be stored.
func TestIdempotencyKey_OneTransaction(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.populate()
	c.db.Exec(t, "ALTER TABLE idempotency_keys ADD CONSTRAINT no_answers CHECK (response IS NULL)")
	before := c.rows()
	for operation, requests := range writing {
		a := c.do(requests[0].method, requests[0].path, requests[0].body, "Idempotency-Key", operation)
		if a.status != 422 || !strings.Contains(a.body, "no_answers") {
			t.Errorf("%s: %d %s, want the constraint that was broken", operation, a.status, a.body)
		}
		if diff := cmp.Diff(before, c.rows()); diff != "" {
			t.Fatalf("%s: stored without its answer (-before +after):\n%s", operation, diff)
		}
	}
}

// fresh matches the values that differ between two rows that were created in the same way.
var fresh = regexp.MustCompile(`"(id|created_at|updated_at|lease_until|run_at)":[^,}]+`)

// TestIdempotencyKey_Documented checks the document of every operation that writes.
func TestIdempotencyKey_Documented(t *testing.T) {
	t.Parallel()
	operations(newServer(Config{}).api.OpenAPI(), func(op *huma.Operation) {
		takes := slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "header" && p.Name == idempotencyKey })
		// Signing in and out stores nothing.
		if writes := op.Method != http.MethodGet && op.Path != sessionPath; takes != writes {
			t.Errorf("%s: writes %t, takes a key %t", op.OperationID, writes, takes)
		}
		if strings.HasPrefix(op.OperationID, "import") {
			return // imports are identified by their content as well
		}
		// Nouns that are added later use the same functions.
		added := !slices.Contains([]string{"users", "posts", "tasks"}, op.Tags[0])
		if tested := writing[op.OperationID] != nil; tested != takes && !added {
			t.Errorf("%s: takes a key %t, tested %t", op.OperationID, takes, tested)
		}
		if !takes {
			return
		}
		created := op.Responses["201"]
		for _, status := range []string{"200", "201", "204"} {
			if answer := op.Responses[status]; answer != nil && answer.Headers["Idempotency-Replayed"] == nil {
				t.Errorf("%s: no header Idempotency-Replayed of %s", op.OperationID, status)
			}
		}
		if one := op.OperationID != "createTasks"; created != nil && (created.Headers["Location"] != nil) != one {
			t.Errorf("%s: the headers %v, want Location of one", op.OperationID, created.Headers)
		}
		if h := op.Responses["409"]; h == nil || h.Headers["Retry-After"] == nil {
			t.Errorf("%s: no 409 with a Retry-After", op.OperationID)
		}
	})
}

// TestIdempotencyKey_Condition checks that the condition belongs to the request of a key,
// because the same change with another If-Match may be meant to fail.
func TestIdempotencyKey_Condition(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.populate()
	const patch = `{"age":5}`
	c.do("PATCH", "/v1/users/1", patch, "If-Match", `"7"`, "Idempotency-Key", "k").problem(412, codeVersionMismatch)
	first := c.do("PATCH", "/v1/users/1", patch, "If-Match", `"1"`, "Idempotency-Key", "k").want(200)
	// The version has changed by now, but the repeated request gets the stored response.
	again := c.do("PATCH", "/v1/users/1", patch, "If-Match", `"1"`, "Idempotency-Key", "k").want(200)
	if again.header.Get("ETag") != `"2"` || again.body != first.body {
		t.Errorf("repeated: %s %s, want %s", again.header.Get("ETag"), again.body, first.body)
	}
	c.do("PATCH", "/v1/users/1", patch, "If-Match", `"2"`, "Idempotency-Key", "k").problem(422, codeKeyReused, "header.Idempotency-Key")
	c.do("PATCH", "/v1/users/1", patch, "Idempotency-Key", "k").problem(422, codeKeyReused, "header.Idempotency-Key")
	c.do("DELETE", "/v1/users/1", "", "If-Match", `"2"`, "Idempotency-Key", "k2").want(204)
	c.do("DELETE", "/v1/users/1", "", "If-Match", `"2"`, "Idempotency-Key", "k2").want(204)
	c.do("DELETE", "/v1/users/1", "", "If-Match", `"2"`).problem(404, codeNotFound)
}

// TestIdempotencyKey_ClaimWaits checks that a claim with a key waits like one without. It must
// get the task that is created later, and hold no transaction until then.
func TestIdempotencyKey_ClaimWaits(t *testing.T) {
	t.Parallel()
	// A transaction that waited would keep the only connection.
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 1, TxMaxIdle: -1})
	c := newClient(t, func(cfg *Config) { cfg.Queries, cfg.Store = d.Queries, d.Store })
	c.db = d
	const claim = `{"worker":"w","wait_seconds":30}`
	claimed := make(chan *answer, 1)
	go func() { claimed <- c.do("POST", "/v1/tasks/claim", claim, "Idempotency-Key", "k") }()
	// The first query of the claim is over when the key was reserved and released again.
	deadline := time.Now().Add(20 * time.Second)
	for c.db.Count(t, "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'idempotency_keys' AND n_tup_ins > 0") == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the claim did not look")
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.do("POST", "/v1/tasks", `{"name":"t"}`).want(201)
	first := (<-claimed).want(200)
	if !strings.Contains(first.body, `"name":"t"`) {
		t.Errorf("claimed %s, want the task that came", first.body)
	}
	c.do("POST", "/v1/tasks", `{"name":"t2"}`).want(201)
	if again := c.do("POST", "/v1/tasks/claim", claim, "Idempotency-Key", "k").want(200); again.body != first.body {
		t.Errorf("claimed %s and then %s", first.body, again.body)
	}
	// If no task comes, that is also a response to be stored.
	const other = `{"worker":"w","wait_seconds":1,"limit":1}`
	c.do("POST", "/v1/tasks/claim", claim).want(200)
	none := c.do("POST", "/v1/tasks/claim", other, "Idempotency-Key", "k2").want(200)
	if again := c.do("POST", "/v1/tasks/claim", other, "Idempotency-Key", "k2").want(200); again.body != none.body || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("claimed %s and then %s", none.body, again.body)
	}
}

// TestIdempotencyKey_Bulk checks that a change of many users with a key waits for its share of
// the pool, like one without.
func TestIdempotencyKey_Bulk(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 2, PoolClasses: map[string]string{"bulk": "1"}})
	c := newClient(t, func(cfg *Config) { cfg.Queries, cfg.Store = d.Queries, d.Store })
	c.db = d
	d.CreateUser(t)
	answered := make(chan *answer, 1)
	err := d.Queries.InTxWith(t.Context(), postgres.TxOptions{Class: "bulk"}, func(q *db.Queries) error {
		if _, err := q.GetUser(t.Context(), 1); err != nil {
			return err
		}
		go func() {
			answered <- c.do("PATCH", "/v1/users", `[{"id":1,"age":5}]`, "Idempotency-Key", "k")
		}()
		select {
		case a := <-answered:
			t.Errorf("answered %d %s while bulk was in use", a.status, a.body)
		case <-time.After(200 * time.Millisecond):
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !t.Failed() {
		(<-answered).want(200)
	}
}

func TestIdempotencyKey_Reused(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.do("POST", "/v1/users", `{"username":"ada","email":"x"}`, "Idempotency-Key", "k").want(201)
	for path, body := range map[string]string{
		"/v1/users":         `{"username":"bob","email":"x"}`,
		"/v1/users ":        `{"username":"ada","email":"x"} `, // equal as JSON, but with different bytes
		"/v1/users/1/posts": `{"username":"ada","email":"x"}`,
		"/v1/tasks":         `{"name":"n"}`,
	} {
		a := c.do("POST", strings.TrimSpace(path), body, "Idempotency-Key", "k")
		if path == "/v1/users/1/posts" {
			// An invalid request is refused before its key is checked.
			a.problem(422, codeInvalid, "body.content", "body.email", "body.title", "body.username")
			continue
		}
		a.problem(422, codeKeyReused, "header.Idempotency-Key")
	}
	// If the spelling differs, it is another key.
	c.do("POST", "/v1/users", `{"username":"bob","email":"x"}`, "Idempotency-Key", `"k"`).want(201)
	if n := c.db.Count(t, "SELECT count(*) FROM users"); n != 2 {
		t.Errorf("%d users, want 2", n)
	}
}

func TestIdempotencyKey_FailuresAreNotKept(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	taken := c.db.CreateUser(t)
	body := fmt.Sprintf(`{"username":%q,"email":"x"}`, taken.Username)
	for range 2 {
		c.do("POST", "/v1/users", body, "Idempotency-Key", "k").problem(409, codeUsernameTaken, "body.username")
	}
	c.do("POST", "/v1/users/999/posts", `{"title":"t","content":""}`, "Idempotency-Key", "k").problem(422, codeUnknownUser, "path.id")
	if _, err := c.db.Queries.DeleteUser(t.Context(), db.DeleteUserParams{ID: taken.ID}); err != nil {
		t.Fatal(err)
	}
	if a := c.do("POST", "/v1/users", body, "Idempotency-Key", "k").want(201); a.header.Get("Idempotency-Replayed") != "" {
		t.Error("the first success is a repetition")
	}
}

func TestIdempotencyKey_Invalid(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	const body = `{"username":"ada","email":"x"}`
	for _, key := range []string{strings.Repeat("k", 256), "a b", "é", "a\tb"} {
		c.do("POST", "/v1/users", body, "Idempotency-Key", key).problem(422, codeInvalid, "header.Idempotency-Key")
	}
	c.do("POST", "/v1/users", body, "Idempotency-Key", "a", "Idempotency-Key", "b").problem(422, codeInvalid, "header.Idempotency-Key")
	c.do("POST", "/v1/users", body, "Idempotency-Key", strings.Repeat("k", 255)).want(201)
	if n := c.db.Count(t, "SELECT count(*) FROM idempotency_keys"); n != 1 {
		t.Errorf("%d keys stored, want 1", n)
	}
}

// TestIdempotencyKey_Empty sends an empty key, as a client with an unset variable does. Such a
// client expects to be protected, but would not be.
func TestIdempotencyKey_Empty(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	operations(newServer(Config{}).api.OpenAPI(), func(op *huma.Operation) {
		path := strings.NewReplacer("{id}", "1", "{username}", "a").Replace(op.Path)
		for _, key := range []string{"", " ", "\t"} {
			a := c.do(op.Method, path, "", "Idempotency-Key", key)
			if op.Method != http.MethodGet {
				a.problem(400, codeInvalidKey, "header.Idempotency-Key")
			} else if a.status == 400 {
				t.Errorf("GET %s has no use for a key and refuses an empty one: %s", op.Path, a.body)
			}
		}
	})
}

func TestIdempotencyKey_InFlight(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	const body = `{"username":"ada","email":"x"}`
	_, _, err := c.db.Store.Once(t.Context(), store.Keyed{Key: "k", Hash: []byte("x")}, func(*db.Queries) ([]byte, error) {
		a := c.do("POST", "/v1/users", body, "Idempotency-Key", "k")
		a.problem(http.StatusConflict, codeKeyInFlight)
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q, want 1", a.header.Get("Retry-After"))
		}
		return nil, errNothing
	})
	if err == nil {
		t.Error("no error of the first")
	}
	c.do("POST", "/v1/users", body, "Idempotency-Key", "k").want(201)
}
