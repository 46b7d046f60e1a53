package api

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/internal/db"
)

func TestListUsers(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	t.Run("None", func(t *testing.T) {
		c := c.on(t)
		for _, path := range []string{"/v1/users", "/v1/users?include=posts"} {
			if a := c.get(path); a.body != `{"items":[],"next":null,"prev":null}`+"\n" || a.header.Get("Link") != "" {
				t.Errorf("%s, Link %q: want an empty page", a.body, a.header.Get("Link"))
			}
		}
	})
	var ids []int64
	for i := range 23 {
		u := c.db.CreateUser(t, func(p *db.CreateUserParams) {
			p.Username = fmt.Sprintf("%c_%02d", "ab"[i%2], i)
			p.Age = nil
			if i >= 3 {
				p.Age = new(int32(i))
			}
		})
		ids = append(ids, u.ID)
		for range i % 3 {
			c.db.CreatePost(t, u.ID)
		}
	}
	t.Run("ForwardAndBack", func(t *testing.T) {
		t.Parallel()
		c := c.on(t)
		for _, size := range []int{1, 7, 22, 23, 24, 1000} {
			path := fmt.Sprintf("/v1/users?limit=%d", size)
			var forward, back []int64
			var page Page[User]
			for steps := 0; path != "" && steps < 50; steps++ {
				page = Page[User]{}
				a := c.get(path).into(&page)
				if len(page.Items) > size || len(page.Items) == 0 {
					t.Fatalf("%d items, want at most %d, and no page after the last", len(page.Items), size)
				}
				for _, u := range page.Items {
					forward = append(forward, u.ID)
				}
				path = followed(a, "next", page.Next)
			}
			if diff := cmp.Diff(ids, forward); diff != "" {
				t.Fatalf("forward by %d (-want +got):\n%s", size, diff)
			}
			for steps := 0; page.Prev != nil && steps < 50; steps++ {
				for _, u := range page.Items {
					back = append(back, u.ID)
				}
				path := fmt.Sprintf("/v1/users?limit=%d&before=%s", size, *page.Prev)
				page = Page[User]{}
				a := c.get(path).into(&page)
				followed(a, "prev", page.Prev)
				if page.Next == nil {
					t.Error("no next page on the way back")
				}
			}
			for _, u := range page.Items {
				back = append(back, u.ID)
			}
			// Pages are read backwards. Within each page the order is that of the list.
			seen := map[int64]bool{}
			for _, id := range back {
				if seen[id] {
					t.Errorf("by %d: user %d twice", size, id)
				}
				seen[id] = true
			}
			if len(seen) != len(ids) {
				t.Errorf("back by %d: %d users, want %d", size, len(seen), len(ids))
			}
		}
	})
	t.Run("Filters", func(t *testing.T) {
		t.Parallel()
		c := c.on(t)
		for query, want := range map[string]int{
			"": 23, "min_age=0": 20, "min_age=10": 13, "max_age=10": 8, "min_age=10&max_age=10": 1, "min_age=150": 0,
			"username_prefix=a_": 12, "username_prefix=A_": 0, "username_prefix=b_1&min_age=15": 3, "username_prefix=%25": 0,
			"username_prefix=": 23, "limit=5": 5,
		} {
			var page Page[User]
			c.get("/v1/users?" + query).into(&page)
			if len(page.Items) != want {
				t.Errorf("%q: %d users, want %d", query, len(page.Items), want)
			}
		}
	})
	t.Run("FilteredPages", func(t *testing.T) {
		t.Parallel()
		c := c.on(t)
		n := 0
		for path := "/v1/users?username_prefix=a_&min_age=5&limit=2"; path != ""; {
			var page Page[User]
			a := c.get(path).into(&page)
			n += len(page.Items)
			path = followed(a, "next", page.Next)
		}
		if n != 9 {
			t.Errorf("%d users, want the 9 that are called a_ and 5 or older", n)
		}
	})
	t.Run("Posts", func(t *testing.T) {
		t.Parallel()
		c := c.on(t)
		for _, limit := range []int{1, 5, 23} {
			var page Page[User]
			a := c.get(fmt.Sprintf("/v1/users?include=posts&limit=%d", limit)).want(200).into(&page)
			if timing := a.header.Get("Server-Timing"); !strings.Contains(timing, `"statements: 3"`) || len(page.Items) != limit {
				t.Errorf("%d users with the timing %q, want %d in two and the COMMIT", len(page.Items), timing, limit)
			}
			for i, u := range page.Items {
				if u.Posts == nil || len(u.Posts) != i%3 {
					t.Errorf("user %d has the posts %v, want %d", i, u.Posts, i%3)
				}
				for _, p := range u.Posts {
					if p.UserID != u.ID {
						t.Errorf("user %d has a post of user %d", u.ID, p.UserID)
					}
				}
			}
		}
		if a := c.get("/v1/users"); strings.Contains(a.body, `"posts"`) {
			t.Error("posts that were not asked for")
		}
	})
}

// followed returns the path that the Link header gives for a relation, after
// comparing it with the body's cursor.
func followed(a *answer, rel string, cursor *string) string {
	a.t.Helper()
	param := map[string]string{"next": "after", "prev": "before"}[rel]
	for _, link := range a.header.Values("Link") {
		target, ok := strings.CutSuffix(link, `>; rel="`+rel+`"`)
		if !ok {
			continue
		}
		target = strings.TrimPrefix(target, "<")
		u, err := url.Parse(target)
		if err != nil {
			a.t.Fatal(err)
		}
		if cursor == nil || u.Query().Get(param) != *cursor {
			a.t.Errorf("Link %s differs from the cursor of the body", link)
		}
		return target
	}
	if cursor != nil {
		a.t.Errorf("Link %q lacks %s", a.header.Values("Link"), rel)
	}
	return ""
}

func TestListUsers_Invalid(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	cursor := encodeCursor("users?", 1)
	for query, locations := range map[string][]string{
		"limit=0":                   {"query.limit"},
		"limit=1001":                {"query.limit"},
		"limit=x":                   {"query.limit"},
		"limit=9223372036854775808": {"query.limit"},
		"limit=1&limit=2":           {"query.limit"},
		"min_age=-1":                {"query.min_age"},
		"max_age=151":               {"query.max_age"},
		"max_age=4294967296":        {"query.max_age"},
		"min_age=20&max_age=10":     {"query.min_age"},
		"include=comments":          {"query.include"},
		"username_prefix=%00":       {"query.username_prefix"},
		"username_prefix=%ff":       {"query.username_prefix"},
		"username_prefix=" + strings.Repeat("x", 51): {"query.username_prefix"},
		"offset=5":                              {"query.offset"},
		"limit=0&offset=5&Limit=1":              {"query.Limit", "query.limit", "query.offset"},
		"a;b":                                   {"query"},
		"after=" + cursor + "&before=" + cursor: {"query.before"},
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			c.do("GET", "/v1/users?"+query, "").problem(422, codeInvalid, locations...)
		})
	}
}
