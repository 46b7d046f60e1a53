package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"quern/internal/db"
	"quern/internal/postgres"
)

// stored leaves out what the database decides.
var stored = cmpopts.IgnoreFields(User{}, "ID", "CreatedAt", "UpdatedAt")

func TestCreateUser(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	age := int32(36)
	for name, test := range map[string]struct {
		body string
		want User
	}{
		"Whole": {
			`{"username":"ada","email":"ada@example.org","age":36,"tags":["x","x",""]}`,
			User{Username: "ada", Email: "ada@example.org", Age: &age, Tags: []string{"x", "x", ""}, Version: 1},
		},
		"Least": {
			`{"username":"b","email":"x"}`,
			User{Username: "b", Email: "x", Tags: []string{}, Version: 1},
		},
		"NullIsAbsent": {
			`{"username":"c","email":"x","age":null,"tags":null,"posts":null}`,
			User{Username: "c", Email: "x", Tags: []string{}, Version: 1},
		},
		"NoPosts": {
			`{"username":"d","email":"x","posts":[]}`,
			User{Username: "d", Email: "x", Tags: []string{}, Version: 1, Posts: []Post{}},
		},
		"LengthsCountCharacters": {
			`{"username":"` + strings.Repeat("é", 49) + `😀","email":"` + strings.Repeat("日", 100) + `"}`,
			User{Username: strings.Repeat("é", 49) + "😀", Email: strings.Repeat("日", 100), Tags: []string{}, Version: 1},
		},
		"EscapesAndSurrogatePairs": {
			`{"username":"\u0065\ud83d\ude00\\u0000","email":"<&>"}`,
			User{Username: `e😀\u0000`, Email: "<&>", Tags: []string{}, Version: 1},
		},
		"AnIntegerIsANumberWithoutFraction": {
			`{"username":"e","email":"Ada <ada@lists.example>","age":3.6e1}`,
			User{Username: "e", Email: "Ada <ada@lists.example>", Age: &age, Tags: []string{}, Version: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			var got User
			a := c.do("POST", "/v1/users", test.body).want(http.StatusCreated).into(&got)
			if diff := cmp.Diff(test.want, got, stored); diff != "" {
				t.Errorf("user (-want +got):\n%s", diff)
			}
			location := "/v1/users/" + strconv.FormatInt(got.ID, 10)
			if a.header.Get("Location") != location || a.header.Get("ETag") != `"1"` {
				t.Errorf("Location %q and ETag %q, want %q and \"1\"", a.header.Get("Location"), a.header.Get("ETag"), location)
			}
			if got.CreatedAt.Location() != time.UTC || time.Since(got.CreatedAt) > time.Minute {
				t.Errorf("created at %v, want now in UTC", got.CreatedAt)
			}
			// It was stored as it was answered.
			var again User
			c.get(location).into(&again)
			got.Posts = nil
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("read again (-created +read):\n%s", diff)
			}
		})
	}

	t.Run("WithPosts", func(t *testing.T) {
		t.Parallel()
		c := c.on(t)
		var got User
		c.do("POST", "/v1/users", `{"username":"writer","email":"x","posts":[{"title":"1","content":"","tags":["t"]},{"title":"2","content":"c"}]}`).
			want(http.StatusCreated).into(&got)
		want := []Post{
			{UserID: got.ID, Title: "1", Tags: []string{"t"}, Version: 1},
			{UserID: got.ID, Title: "2", Content: "c", Tags: []string{}, Version: 1},
		}
		if diff := cmp.Diff(want, got.Posts, cmpopts.IgnoreFields(Post{}, "ID", "CreatedAt", "UpdatedAt")); diff != "" {
			t.Errorf("posts (-want +got):\n%s", diff)
		}
		var page PostPage
		c.get(fmt.Sprintf("/v1/users/%d/posts", got.ID)).into(&page)
		if diff := cmp.Diff(got.Posts, page.Items); diff != "" {
			t.Errorf("stored posts (-answered +stored):\n%s", diff)
		}
	})

	t.Run("TakenStoresNothing", func(t *testing.T) {
		t.Parallel()
		c := newClient(t)
		u := c.db.CreateUser(t)
		for _, posts := range []string{`[]`, `[{"title":"x","content":"x"}]`} {
			c.do("POST", "/v1/users", `{"username":"`+u.Username+`","email":"x","posts":`+posts+`}`).
				problem(409, codeUsernameTaken, "body.username")
		}
		if n := c.db.Count(t, "SELECT count(*) FROM posts"); n != 0 {
			t.Errorf("%d posts stored, want none", n)
		}
	})
}

