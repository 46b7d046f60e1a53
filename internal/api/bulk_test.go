package api

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/internal/db"
)

var errNothing = errors.New("nothing")

func TestPatchUsers(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for i := range 5 {
		c.db.CreateUser(t, func(p *db.CreateUserParams) { p.Username, p.Tags = fmt.Sprint("user", i+1), []string{"old"} })
	}
	var got UsersPatched
	c.do("PATCH", "/v1/users", `[{"id":3,"age":null,"version":1},{"id":1,"age":31},{"id":9,"age":1},{"id":2,"age":1,"version":7},
		{"id":4,"username":"four","email":"4@x","tags":null}]`).want(200).into(&got)
	want := UsersPatched{Updated: 3, NotFound: []int64{9}, VersionMismatch: []int64{2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for id, want := range map[int]struct {
		username string
		age      *int32
		version  int32
		tags     int
	}{1: {"user1", new(int32(31)), 2, 1}, 3: {"user3", nil, 2, 1}, 4: {"four", nil, 2, 0}} {
		var u User
		c.get(fmt.Sprint("/v1/users/", id)).into(&u)
		if id == 4 {
			want.age = u.Age
		}
		if u.Username != want.username || fmt.Sprint(u.Version) != fmt.Sprint(want.version) || cmp.Diff(u.Age, want.age) != "" || len(u.Tags) != want.tags {
			t.Errorf("user %d is %+v, want %+v", id, u, want)
		}
	}
	if a := c.do("PATCH", "/v1/users", `[]`).want(200); a.body != `{"updated":0,"not_found":[],"version_mismatch":[]}`+"\n" {
		t.Errorf("nothing to change: %s", a.body)
	}
	// If one item fails, none of the others is changed either.
	c.do("PATCH", "/v1/users", `[{"id":1,"age":77},{"id":2,"username":"user3"}]`).problem(409, codeUsernameTaken, "body[1].username")
	if n := c.db.Count(t, "SELECT count(*) FROM users WHERE age = 77"); n != 0 {
		t.Errorf("%d users were changed by a request that failed", n)
	}
}

// TestBulk_Faults makes PostgreSQL refuse some of many items, by rules that the API does not
// know or cannot check. The response must say which items.
func TestBulk_Faults(t *testing.T) {
	t.Parallel()
	many := func(item func(i int) string) string {
		items := make([]string, 1000)
		for i := range items {
			items[i] = item(i)
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	for name, test := range map[string]struct {
		ddl                string
		method, path, body string
		status             int
		code               code
		locations          []string
	}{
		"Taken": {
			"", "PATCH", "/v1/users", `[{"id":3,"age":1},{"id":2,"username":"free"},{"id":1,"age":1},{"id":4,"username":"user5"}]`,
			409, codeUsernameTaken,
			[]string{"body[3].username"},
		},
		"TakenSeveral": {
			"", "PATCH", "/v1/users", `[{"id":4,"username":"user5"},{"id":3,"age":1},{"id":2,"username":"user1"}]`,
			409, codeUsernameTaken,
			[]string{"body[0].username", "body[2].username"},
		},
		"TakenTwiceInTheRequest": {
			"", "PATCH", "/v1/users", `[{"id":1,"username":"new"},{"id":2,"age":1},{"id":3,"username":"new"}]`,
			409, codeUsernameTaken,
			[]string{"body[2].username"},
		},
		"Swap": {
			"", "PATCH", "/v1/users", `[{"id":5,"age":1},{"id":1,"username":"user2"},{"id":2,"username":"user1"}]`,
			409, codeUsernameTaken,
			[]string{"body[1].username", "body[2].username"},
		},
		"One": {
			"", "PATCH", "/v1/users", `[{"id":1,"username":"user2"}]`,
			409, codeUsernameTaken,
			[]string{"body[0].username"},
		},
		"TakenByAMissingUser": { // a user that does not exist cannot take a username
			"", "PATCH", "/v1/users", `[{"id":99,"username":"user1"},{"id":1,"version":9,"username":"user2"},{"id":3,"username":"user4"}]`,
			409, codeUsernameTaken,
			[]string{"body[2].username"},
		},
		"Many": {
			"INSERT INTO users (username, email) SELECT 'm' || i, 'x' FROM generate_series(6, 1005) AS i",
			"PATCH", "/v1/users", many(func(i int) string {
				if i%300 == 7 {
					return fmt.Sprintf(`{"id":%d,"username":"user1"}`, 1005-i)
				}
				return fmt.Sprintf(`{"id":%d,"age":9}`, 1005-i)
			}),
			409, codeUsernameTaken,
			[]string{"body[7].username", "body[307].username", "body[607].username", "body[907].username"},
		},
		"NewUnique": {
			"CREATE UNIQUE INDEX users_email_lower ON users (lower(email))",
			"PATCH", "/v1/users", `[{"id":1,"age":1},{"id":2,"email":"USER3@X"}]`, 409, codeConflict,
			[]string{"body[1]"},
		},
		"NewUniqueDeferred": {
			"ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE (email) DEFERRABLE INITIALLY DEFERRED",
			"PATCH", "/v1/users", `[{"id":1,"age":1},{"id":2,"email":"user3@x"}]`, 409, codeConflict,
			[]string{"body[1]"},
		},
		"NewCheck": {
			"ALTER TABLE users ADD CONSTRAINT users_email_form CHECK (email LIKE '%@%')",
			"PATCH", "/v1/users", `[{"id":1,"age":1},{"id":2,"email":"x"}]`, 422, codeInvalid,
			[]string{"body[1]"},
		},
		"NotNull": {
			"ALTER TABLE users ALTER age SET DEFAULT 1; UPDATE users SET age = 1; ALTER TABLE users ALTER age SET NOT NULL",
			"PATCH", "/v1/users", `[{"id":1,"age":1},{"id":2,"age":null}]`, 422, codeInvalid,
			[]string{"body[1]"},
		},
		"StillReferenced": {
			"CREATE TABLE orders (user_id bigint REFERENCES users); INSERT INTO orders VALUES (3)",
			"POST", "/v1/users/bulk-delete", `[{"id":5},{"id":3},{"id":99},{"id":1}]`, 409, codeReferenced,
			[]string{"body[1]"},
		},
		"Tasks": {
			"ALTER TABLE tasks ADD CONSTRAINT tasks_name_known CHECK (name IN ('a', 'b'))",
			"POST", "/v1/tasks/bulk-create", `[{"name":"a"},{"name":"c"},{"name":"b"},{"name":"d"}]`, 422, codeInvalid,
			[]string{"body[1]", "body[3]"},
		},
		"TasksUnique": {
			"CREATE UNIQUE INDEX tasks_name_key ON tasks (name)",
			"POST", "/v1/tasks/bulk-create", `[{"name":"a"},{"name":"b"},{"name":"a"}]`, 409, codeConflict,
			[]string{"body[2]"},
		},
		"PostsOfAUser": {
			"CREATE UNIQUE INDEX posts_title_key ON posts (title)",
			"POST", "/v1/users", `{"username":"new","email":"x","posts":[{"title":"a","content":""},{"title":"b","content":""},{"title":"a","content":""}]}`,
			409, codeConflict,
			[]string{"body.posts[2]"},
		},
		"TheUserOfPosts": {
			"", "POST", "/v1/users", `{"username":"user1","email":"x","posts":[{"title":"a","content":""}]}`,
			409, codeUsernameTaken,
			[]string{"body.username"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t)
			for i := range 5 {
				c.db.CreateUser(t, func(p *db.CreateUserParams) {
					p.Username, p.Email = fmt.Sprint("user", i+1), fmt.Sprintf("user%d@x", i+1)
				})
			}
			for ddl := range strings.SplitSeq(test.ddl, ";") {
				c.db.Exec(t, ddl)
			}
			before := c.rows()
			c.do(test.method, test.path, test.body).problem(test.status, test.code, test.locations...)
			// The same must hold in the transaction of a key. A deferred constraint is checked
			// by its COMMIT, which does not belong to the operation.
			if strings.Contains(test.ddl, "DEFERRED") {
				test.locations = nil
			}
			c.do(test.method, test.path, test.body, "Idempotency-Key", "k").problem(test.status, test.code, test.locations...)
			if diff := cmp.Diff(before, c.rows()); diff != "" {
				t.Errorf("a request that failed changed rows (-before +after):\n%s", diff)
			}
		})
	}
}

// TestBulk_ManyFaults has more faults than the search looks for.
func TestBulk_ManyFaults(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.db.Exec(t, "ALTER TABLE tasks ADD CONSTRAINT tasks_name_known CHECK (name = 'a')")
	body := "[" + strings.Repeat(`{"name":"x"},`, 9999) + `{"name":"x"}]`
	a := c.do("POST", "/v1/tasks/bulk-create", body).want(422)
	var p Problem
	if a.into(&p); len(p.Errors) != 20 || p.Errors[0].Location != "body[0]" {
		t.Errorf("%d faults, want 20 from body[0]: %s", len(p.Errors), a.body)
	}
}

func TestPatchUsers_Invalid(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.db.CreateUser(t)
	for body, locations := range map[string][]string{
		`[{"id":1,"age":1},{"id":2,"age":1},{"id":1,"age":1},{"id":1,"age":1}]`: {"body[2].id", "body[3].id"},
		`[{"age":1}]`:                            {"body[0].id"},
		`[{"id":1}]`:                             {"body[0]"},
		`[{"id":1,"version":1}]`:                 {"body[0]"},
		`[{"id":1,"age":151},{"id":2,"age":-1}]`: {"body[0].age", "body[1].age"},
		`[{"id":1,"username":""},{"id":2,"username":null},{"id":3,"email":null}]`: {"body[0].username", "body[1].username", "body[2].email"},
		`[{"id":1,"age":1,"version":0},{"id":2,"age":1,"version":null}]`:          {"body[0].version", "body[1].version"},
		`[{"id":1,"age":1,"version":"1"}]`:                                        {"body[0].version"},
		`[{"id":1,"age":1,"version":4294967296}]`:                                 {"body[0].version"},
		`[{"id":1,"name":"x"}]`:                                                   {"body[0]", "body[0].name"},
		`[{"id":1,"tags":["a\u0000"]}]`:                                           {"body[0].tags[0]"},
		`{"id":1,"age":1}`:                                                        {"body"},
		`null`:                                                                    {"body"},
		`[null]`:                                                                  {"body[0]", "body[0]"},
	} {
		c.do("PATCH", "/v1/users", body).problem(422, codeInvalid, locations...)
	}
	var many strings.Builder
	for i := range 10_001 {
		fmt.Fprintf(&many, `,{"id":%d,"age":1}`, i)
	}
	p := c.do("PATCH", "/v1/users", "["+many.String()[1:]+"]").problem(422, codeInvalid, "body")
	if !strings.Contains(p.Errors[0].Message, "10000") {
		t.Errorf("too many items are reported as %+v", p.Errors[0])
	}
	c.do("PATCH", "/v1/users", `[]`, "Content-Type", mergePatch).problem(415, codeUnsupportedMediaType)
	if n := c.db.Count(t, "SELECT count(*) FROM users WHERE version > 1"); n != 0 {
		t.Errorf("%d users were changed", n)
	}
}

// TestPatchUsers_Large sends the maximum number of items, which are more bytes than any other
// operation accepts.
func TestPatchUsers_Large(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.db.Exec(t, "INSERT INTO users (username, email) SELECT i, i FROM generate_series(1, 10000) AS i")
	var body strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&body, `,{"id":%d,"email":%q,"age":%d,"tags":[%q]}`, 10_000-i, strings.Repeat("é", 100), i%100, strings.Repeat("x", 100))
	}
	if body.Len() < 2<<20 {
		t.Fatalf("only %d bytes", body.Len())
	}
	var got UsersPatched
	c.do("PATCH", "/v1/users", "["+body.String()[1:]+"]").want(200).into(&got)
	if got.Updated != 10_000 {
		t.Errorf("%d updated", got.Updated)
	}
	c.do("PATCH", "/v1/users", "["+strings.Repeat(" ", maxBulkBytes)+"]").problem(413, codeBodyTooLarge)
	c.do("POST", "/v1/users", strings.Repeat(" ", 2<<20)).problem(413, codeBodyTooLarge)
}

func TestDeleteUsers(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for range 4 {
		c.db.CreatePost(t, c.db.CreateUser(t).ID)
	}
	var got UsersDeleted
	c.do("POST", "/v1/users/bulk-delete", `[{"id":4,"version":1},{"id":2},{"id":9},{"id":1,"version":2}]`).want(200).into(&got)
	if diff := cmp.Diff(UsersDeleted{Deleted: 2, NotFound: []int64{9}, VersionMismatch: []int64{1}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := c.db.Count(t, "SELECT count(*) FROM posts WHERE user_id IN (1, 3)"); n != 2 || c.db.Count(t, "SELECT count(*) FROM posts") != 2 {
		t.Errorf("the posts of the others are not what is left")
	}
	c.do("POST", "/v1/users/bulk-delete", `[]`).want(200)
	for body, locations := range map[string][]string{
		`[{"id":1},{"id":3},{"id":1}]`:                {"body[2].id"},
		`[{"version":1},{"id":1,"version":0}]`:        {"body[0].id", "body[1].version"},
		`[{"id":1,"version":null},{"id":3,"age":15}]`: {"body[0].version", "body[1].age"},
		`[1]`: {"body[0]"},
	} {
		c.do("POST", "/v1/users/bulk-delete", body).problem(422, codeInvalid, locations...)
	}
	if n := c.db.Count(t, "SELECT count(*) FROM users"); n != 2 {
		t.Errorf("%d users are left, want 2", n)
	}
}
