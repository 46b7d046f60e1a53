package api

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/db"
	"quern/internal/store"
)

// creating is every operation that takes a key, with a request for each.
var creating = map[string][]struct{ path, body, rows string }{
	"createUser": {
		{"/v1/users", `{"username":"ada","email":"x","age":null,"tags":["<a>"]}`, "users"},
		{"/v1/users", `{"username":"bob","email":"x","posts":[]}`, "users"},
		{"/v1/users", `{"username":"eve","email":"x","posts":[{"title":"a","content":"é"},{"title":"b","content":""}]}`, "posts"},
	},
	"createPost":  {{"/v1/users/1/posts", `{"title":"c","content":"\u2028 & <b>"}`, "posts"}},
	"createTask":  {{"/v1/tasks", `{"name":"t","payload":{"b": [1.50, null],  "a":"<é>"},"run_at":"2099-01-01T00:00:00+02:00"}`, "tasks"}},
	"createTasks": {{"/v1/tasks/bulk-create", `[{"name":"t"},{"name":"t"}]`, "tasks"}},
}

// fresh is what differs between two rows that are made alike.
var fresh = regexp.MustCompile(`"(id|created_at|updated_at)":[^,}]+`)

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.db.CreateUser(t)
	count := func(rows string) int { return c.db.Count(t, "SELECT count(*) FROM "+rows) }
	for operation, requests := range creating {
		for i, r := range requests {
			key := fmt.Sprintf(`"%s-%d"`, operation, i)
			before := count(r.rows)
			first := c.do("POST", r.path, r.body, "Idempotency-Key", key).want(201)
			after := count(r.rows)
			if after == before {
				t.Fatalf("%s: no row in %s", operation, r.rows)
			}
			if first.header.Get("Idempotency-Replayed") != "" {
				t.Errorf("%s: the first answer says it is not the first", operation)
			}
			for range 2 {
				again := c.do("POST", r.path, r.body, "Idempotency-Key", key).want(201)
				if again.body != first.body {
					t.Errorf("%s: answered %s and then %s", operation, first.body, again.body)
				}
				for _, name := range []string{"Location", "ETag", "Content-Type"} {
					if got, want := again.header.Get(name), first.header.Get(name); got != want {
						t.Errorf("%s: %s %q and then %q", operation, name, want, got)
					}
				}
				if again.header.Get("Idempotency-Replayed") != "true" {
					t.Errorf("%s: Idempotency-Replayed %q, want true", operation, again.header.Get("Idempotency-Replayed"))
				}
			}
			if n := count(r.rows); n != after {
				t.Errorf("%s: %d rows after repetitions, want %d", operation, n, after)
			}
			// The same answer as without a key, but for what is new in it.
			if operation == "createTask" {
				plain := c.do("POST", r.path, r.body).want(201)
				if fresh.ReplaceAllString(plain.body, "") != fresh.ReplaceAllString(first.body, "") {
					t.Errorf("%s: with a key %s, without one %s", operation, first.body, plain.body)
				}
			}
		}
	}
	if n := count("idempotency_keys WHERE response IS NULL"); n != 0 {
		t.Errorf("%d keys without a response", n)
	}
}

// TestIdempotencyKey_Documented finds every operation that creates.
func TestIdempotencyKey_Documented(t *testing.T) {
	t.Parallel()
	operations(newServer(Config{}).api.OpenAPI(), func(op *huma.Operation) {
		if strings.HasPrefix(op.OperationID, "import") {
			return // which know themselves again by their content
		}
		takes := false
		for _, p := range op.Parameters {
			takes = takes || p.In == "header" && p.Name == idempotencyKey
		}
		if creates := op.Responses["201"] != nil; creates != takes || creates != (creating[op.OperationID] != nil) {
			t.Errorf("%s: creates %t, takes a key %t, tested %t", op.OperationID, creates, takes, creating[op.OperationID] != nil)
		}
		if !takes {
			return
		}
		headers := op.Responses["201"].Headers
		if one := op.OperationID != "createTasks"; headers["Idempotency-Replayed"] == nil || (headers["Location"] != nil) != one {
			t.Errorf("%s: the headers %v, want Idempotency-Replayed and, of one, Location", op.OperationID, headers)
		}
		if h := op.Responses["409"]; h == nil || h.Headers["Retry-After"] == nil {
			t.Errorf("%s: no 409 with a Retry-After", op.OperationID)
		}
	})
}

func TestIdempotencyKey_Reused(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.do("POST", "/v1/users", `{"username":"ada","email":"x"}`, "Idempotency-Key", "k").want(201)
	for path, body := range map[string]string{
		"/v1/users":         `{"username":"bob","email":"x"}`,
		"/v1/users ":        `{"username":"ada","email":"x"} `, // the same to JSON, another to the byte
		"/v1/users/1/posts": `{"username":"ada","email":"x"}`,
		"/v1/tasks":         `{"name":"n"}`,
	} {
		a := c.do("POST", strings.TrimSpace(path), body, "Idempotency-Key", "k")
		if path == "/v1/users/1/posts" {
			// What is not valid is refused before anybody looks at its key.
			a.problem(422, codeInvalid, "body.content", "body.email", "body.title", "body.username")
			continue
		}
		a.problem(422, codeKeyReused, "header.Idempotency-Key")
	}
	// Another spelling is another key.
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
	if err := c.db.Store.DeleteUser(t.Context(), db.DeleteUserParams{ID: taken.ID}); err != nil {
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

// TestIdempotencyKey_Empty sends what a client sends whose variable is unset. It
// means to be protected and would not be.
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
