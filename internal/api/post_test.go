package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestCreatePost(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	u := c.db.CreateUser(t)
	path := fmt.Sprintf("/v1/users/%d/posts", u.ID)

	var got, again Post
	a := c.do("POST", path, `{"title":"`+strings.Repeat("é", 200)+`","content":"","tags":["t"]}`).want(http.StatusCreated).into(&got)
	want := Post{UserID: u.ID, Title: strings.Repeat("é", 200), Tags: []string{"t"}, Version: 1}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Post{}, "ID", "CreatedAt", "UpdatedAt")); diff != "" {
		t.Errorf("post (-want +got):\n%s", diff)
	}
	if a.header.Get("Location") != fmt.Sprintf("/v1/posts/%d", got.ID) || a.header.Get("ETag") != `"1"` {
		t.Errorf("Location %q, ETag %q", a.header.Get("Location"), a.header.Get("ETag"))
	}
	c.get(a.header.Get("Location")).into(&again)
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("read again (-created +read):\n%s", diff)
	}

	for name, test := range map[string]struct {
		path, body string
		status     int
		code       code
		locations  []string
	}{
		"UnknownUser": {"/v1/users/0/posts", `{"title":"x","content":"x"}`, 422, codeUnknownUser, []string{"path.id"}},
		"Nothing":     {path, `{}`, 422, codeInvalid, []string{"body.content", "body.title"}},
		"Bad":         {path, `{"title":"` + strings.Repeat("é", 201) + `","content":"\u0000","tags":[1],"user_id":1}`, 422, codeInvalid, []string{"body.content", "body.tags[0]", "body.title", "body.user_id"}},
		"Null":        {path, `{"title":null,"content":null}`, 422, codeInvalid, []string{"body.content", "body.title"}},
		"BadID":       {"/v1/users/9223372036854775808/posts", `{"title":"x","content":"x"}`, 422, codeInvalid, []string{"path.id"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			c.do("POST", test.path, test.body).problem(test.status, test.code, test.locations...)
		})
	}
}

func TestListPosts(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	writer, other, silent := c.db.CreateUser(t), c.db.CreateUser(t), c.db.CreateUser(t)
	var ids []int64
	for range 11 {
		ids = append(ids, c.db.CreatePost(t, writer.ID).ID)
		c.db.CreatePost(t, other.ID)
	}
	if a := c.get(fmt.Sprintf("/v1/users/%d/posts", silent.ID)); a.body != `{"items":[],"next":null,"prev":null}`+"\n" {
		t.Errorf("no posts are %s", a.body)
	}
	c.do("GET", "/v1/users/0/posts", "").problem(404, codeNotFound)

	var got []int64
	var page Page[Post]
	for path := fmt.Sprintf("/v1/users/%d/posts?limit=3", writer.ID); path != ""; {
		page = Page[Post]{}
		a := c.get(path).into(&page)
		for _, p := range page.Items {
			got = append(got, p.ID)
		}
		path = followed(a, "next", page.Next)
	}
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("forward (-want +got):\n%s", diff)
	}
	// A cursor of one user's posts is invalid for another user's posts, and for the list of
	// users.
	for _, path := range []string{fmt.Sprintf("/v1/users/%d/posts", other.ID), "/v1/users"} {
		c.do("GET", path+"?before="+*page.Prev, "").problem(400, codeInvalidCursor)
	}
	var back Page[Post]
	c.get(fmt.Sprintf("/v1/users/%d/posts?limit=1000&before=%s", writer.ID, *page.Prev)).into(&back)
	if len(back.Items) != 9 || back.Prev != nil || back.Next == nil {
		t.Errorf("%d posts before the last page, prev %v, want all 9", len(back.Items), back.Prev)
	}
}

func TestGetPost(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	p := c.db.CreatePost(t, c.db.CreateUser(t).ID)
	path := fmt.Sprintf("/v1/posts/%d", p.ID)
	var got Post
	a := c.get(path).into(&got)
	if diff := cmp.Diff(postOf(p), got); diff != "" || a.header.Get("ETag") != `"1"` {
		t.Errorf("ETag %s, (-want +got):\n%s", a.header.Get("ETag"), diff)
	}
	c.do("GET", path, "", "If-None-Match", `"1"`).want(304)
	c.do("GET", "/v1/posts/0", "").problem(404, codeNotFound)
	c.do("GET", "/v1/posts/x", "").problem(422, codeInvalid, "path.id")
}

func TestPatchPost(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	user := c.db.CreateUser(t)
	for patch, change := range map[string]func(*Post){
		`{}`:                          nil,
		`{"title":"new"}`:             func(p *Post) { p.Title = "new" },
		`{"content":""}`:              func(p *Post) { p.Content = "" },
		`{"tags":["x"]}`:              func(p *Post) { p.Tags = []string{"x"} },
		`{"tags":null}`:               func(p *Post) { p.Tags = []string{} },
		`{"title":"n","content":"c"}`: func(p *Post) { p.Title, p.Content = "n", "c" },
	} {
		t.Run(patch, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			p := c.db.CreatePost(t, user.ID)
			want := postOf(p)
			if change != nil {
				change(&want)
				want.Version = 2
			}
			var got Post
			a := c.do("PATCH", fmt.Sprintf("/v1/posts/%d", p.ID), patch, "Content-Type", mergePatch).want(200).into(&got)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Post{}, "UpdatedAt")); diff != "" || a.header.Get("ETag") != etag(want.Version) {
				t.Errorf("ETag %s, (-want +got):\n%s", a.header.Get("ETag"), diff)
			}
		})
	}
	path := fmt.Sprintf("/v1/posts/%d", c.db.CreatePost(t, user.ID).ID)
	c.do("PATCH", path, `{"title":null,"content":null,"user_id":5}`).problem(422, codeInvalid, "body.content", "body.title", "body.user_id")
	c.do("PATCH", "/v1/posts/0", `{"title":"x"}`).problem(404, codeNotFound)
	c.do("DELETE", path, "").want(204)
	c.do("DELETE", path, "").problem(404, codeNotFound)
}
