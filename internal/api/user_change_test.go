package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/internal/db"
)

func TestPatchUser(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	age := int32(50)
	before := User{Username: "old", Email: "old@example.org", Age: &age, Tags: []string{"a", "b"}}
	for name, test := range map[string]struct {
		patch  string
		change func(*User)
	}{
		"Nothing":    {`{}`, nil},
		"Username":   {`{"username":"new#"}`, func(u *User) { u.Username = "new#" }},
		"Email":      {`{"email":"new@example.org"}`, func(u *User) { u.Email = "new@example.org" }},
		"Age":        {`{"age":0}`, func(u *User) { u.Age = new(int32) }},
		"ClearAge":   {`{"age":null}`, func(u *User) { u.Age = nil }},
		"Tags":       {`{"tags":["c"]}`, func(u *User) { u.Tags = []string{"c"} }},
		"EmptyTags":  {`{"tags":[]}`, func(u *User) { u.Tags = []string{} }},
		"ClearTags":  {`{"tags":null}`, func(u *User) { u.Tags = []string{} }},
		"Everything": {`{"username":"n#","email":"e","age":1,"tags":[]}`, func(u *User) { *u = User{Username: "n#", Email: "e", Age: new(int32(1)), Tags: []string{}} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			for _, contentType := range []string{mergePatch, "application/json", "application/json; charset=UTF-8"} {
				u := c.db.CreateUser(t, func(p *db.CreateUserParams) {
					p.Email, p.Age, p.Tags = before.Email, before.Age, before.Tags
				})
				want := before
				want.ID, want.Username, want.Version = u.ID, u.Username, 1
				if test.change != nil {
					test.change(&want)
					want.ID, want.Version = u.ID, 2
				}
				// The cases run in parallel, and usernames are unique.
				unique := strings.NewReplacer("#", strconv.FormatInt(u.ID, 10))
				want.Username = unique.Replace(want.Username)
				path := fmt.Sprintf("/v1/users/%d", u.ID)
				var got, again User
				a := c.do("PATCH", path, unique.Replace(test.patch), "Content-Type", contentType).want(200).into(&got)
				if diff := cmp.Diff(want, got, stored); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if a.header.Get("ETag") != etag(want.Version) {
					t.Errorf("ETag %s, want %s", a.header.Get("ETag"), etag(want.Version))
				}
				if moved := !got.UpdatedAt.Equal(u.UpdatedAt); moved != (test.change != nil) {
					t.Errorf("updated_at moved: %v", moved)
				}
				c.get(path).into(&again)
				if diff := cmp.Diff(got, again); diff != "" {
					t.Errorf("read again (-answered +read):\n%s", diff)
				}
			}
		})
	}

	u, other := c.db.CreateUser(t), c.db.CreateUser(t)
	path := fmt.Sprintf("/v1/users/%d", u.ID)
	for name, test := range map[string]struct {
		path, patch string
		status      int
		code        code
		locations   []string
	}{
		"NullIsRefused":    {path, `{"username":null,"email":null,"age":null}`, 422, codeInvalid, []string{"body.email", "body.username"}},
		"EverythingAtOnce": {path, `{"username":5,"email":null,"age":-1,"tags":["\u0000"],"id":1}`, 422, codeInvalid, []string{"body.age", "body.email", "body.id", "body.tags[0]", "body.username"}},
		"TooLong":          {path, `{"username":"` + strings.Repeat("x", 51) + `"}`, 422, codeInvalid, []string{"body.username"}},
		"Version":          {path, `{"version":5}`, 422, codeInvalid, []string{"body.version"}},
		"Posts":            {path, `{"posts":[]}`, 422, codeInvalid, []string{"body.posts"}},
		"Taken":            {path, `{"username":"` + other.Username + `"}`, 409, codeUsernameTaken, []string{"body.username"}},
		"Unknown":          {"/v1/users/0", `{"age":1}`, 404, codeNotFound, nil},
		"UnknownEmpty":     {"/v1/users/0", `{}`, 404, codeNotFound, nil},
		"BadID":            {"/v1/users/x", `{"age":200}`, 422, codeInvalid, []string{"body.age", "path.id"}},
		"NotAnObject":      {path, `[{"op":"add"}]`, 422, codeInvalid, []string{"body"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			c.do("PATCH", test.path, test.patch).problem(test.status, test.code, test.locations...)
		})
	}
}

