package api

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"quern/internal/db"
)

func TestUserStats(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	if a := c.get("/v1/stats/users"); a.body != `{"items":[],"next":null}`+"\n" {
		t.Errorf("no users are %s", a.body)
	}
	// Users with 0 to 9 posts, and two with the same number.
	var want []UserStats
	for posts := range 10 {
		u := c.db.CreateUser(t)
		for range posts {
			c.db.CreatePost(t, u.ID)
		}
		want = append([]UserStats{{u.ID, u.Username, int64(posts)}}, want...)
	}
	twin := c.db.CreateUser(t)
	for range 9 {
		c.db.CreatePost(t, twin.ID)
	}
	want = append(want[:1], append([]UserStats{{twin.ID, twin.Username, 9}}, want[1:]...)...)

	for query, n := range map[string]int{"": 5, "?min_posts=5": 5, "?min_posts=0": 10, "?min_posts=9": 0, "?min_posts=9223372036854775807": 0} {
		var page UserStatsPage
		c.get("/v1/stats/users" + query).into(&page)
		if diff := cmp.Diff(want[:n], page.Items); diff != "" || page.Next != nil {
			t.Errorf("%q: next %v, (-want +got):\n%s", query, page.Next, diff)
		}
	}
	var got []UserStats
	var cursor string
	for path := "/v1/stats/users?min_posts=2&limit=1"; path != ""; {
		var page UserStatsPage
		a := c.get(path).into(&page)
		got = append(got, page.Items...)
		path = followed(a, "next", page.Next)
		if page.Next != nil {
			cursor = *page.Next
		}
	}
	if diff := cmp.Diff(want[:8], got); diff != "" {
		t.Errorf("page by page (-want +got):\n%s", diff)
	}
	c.do("GET", "/v1/stats/users?min_posts=3&after="+cursor, "").problem(400, codeInvalidCursor)
	c.do("GET", "/v1/stats/users?min_posts=-1", "").problem(422, codeInvalid, "query.min_posts")
	c.do("GET", "/v1/stats/users?before="+cursor, "").problem(422, codeInvalid, "query.before")
}

func TestPostsPerDay(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	u := c.db.CreateUser(t)
	for _, at := range []string{"2026-01-30T23:59:59.999Z", "2026-01-31T00:00:00Z", "2026-01-31T22:00:00-02:00", "2026-02-01T23:59:59Z"} {
		c.db.Exec(t, "UPDATE posts SET created_at = $2 WHERE id = $1", c.db.CreatePost(t, u.ID).ID, at)
	}
	var got PostsPerDay
	c.get("/v1/stats/posts-per-day?from=2026-01-29&to=2026-02-02").into(&got)
	want := []PostsOnDay{{"2026-01-29", 0}, {"2026-01-30", 1}, {"2026-01-31", 1}, {"2026-02-01", 2}, {"2026-02-02", 0}}
	if diff := cmp.Diff(want, got.Items); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a := c.get("/v1/stats/posts-per-day?from=2026-01-31&to=2026-01-31"); a.body != `{"items":[{"day":"2026-01-31","posts":1}]}`+"\n" {
		t.Errorf("one day is %s", a.body)
	}

	c.db.CreatePost(t, u.ID)
	today := time.Now().UTC()
	for query, first := range map[string]time.Time{
		"": today.AddDate(0, 0, -29),
		"?from=" + today.AddDate(0, 0, -99).Format(time.DateOnly): today.AddDate(0, 0, -99),
	} {
		c.get("/v1/stats/posts-per-day" + query).into(&got)
		last := got.Items[len(got.Items)-1]
		if got.Items[0].Day != first.Format(time.DateOnly) || last != (PostsOnDay{today.Format(time.DateOnly), 1}) {
			t.Errorf("%q: from %v to %v, want from %v to a post today", query, got.Items[0], last, first)
		}
	}
	c.get("/v1/stats/posts-per-day?to=2020-01-31").into(&got)
	if len(got.Items) != 30 || got.Items[0].Day != "2020-01-02" {
		t.Errorf("%d days from %v, want 30", len(got.Items), got.Items[0])
	}
	for query, n := range map[string]int{"from=2000-01-01&to=2010-01-07": 3660, "from=0001-01-02&to=0001-01-02": 1, "from=9999-12-31&to=9999-12-31": 1} {
		if c.get("/v1/stats/posts-per-day?" + query).into(&got); len(got.Items) != n {
			t.Errorf("%s: %d days, want %d", query, len(got.Items), n)
		}
	}
	for query, location := range map[string]string{
		"from=2000-01-01&to=2010-01-08": "query.from",
		"from=2026-02-01&to=2026-01-31": "query.from",
		"from=0001-01-02&to=9999-12-31": "query.from",
		"from=2026-02-30":               "query.from",
		"to=31.1.2026":                  "query.to",
		"to=2026-01-31T00:00:00Z":       "query.to",
		"from=9999-01-01":               "query.from",
	} {
		t.Run(query, func(t *testing.T) {
			c := c.on(t)
			c.do("GET", "/v1/stats/posts-per-day?"+query, "").problem(422, codeInvalid, location)
		})
	}
}