func TestCreateUser_Invalid(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	many := strings.TrimSuffix(strings.Repeat(`"x",`, 101), ",")
	posts := strings.TrimSuffix(strings.Repeat(`{"title":"x","content":""},`, 1001), ",")
	for name, test := range map[string]struct {
		body      string
		locations []string
	}{
		"Nothing":      {`{}`, []string{"body.email", "body.username"}},
		"WrongTypes":   {`{"username":1,"email":true,"age":"5","tags":"x","posts":{}}`, []string{"body.age", "body.email", "body.posts", "body.tags", "body.username"}},
		"Null":         {`{"username":null,"email":null}`, []string{"body.email", "body.username"}},
		"TooShort":     {`{"username":"","email":""}`, []string{"body.email", "body.username"}},
		"TooLong":      {`{"username":"` + strings.Repeat("é", 51) + `","email":"` + strings.Repeat("é", 101) + `"}`, []string{"body.email", "body.username"}},
		"AgeTooLow":    {`{"username":"a","email":"a","age":-1}`, []string{"body.age"}},
		"AgeTooHigh":   {`{"username":"a","email":"a","age":151}`, []string{"body.age"}},
		"AgeOfInt32":   {`{"username":"a","email":"a","age":2147483648}`, []string{"body.age"}},
		"AgeOfInt64":   {`{"username":"a","email":"a","age":9223372036854775808}`, []string{"body.age"}},
		"AgeFraction":  {`{"username":"a","email":"a","age":1.5}`, []string{"body.age"}},
		"NUL":          {`{"username":"a\u0000","email":"\u0000","tags":["a","b\u0000"]}`, []string{"body.email", "body.tags[1]", "body.username"}},
		"TagsTooMany":  {`{"username":"a","email":"a","tags":[` + many + `]}`, []string{"body.tags"}},
		"TagTooLong":   {`{"username":"a","email":"a","tags":["` + strings.Repeat("é", 101) + `"]}`, []string{"body.tags[0]"}},
		"TagNull":      {`{"username":"a","email":"a","tags":[null]}`, []string{"body.tags[0]"}},
		"Unknown":      {`{"username":"a","email":"a","id":1,"colour":"x"}`, []string{"body.colour", "body.id"}},
		"OtherCase":    {`{"username":"a","email":"a","age":5,"AGE":999}`, []string{"body.AGE"}},
		"PostsTooMany": {`{"username":"a","email":"a","posts":[` + posts + `]}`, []string{"body.posts"}},
		"BadPosts": {
			`{"username":"a","email":"a","posts":[{"title":"x","content":"x"},{},{"title":"","content":"\u0000","tags":["\u0000"],"x":1}]}`,
			[]string{"body.posts[1].content", "body.posts[1].title", "body.posts[2].content", "body.posts[2].tags[0]", "body.posts[2].title", "body.posts[2].x"},
		},
		"AnArray":  {`[]`, []string{"body"}},
		"JustNull": {`null`, []string{"body"}},
		"AString":  {`"x"`, []string{"body"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			c.do("POST", "/v1/users", test.body).problem(422, codeInvalid, test.locations...)
		})
	}

	t.Run("TheValueComesBack", func(t *testing.T) {
		t.Parallel()
		c := c.on(t)
		p := c.do("POST", "/v1/users", `{"username":"`+strings.Repeat("é", 300)+`","email":"","age":151}`).
			problem(422, codeInvalid, "body.age", "body.email", "body.username")
		want := []FieldError{
			{"body.age", "expected number <= 150", float64(151)},
			{"body.email", "expected length >= 1", ""},
			{"body.username", "expected length <= 50", strings.Repeat("é", 200) + "…"},
		}
		if diff := cmp.Diff(want, p.Errors); diff != "" {
			t.Errorf("errors (-want +got):\n%s", diff)
		}
	})

	t.Run("TheAnswerIsBounded", func(t *testing.T) {
		t.Parallel()
		c := c.on(t)
		a := c.do("POST", "/v1/users", `{"posts":[`+strings.Repeat("{},", 200_000)+`{}]}`).want(422)
		var p Problem
		a.into(&p)
		if len(p.Errors) != maxFieldErrors || len(a.body) > 20_000 || !strings.Contains(p.Detail, "more") {
			t.Errorf("%d errors in %d bytes, want %d and a word about the rest: %s", len(p.Errors), len(a.body), maxFieldErrors, p.Detail)
		}
	})
}