// ifMatchTests are the responses to requests with an If-Match, for a resource of version 2.
var ifMatchTests = map[string]struct {
	header string
	status int
}{
	"Current":       {`"2"`, 200},
	"Any":           {`*`, 200},
	"Listed":        {`"1", "2"`, 200},
	"ListedForeign": {`"abc" ,"x,y",W/"1",  "2"`, 200},
	"Old":           {`"1"`, 412},
	"Later":         {`"3"`, 412},
	"Weak":          {`W/"2"`, 412},
	"WeakListed":    {`"1", W/"2"`, 412},
	"Foreign":       {`"abc"`, 412},
	"OtherSpelling": {`"02"`, 412},
	"Huge":          {`"99999999999999999999"`, 412},
	"Empty":         {`""`, 412},
	"NoTag":         {``, 400},
	"Bare":          {`2`, 400},
	"Open":          {`"2`, 400},
	"Trailing":      {`"2",`, 400},
	"NoComma":       {`"2" "3"`, 400},
	"StarListed":    {`*, "2"`, 400},
	"WeakLower":     {`w/"2"`, 400},
	"Space":         {`"a b"`, 400},
	"TooMany":       {strings.TrimSuffix(strings.Repeat(`"1",`, 17), ","), 400},
}

func TestIfMatch(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for name, test := range ifMatchTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			user := c.db.CreateUser(t)
			post := c.db.CreatePost(t, user.ID)
			c.db.Exec(t, "UPDATE users SET version = 2 WHERE id = $1", user.ID)
			c.db.Exec(t, "UPDATE posts SET version = 2 WHERE id = $1", post.ID)
			for _, resource := range []struct{ path, patch string }{
				{fmt.Sprintf("/v1/posts/%d", post.ID), `{"title":"new"}`},
				{fmt.Sprintf("/v1/users/%d", user.ID), `{"age":1}`},
			} {
				for _, request := range []struct {
					method, body string
					success      int
				}{
					{"PATCH", `{}`, 200},
					{"PATCH", resource.patch, 200},
					{"DELETE", "", 204},
				} {
					a := c.do(request.method, resource.path, request.body, "If-Match", test.header)
					switch test.status {
					case 412:
						p := a.problem(412, codeVersionMismatch)
						if weak := strings.Contains(test.header, "W/"); weak != strings.Contains(p.Detail, "weak") {
							t.Errorf("If-Match: %s is answered with %q", test.header, p.Detail)
						}
					case 400:
						a.problem(400, codeInvalidETag)
					default:
						a.want(request.success)
					}
					if request.body == resource.patch && test.status == 200 {
						// The version is reset to the one that the header matches.
						c.db.Exec(t, "UPDATE users SET version = 2 WHERE id = $1", user.ID)
						c.db.Exec(t, "UPDATE posts SET version = 2 WHERE id = $1", post.ID)
					}
				}
				want := http.StatusOK
				if test.status == 200 {
					want = http.StatusNotFound
				}
				var got struct{ Version int32 }
				if a := c.do("GET", resource.path, "").want(want); want == 200 {
					if a.header.Get("ETag") != `"2"` {
						t.Errorf("%s has the version %s after refused changes, want 2 (%v)", resource.path, a.header.Get("ETag"), got)
					}
				}
			}
		})
	}
	t.Run("Unknown", func(t *testing.T) {
		t.Parallel()
		c := c.on(t)
		for _, header := range []string{`"1"`, `*`, `"abc"`, `"1","2"`} {
			c.do("PATCH", "/v1/users/0", `{"age":1}`, "If-Match", header).problem(404, codeNotFound)
			c.do("DELETE", "/v1/posts/0", "", "If-Match", header).problem(404, codeNotFound)
		}
	})
	t.Run("SeveralLines", func(t *testing.T) {
		t.Parallel()
		c := c.on(t)
		u := c.db.CreateUser(t)
		path := fmt.Sprintf("/v1/users/%d", u.ID)
		c.do("PATCH", path, `{"age":1}`, "If-Match", `"7"`, "If-Match", `"1"`).want(200)
	})
}

// TestPatchUser_LostRace has many callers that change the same version. Only one may succeed.
func TestPatchUser_LostRace(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	u := c.db.CreateUser(t)
	path := fmt.Sprintf("/v1/users/%d", u.ID)
	const callers = 20
	answers := make(chan *answer, callers)
	for i := range callers {
		go func() { answers <- c.do("PATCH", path, fmt.Sprintf(`{"age":%d}`, i), "If-Match", `"1"`) }()
	}
	won := 0
	for range callers {
		if a := <-answers; a.status == 200 {
			won++
		} else {
			a.problem(412, codeVersionMismatch)
		}
	}
	if won != 1 {
		t.Errorf("%d callers changed version 1, want one", won)
	}
}

func TestDeleteUser(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	u := c.db.CreateUser(t)
	p := c.db.CreatePost(t, u.ID)
	path := fmt.Sprintf("/v1/users/%d", u.ID)
	if a := c.do("DELETE", path, "").want(http.StatusNoContent); a.body != "" || a.header.Get("Content-Type") != "" {
		t.Errorf("body %q of type %q, want none", a.body, a.header.Get("Content-Type"))
	}
	c.do("GET", path, "").problem(404, codeNotFound)
	c.do("GET", fmt.Sprintf("/v1/posts/%d", p.ID), "").problem(404, codeNotFound)
	c.do("DELETE", path, "").problem(404, codeNotFound)
	c.do("DELETE", "/v1/users/x", "").problem(422, codeInvalid, "path.id")
}