func TestOverview(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	const none = `{"users":0,"posts":0,"users_with_posts":0,"posts_per_user":0,"tasks":{"pending":0,"running":0,"completed":0,"failed":0,"cancelled":0}}` + "\n"
	if a := c.get("/v1/stats/overview"); a.body != none {
		t.Errorf("nothing is %s", a.body)
	}
	u := c.db.CreateUser(t)
	c.db.CreateUser(t)
	for range 3 {
		c.db.CreatePost(t, u.ID)
	}
	for i, status := range []string{"pending", "completed", "completed", "failed", "cancelled", "cancelled", "cancelled"} {
		c.db.Exec(t, "INSERT INTO tasks (name, status) VALUES ($1, $2::task_status)", fmt.Sprint(i), status)
	}
	var got Overview
	c.get("/v1/stats/overview").into(&got)
	want := Overview{Users: 2, Posts: 3, UsersWithPosts: 1, PostsPerUser: 1.5, Tasks: TaskTotals{Pending: 1, Completed: 2, Failed: 1, Cancelled: 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTopTags(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	if a := c.get("/v1/stats/top-tags"); a.body != `{"items":[]}`+"\n" {
		t.Errorf("no tags are %s", a.body)
	}
	u := c.db.CreateUser(t)
	for _, tags := range [][]string{{"a", "b"}, {"b"}, {}, {"c", "B"}, {"b", "c", "c"}} {
		c.db.CreatePost(t, u.ID, func(p *db.CreatePostParams) { p.Tags = tags })
	}
	want := []TagUses{{"b", 3}, {"c", 3}, {"B", 1}, {"a", 1}}
	for limit, n := range map[string]int{"": 4, "?limit=3": 3, "?limit=1000": 4} {
		var got TopTags
		c.get("/v1/stats/top-tags" + limit).into(&got)
		if diff := cmp.Diff(want[:n], got.Items); diff != "" {
			t.Errorf("%q (-want +got):\n%s", limit, diff)
		}
	}
	c.do("GET", "/v1/stats/top-tags?limit=0", "").problem(422, codeInvalid, "query.limit")
}

func TestTaskCounts(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.db.Exec(t, "INSERT INTO tasks (name, status, run_at) VALUES ('a', 'pending', now()), ('b', 'pending', now() + interval '1 h'), ('c', 'failed', now()), ('d', 'cancelled', now())")
	if a := c.get("/v1/stats/tasks"); a.body != `{"pending":2,"running":0,"completed":0,"failed":1,"cancelled":1,"claimable":1}`+"\n" {
		t.Errorf("the counts are %s", a.body)
	}
}
