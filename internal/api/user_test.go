package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"quern/internal/db"
)

// stored ignores the members that the database sets.
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
			// The stored user must be equal to the response.
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
		var page Page[Post]
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
	age := int32(7)
	u := c.db.CreateUser(t, func(p *db.CreateUserParams) { p.Username, p.Age, p.Tags = "a/b é?%00%+😀", &age, []string{"x"} })
	c.db.Exec(t, "UPDATE users SET updated_at = created_at + interval '1 hour'")
	// The columns are compared one by one, without userOf, which the handler uses.
	want := User{
		ID: u.ID, Username: "a/b é?%00%+😀", Email: u.Email, Age: &age, Tags: []string{"x"},
		CreatedAt: u.CreatedAt, UpdatedAt: u.CreatedAt.Add(time.Hour), Version: 1,
	}
	paths := []string{
		fmt.Sprintf("/v1/users/%d", u.ID),
		"/v1/usernames/" + url.PathEscape(u.Username),
	}
	for _, path := range paths {
		var got User
		a := c.get(path).into(&got)
		if diff := cmp.Diff(want, got); diff != "" {
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
