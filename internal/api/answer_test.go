package api

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"quern/internal/db"
)

// anyText is any text, including invalid UTF-8.
var anyText = rapid.OneOf(
	rapid.String(),
	rapid.StringOf(rapid.SampledFrom([]rune("az09 <>&'\"\\/\b\f\n\r\t\x00\x1f\x7f\u2028\u2029\ufffd\ufeffé😀"))),
	rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
)

// anyTags is sometimes nil.
var anyTags = rapid.OneOf(rapid.Just([]string(nil)), rapid.SliceOfN(anyText, 0, 4))

// anyTime is a time in a year that encoding/json accepts, in any zone.
var anyTime = rapid.Custom(func(t *rapid.T) time.Time {
	second := rapid.OneOf(
		rapid.Int64Range(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()),
		rapid.SampledFrom([]int64{0, -1, time.Time{}.Unix()}),
	).Draw(t, "second")
	microsecond := rapid.Int64Range(0, 999_999).Draw(t, "microsecond")
	return time.Unix(second, microsecond*1000).In(time.FixedZone("", rapid.IntRange(-50_000, 50_000).Draw(t, "zone")))
})

var anyUser = rapid.Custom(func(t *rapid.T) *db.User {
	return &db.User{
		ID: rapid.Int64().Draw(t, "id"), Username: anyText.Draw(t, "username"), Email: anyText.Draw(t, "email"),
		Age: rapid.Ptr(rapid.Int32(), true).Draw(t, "age"), Tags: anyTags.Draw(t, "tags"),
		CreatedAt: anyTime.Draw(t, "created"), UpdatedAt: anyTime.Draw(t, "updated"), Version: rapid.Int32().Draw(t, "version"),
	}
})

var anyPost = rapid.Custom(func(t *rapid.T) *db.Post {
	return &db.Post{
		ID: rapid.Int64().Draw(t, "id"), UserID: rapid.Int64().Draw(t, "user"), Title: anyText.Draw(t, "title"),
		Content: anyText.Draw(t, "content"), Tags: anyTags.Draw(t, "tags"),
		CreatedAt: anyTime.Draw(t, "created"), UpdatedAt: anyTime.Draw(t, "updated"), Version: rapid.Int32().Draw(t, "version"),
	}
})

// anyPayload is JSON as PostgreSQL returns it, with white space.
var anyPayload = rapid.Custom(func(t *rapid.T) json.RawMessage {
	member, err := json.Marshal(anyText.Draw(t, "member"))
	if err != nil {
		t.Fatal(err)
	}
	return rapid.SampledFrom([]json.RawMessage{
		nil, json.RawMessage("{}"), json.RawMessage(" null"), json.RawMessage(`{"a": [1, 2.50, -3e+07], "b": {"c": "<&> d"}}`),
		json.RawMessage("[" + string(member) + ", " + string(member) + "]"),
	}).Draw(t, "payload")
})

var anyTask = rapid.Custom(func(t *rapid.T) *db.Task {
	return &db.Task{
		ID: rapid.Int64().Draw(t, "id"), Name: anyText.Draw(t, "name"), Payload: anyPayload.Draw(t, "payload"),
		Status:   rapid.SampledFrom([]db.TaskStatus{"pending", "running", "completed"}).Draw(t, "status"),
		Attempts: rapid.Int32().Draw(t, "attempts"), MaxAttempts: rapid.Int32().Draw(t, "max"),
		Worker: rapid.Ptr(anyText, true).Draw(t, "worker"), LeaseUntil: rapid.Ptr(anyTime, true).Draw(t, "lease"),
		RunAt: anyTime.Draw(t, "run"), LastError: rapid.Ptr(anyText, true).Draw(t, "error"),
		CreatedAt: anyTime.Draw(t, "created"), UpdatedAt: anyTime.Draw(t, "updated"),
	}
})