func TestCreateUser_Concurrent(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	const callers = 50
	answers := make([]*answer, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			answers[i] = c.do("POST", "/v1/users", `{"username":"ada","email":"x"}`)
		})
	}
	wg.Wait()
	created := 0
	for _, a := range answers {
		if a.status == http.StatusCreated {
			created++
			continue
		}
		a.problem(409, codeUsernameTaken, "body.username")
	}
	if created != 1 {
		t.Errorf("%d created, want exactly one", created)
	}
}

func TestGetUser(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	u := c.db.CreateUser(t, func(p *db.CreateUserParams) { p.Username = "a/b é?%00%+😀" })
	paths := []string{
		fmt.Sprintf("/v1/users/%d", u.ID),
		"/v1/usernames/" + url.PathEscape(u.Username),
	}
	for _, path := range paths {
		var got User
		a := c.get(path).into(&got)
		if diff := cmp.Diff(userOf(u), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		if a.header.Get("ETag") != `"1"` || strings.Contains(a.body, "posts") || strings.Contains(a.body, "schema") {
			t.Errorf("%s: ETag %q, body %s", path, a.header.Get("ETag"), a.body)
		}
		if head := c.do("HEAD", path, "").want(200); head.body != "" || head.header.Get("ETag") != `"1"` {
			t.Errorf("HEAD %s: ETag %q, body %q", path, head.header.Get("ETag"), head.body)
		}
		for header, status := range map[string]int{
			`"1"`: 304, `W/"1"`: 304, `*`: 304, `"7", W/"1"`: 304, `"a,b","1"`: 304,
			`"2"`: 200, `"01"`: 200, `1`: 200, `"1`: 200, `""`: 200,
		} {
			a := c.do("GET", path, "", "If-None-Match", header).want(status)
			if a.header.Get("ETag") != `"1"` || (status == 304) != (a.body == "") {
				t.Errorf("If-None-Match %s: ETag %q, body %q", header, a.header.Get("ETag"), a.body)
			}
		}
		c.do("GET", path, "", "If-None-Match", `"7"`, "If-None-Match", `"1"`).want(304)
	}
	for path, test := range map[string]struct {
		status   int
		code     code
		location []string
	}{
		"/v1/users/0":                    {404, codeNotFound, nil},
		"/v1/users/-5":                   {404, codeNotFound, nil},
		"/v1/users/9223372036854775807":  {404, codeNotFound, nil},
		"/v1/users/9223372036854775808":  {422, codeInvalid, []string{"path.id"}},
		"/v1/users/-9223372036854775809": {422, codeInvalid, []string{"path.id"}},
		"/v1/users/abc":                  {422, codeInvalid, []string{"path.id"}},
		"/v1/users/1.0":                  {422, codeInvalid, []string{"path.id"}},
		"/v1/users/1%00":                 {422, codeInvalid, []string{"path.id", "path.id"}},
		"/v1/usernames/nobody":           {404, codeNotFound, nil},
		"/v1/usernames/%00":              {422, codeInvalid, []string{"path.username"}},
		"/v1/usernames/%ff":              {422, codeInvalid, []string{"path.username"}},
		"/v1/users/1?fields=id":          {422, codeInvalid, []string{"query.fields"}},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			c.do("GET", path, "").problem(test.status, test.code, test.location...)
		})
	}
}

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
			var page UserPage
			for steps := 0; path != "" && steps < 50; steps++ {
				page = UserPage{}
				a := c.get(path).into(&page)
				if len(page.Items) > size {
					t.Fatalf("%d items, want at most %d", len(page.Items), size)
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
				page = UserPage{}
				a := c.get(path).into(&page)
				followed(a, "prev", page.Prev)
				if page.Next == nil {
					t.Error("no next page on the way back")
				}
			}
			for _, u := range page.Items {
				back = append(back, u.ID)
			}
			// Page by page backwards, each page in its own order.
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
			var page UserPage
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
			var page UserPage
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
			var page UserPage
			// The server runs in this goroutine, so that its statements count here.
			ctx, stats := postgres.WithStats(t.Context())
			w := httptest.NewRecorder()
			handler := New(Config{Queries: c.db.Queries, Store: c.db.Store})
			handler.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", fmt.Sprintf("/v1/users?include=posts&limit=%d", limit), nil))
			(&answer{t: t, status: w.Code, body: w.Body.String()}).want(200).into(&page)
			if n, _ := stats.Total(); n != 2 || len(page.Items) != limit {
				t.Errorf("%d statements for %d users, want 2 for %d", n, len(page.Items), limit)
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
			t.Error("posts that nobody asked for")
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
