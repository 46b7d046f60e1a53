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
	// One that fails takes the others with it.
	c.do("PATCH", "/v1/users", `[{"id":1,"age":77},{"id":2,"username":"user3"}]`).problem(409, codeUsernameTaken, "body.username")
	if n := c.db.Count(t, "SELECT count(*) FROM users WHERE age = 77"); n != 0 {
		t.Errorf("%d users were changed by a request that failed", n)
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
		t.Errorf("too many items are told as %+v", p.Errors[0])
	}
	c.do("PATCH", "/v1/users", `[]`, "Content-Type", mergePatch).problem(415, codeUnsupportedMediaType)
	if n := c.db.Count(t, "SELECT count(*) FROM users WHERE version > 1"); n != 0 {
		t.Errorf("%d users were changed", n)
	}
}

// TestPatchUsers_Large sends as many items as it takes, which are more bytes
// than any other operation takes.
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