// sent returns the body of an answer as it is sent.
func sent(t rapid.TB, v any) string {
	t.Helper()
	w := httptest.NewRecorder()
	body, err := encode(humago.NewContext(nil, httptest.NewRequest(http.MethodGet, "/", nil), w), "200", v)
	if err == nil {
		err = marshal(w, body)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w.Body.String()
}

// TestAppend compares values that append themselves with the output of encoding/json.
func TestAppend(t *testing.T) {
	t.Parallel()
	same := func(t rapid.TB, got, v any) {
		t.Helper()
		var want strings.Builder
		if err := encodeJSON(&want, v); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), sent(t, got)); diff != "" {
			t.Fatalf("(-encoding/json +appended):\n%s", diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		users := rapid.SliceOfN(anyUser, 0, 3).Draw(t, "users")
		posts := rapid.SliceOfN(anyPost, 0, 3).Draw(t, "posts")
		var next, prev *string
		if rapid.Bool().Draw(t, "next") {
			next = new("ARTohRYtdkpmAw")
		}
		if rapid.Bool().Draw(t, "prev") {
			prev = new("-_")
		}

		list, text := Page[User]{Items: []User{}, Next: next, Prev: prev}, openPage()
		for i, u := range users {
			user := userOf(u)
			if i > 0 {
				user.Posts = appendPosts([]Post{}, posts)
			}
			same(t, user, user)
			list.Items = append(list.Items, user)
			text.append(&user)
		}
		text.closePage(next, prev)
		same(t, textOf[Page[User]]{text}, list)

		postList, text := Page[Post]{Items: appendPosts([]Post{}, posts), Next: next, Prev: prev}, openPage()
		for _, post := range postList.Items {
			same(t, post, post)
			text.append(&post)
		}
		text.closePage(next, prev)
		same(t, textOf[Page[Post]]{text}, postList)

		claimed := TasksClaimed{Items: tasksOf(rapid.SliceOfN(anyTask, 0, 3).Draw(t, "tasks"))}
		same(t, claimed, claimed)
		for _, task := range claimed.Items {
			same(t, task, task)
		}
	})
}

// TestAnswer_Length: every response has its length in the header, whatever the length is.
func TestAnswer_Length(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for range 50 {
		c.db.CreateUser(t, func(p *db.CreateUserParams) { p.Tags = []string{"<&>", "\u2028"} })
	}
	for _, path := range []string{"/v1/users", "/v1/users?include=posts", "/v1/tasks", "/v1/stats/overview", "/livez", "/v1/users/0", "/v1/users?limit=0"} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, coding := range []string{"identity", "gzip"} {
				a := c.do(method, path, "", "Accept-Encoding", coding)
				if got := a.header.Get("Content-Length"); method == "GET" && got != strconv.Itoa(len(a.body)) || got == "" || got == "0" {
					t.Errorf("%s %s as %s: Content-Length %q for %d bytes", method, path, coding, got, len(a.body))
				}
			}
		}
	}
}

// TestAnswer_Broken: no part of a response is sent before all of it is ready.
func TestAnswer_Broken(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	var ids []int64
	for range 5 {
		ids = append(ids, c.db.CreateUser(t).ID)
	}
	t.Run("Row", func(t *testing.T) {
		c := c.on(t)
		c.db.Exec(t, `UPDATE users SET tags = '[1]' WHERE id = $1`, ids[3])
		for _, path := range []string{"/v1/users", "/v1/users?include=posts"} {
			c.do("GET", path, "").problem(http.StatusInternalServerError, codeInternal)
		}
	})
	t.Run("Value", func(t *testing.T) {
		w := httptest.NewRecorder()
		defer func() {
			if recover() == nil || w.Body.Len() > 0 {
				t.Errorf("a value that cannot be encoded was answered by %q", w.Body)
			}
		}()
		_, _ = encode(humago.NewContext(&huma.Operation{}, httptest.NewRequest(http.MethodGet, "/", nil), w), "200", math.NaN())
	})
}
